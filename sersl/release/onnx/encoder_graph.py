"""Positions and the Transformer as graphs of ONNX operations."""

from collections.abc import Callable

import numpy as np

from sersl.config.schema import EncoderConfig
from sersl.models.positions import ROTARY_BASE, distance_buckets, sinusoids
from sersl.models.transformer import SIDE_SHARE
from sersl.release.onnx.frontend_graphs import Frames, num_frames
from sersl.release.onnx.graph import NEVER, Graph, Params, implemented

Turns = tuple[str, str]  # cosines and sines, float32 [T, d / 2] each


def hidden_states_of(
    graph: Graph, frames: Frames, waveform: str | None, config: EncoderConfig, params: Params
) -> list[str]:
    """Adds positions and context network to a graph.

    Args:
      graph: to add to.
      frames: of the frontend.
      waveform: float32 [B, N]; its length gives the number of frames T. None: all frames of a
        window of fixed length.
      config: of the encoder.
      params: of the whole encoder, nested, float32, layers apart.

    Returns:
      L + 1 names of float32 [B, T, D].

    Raises:
      UserError: an encoder, positions or norm that cannot be exported.
    """
    states = implemented("encoder.kind", config.kind, ENCODERS)(graph, frames, config, params)
    if frames.attended is None and waveform is not None:  # of the window, those of the waveform
        length = num_frames(graph, graph.size(waveform, 1))
        states = [graph.cut(state, 0, length, axis=1) for state in states]
    return states


def _transformer(graph: Graph, frames: Frames, config: EncoderConfig, params: Params) -> list[str]:
    x = implemented("encoder.positions", config.positions, POSITIONS)(
        graph, frames, config, params.get("positions", {})
    )
    layer = implemented("encoder.norm", config.norm, LAYERS)
    if config.norm == "post":
        x = graph.layer_norm(x, params["norm"])
    context = params["context"]
    bias = None
    if config.relative_bias:
        bias = _relative_bias(graph, graph.size(x, 1), config, context["relative_bias"])
    unseen = None if frames.attended is None else _unseen(graph, frames.attended)
    turns = _turns(graph, graph.size(x, 1), config) if config.positions == "rotary" else None

    def stack(x: str, layers: Params, count: int) -> list[str]:
        states = [x]
        for i in range(count):
            weights = layers[i]

            def attention(x: str, weights: Params = weights["attention"]) -> str:
                return _attention(graph, x, config, weights, bias, unseen, turns)

            states.append(layer(graph, states[-1], weights, attention))
        return states

    states = stack(x, context["layers"], config.num_layers)
    side: list[str] = []
    if config.side_layers:
        side = stack(states[config.side_from], context["side"], config.side_layers)[1:]
        if config.norm == "pre":
            side[-1] = graph.layer_norm(side[-1], context["side_norm"])
        if config.side_onto:
            onto = graph.standardize(states[config.side_onto], config.width)
            side[-1] = graph.op("Add", onto, graph.op("Mul", side[-1], SIDE_SHARE))
    if config.norm == "pre" and config.final_norm:
        states[-1] = graph.layer_norm(states[-1], context["norm"])
    return states + side


def _add_nothing(graph: Graph, frames: Frames, config: EncoderConfig, params: Params) -> str:
    return frames.x


def _add_learned(graph: Graph, frames: Frames, config: EncoderConfig, params: Params) -> str:
    table = graph.cut(params["table"], 0, graph.size(frames.x, 1), axis=0)
    return graph.op("Add", frames.x, table)


def _add_sinusoids(graph: Graph, frames: Frames, config: EncoderConfig, params: Params) -> str:
    table = sinusoids(config.max_frames, config.width)
    return graph.op("Add", frames.x, graph.cut(table, 0, graph.size(frames.x, 1), axis=0))


def _add_convolution(graph: Graph, frames: Frames, config: EncoderConfig, params: Params) -> str:
    y = graph.gelu(_grouped(graph, frames.x, frames, config, params))
    return graph.op("Add", frames.x, y)


def _add_stack(graph: Graph, frames: Frames, config: EncoderConfig, params: Params) -> str:
    y = frames.x
    for i in range(config.position_layers):
        y = _grouped(graph, y, frames, config, params["convolutions"][i])
        y = graph.gelu(graph.standardize(y, config.width))
    return graph.op("Add", frames.x, y)


def _grouped(graph: Graph, x: str, frames: Frames, config: EncoderConfig, params: Params) -> str:
    if frames.attended is not None:
        x = graph.zero_unless(graph.expand(frames.attended, 2), x)
    taps = config.position_kernel
    y = graph.convolution(
        graph.transpose(x, 0, 2, 1),
        params,
        group=config.position_groups,
        pads=[taps // 2, (taps - 1) // 2],
    )
    return graph.transpose(y, 0, 2, 1)


def _relative_bias(graph: Graph, length: str, config: EncoderConfig, params: Params) -> str:
    """float32 [H, T, T]; distances beyond the last bucket share it."""
    most = config.relative_distance
    buckets = distance_buckets(
        np.arange(-most, most + 1), num_buckets=config.relative_buckets, max_distance=most
    )
    frames = graph.op("Range", 0, graph.squeeze(length, 0), 1)
    distance = graph.op("Sub", graph.expand(frames, 0), graph.expand(frames, 1))
    near = graph.op("Max", graph.op("Min", distance, most), -most)
    bias = graph.op("Gather", params["table"][buckets], graph.op("Add", near, most), axis=0)
    return graph.transpose(bias, 2, 0, 1)


def _unseen(graph: Graph, attended: str) -> str:
    """Added to scores: 0 for frames to attend to, else a number that makes their weight 0."""
    anything = graph.op("ReduceMax", graph.as_float(attended), axes=[1], keepdims=1)
    seen = graph.op("Or", attended, graph.op("Less", anything, 0.5))
    return graph.expand(graph.op("Where", seen, 0.0, NEVER), 1, 2)


def _turns(graph: Graph, length: str, config: EncoderConfig) -> Turns:
    """Cosines and sines of rotary positions: float32 [T, d / 2] each."""
    half = config.width // config.num_heads // 2
    rates = ROTARY_BASE ** (-np.arange(half, dtype=np.float32) / half)
    frames = graph.as_float(graph.op("Range", 0, graph.squeeze(length, 0), 1))
    angles = graph.op("Mul", graph.expand(frames, 1), rates[None])
    return graph.op("Cos", angles), graph.op("Sin", angles)


def _rotate(graph: Graph, x: str, turns: Turns, half: int) -> str:
    cos, sin = turns
    first, second = (graph.cut(x, at, at + half, axis=3) for at in (0, half))
    turned = (
        graph.op("Sub", graph.op("Mul", first, cos), graph.op("Mul", second, sin)),
        graph.op("Add", graph.op("Mul", second, cos), graph.op("Mul", first, sin)),
    )
    return graph.op("Concat", *turned, axis=3)


def _attention(
    graph: Graph,
    x: str,
    config: EncoderConfig,
    params: Params,
    bias: str | None,
    unseen: str | None,
    turns: Turns | None,
) -> str:
    size = config.width // config.num_heads

    def heads(y: str) -> str:
        return graph.transpose(graph.reshape(y, 0, 0, config.num_heads, size), 0, 2, 1, 3)

    query, key, value = (heads(graph.linear(x, params[n])) for n in ("query", "key", "value"))
    if turns is not None:
        query, key = (_rotate(graph, y, turns, size // 2) for y in (query, key))
    query = graph.op("Mul", query, float(size**-0.5))
    scores = graph.op("MatMul", query, graph.transpose(key, 0, 1, 3, 2))
    if bias is not None:
        gates = _gates(graph, heads(x), config, params)
        scores = graph.op("Add", scores, graph.op("Mul", gates, bias))
    if unseen is not None:
        scores = graph.op("Add", scores, unseen)
    mixed = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), value)
    mixed = graph.reshape(graph.transpose(mixed, 0, 2, 1, 3), 0, 0, config.width)
    return graph.linear(mixed, params["output"])


def _gates(graph: Graph, x: str, config: EncoderConfig, params: Params) -> str:
    """Factors of each frame on the relative bias: [B, H, T, 1]."""
    units = graph.linear(x, params["gate"])
    each = params["gate"]["bias"].shape[0] // 2
    update, reset = (
        graph.op("Sigmoid", graph.sum(graph.cut(units, at, at + each, axis=3), 3, keep=True))
        for at in (0, each)
    )
    scaled = graph.op("Mul", reset, params["gate_scale"].reshape(1, config.num_heads, 1, 1))
    return graph.op("Add", graph.op("Mul", update, graph.op("Sub", scaled, 1.0)), 2.0)


def _mlp(graph: Graph, x: str, params: Params) -> str:
    return graph.linear(graph.gelu(graph.linear(x, params["mlp_in"])), params["mlp_out"])


def _pre_norm(graph: Graph, x: str, params: Params, attention: Callable[[str], str]) -> str:
    x = graph.op("Add", x, attention(graph.layer_norm(x, params["attention_norm"])))
    return graph.op("Add", x, _mlp(graph, graph.layer_norm(x, params["mlp_norm"]), params))


def _post_norm(graph: Graph, x: str, params: Params, attention: Callable[[str], str]) -> str:
    x = graph.layer_norm(graph.op("Add", x, attention(x)), params["attention_norm"])
    return graph.layer_norm(graph.op("Add", x, _mlp(graph, x, params)), params["mlp_norm"])


ENCODERS = {"transformer": _transformer}
LAYERS = {"pre": _pre_norm, "post": _post_norm}
POSITIONS = {
    "none": _add_nothing,
    "rotary": _add_nothing,  # rotates queries and keys instead
    "learned": _add_learned,
    "sinusoidal": _add_sinusoids,
    "convolution": _add_convolution,
    "convolution_stack": _add_stack,
}
