"""Positions and the Transformer as graphs of ONNX operations."""

from collections.abc import Mapping

import numpy as np

from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError
from sersl.models.positions import ROTARY_BASE, distance_buckets, sinusoids
from sersl.release.onnx.frontend_graphs import Frames, num_frames
from sersl.release.onnx.graph import NEVER, Graph


def hidden_states_of(
    graph: Graph, frames: Frames, waveform: str, config: EncoderConfig, params: Mapping
) -> list[str]:
    """Adds positions and context network to a graph.

    Args:
      graph: to add to.
      frames: of the frontend.
      waveform: float32 [B, N]; its length decides how many frames there are in the end.
      config: of the encoder.
      params: of the whole encoder, nested, float32, layers apart.

    Returns:
      L + 1 names of float32 [B, T, D].

    Raises:
      UserError: a kind of context network that is no Transformer.
    """
    if config.kind != "transformer":
        raise UserError(
            f"encoder.kind={config.kind} has no ONNX export, only transformer has: leave --onnx out"
        )
    x = _positions(graph, frames, config, params)
    if config.norm == "post":
        x = graph.layer_norm(x, params["norm"])
    context = params["context"]
    bias = None
    if config.relative_bias:
        bias = _relative_bias(graph, graph.size(x, 1), config, context["relative_bias"])
    unseen = None if frames.attended is None else _unseen(graph, frames.attended)
    turns = _turns(graph, graph.size(x, 1), config) if config.positions == "rotary" else None
    states = [x]
    for i in range(config.num_layers):
        x = _layer(graph, x, config, context["layers"][i], bias, unseen, turns)
        states.append(x)
    if config.norm == "pre":
        states[-1] = graph.layer_norm(x, context["norm"])
    if frames.attended is None:  # a window of fixed length: the frames of the waveform only
        length = num_frames(graph, graph.size(waveform, 1))
        states = [graph.cut(state, 0, length, axis=1) for state in states]
    return states


def _positions(graph, frames, config, params):
    x = frames.x
    if config.positions == "learned":
        length = graph.size(x, 1)
        return graph.op("Add", x, graph.cut(params["positions"]["table"], 0, length, axis=0))
    if config.positions == "sinusoidal":
        table = sinusoids(config.max_frames, config.width)
        return graph.op("Add", x, graph.cut(table, 0, graph.size(x, 1), axis=0))
    if config.positions == "convolution":
        y = graph.gelu(_grouped(graph, x, frames, config, params["positions"]))
        return graph.op("Add", x, y)
    if config.positions == "convolution_stack":
        y = x
        for i in range(config.position_layers):
            y = _grouped(graph, y, frames, config, params["positions"]["convolutions"][i])
            y = graph.gelu(graph.standardize(y, config.width))
        return graph.op("Add", x, y)
    return x  # rotary turns queries and keys


def _grouped(graph, x, frames, config, params):
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


def _relative_bias(graph, length, config, params):
    """float32 [H, T, T]; distances beyond the last bucket are looked up at its edge."""
    most = config.relative_distance
    buckets = distance_buckets(
        np.arange(-most, most + 1), num_buckets=config.relative_buckets, max_distance=most
    )
    frames = graph.op("Range", 0, graph.squeeze(length, 0), 1)
    distance = graph.op("Sub", graph.expand(frames, 0), graph.expand(frames, 1))
    near = graph.op("Max", graph.op("Min", distance, most), -most)
    bias = graph.op("Gather", params["table"][buckets], graph.op("Add", near, most), axis=0)
    return graph.transpose(bias, 2, 0, 1)


def _unseen(graph, attended):
    """What is added to scores: 0 for frames to look at, else a number that ends them."""
    anything = graph.op("ReduceMax", graph.as_float(attended), axes=[1], keepdims=1)
    seen = graph.op("Or", attended, graph.op("Less", anything, 0.5))
    return graph.expand(graph.op("Where", seen, 0.0, NEVER), 1, 2)


def _turns(graph, length, config):
    """Cosines and sines of rotary positions: float32 [T, d / 2] each."""
    half = config.width // config.num_heads // 2
    rates = ROTARY_BASE ** (-np.arange(half, dtype=np.float32) / half)
    frames = graph.as_float(graph.op("Range", 0, graph.squeeze(length, 0), 1))
    angles = graph.op("Mul", graph.expand(frames, 1), rates[None])
    return graph.op("Cos", angles), graph.op("Sin", angles)


def _rotate(graph, x, turns, half):
    cos, sin = turns
    first, second = (graph.cut(x, at, at + half, axis=3) for at in (0, half))
    turned = (
        graph.op("Sub", graph.op("Mul", first, cos), graph.op("Mul", second, sin)),
        graph.op("Add", graph.op("Mul", second, cos), graph.op("Mul", first, sin)),
    )
    return graph.op("Concat", *turned, axis=3)


def _attention(graph, x, config, params, bias, unseen, turns):
    size = config.width // config.num_heads

    def heads(y):
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


def _gates(graph, x, config, params):
    """How much of the bias each frame takes: [B, H, T, 1]."""
    units = graph.linear(x, params["gate"])
    each = params["gate"]["bias"].shape[0] // 2
    update, reset = (
        graph.op("Sigmoid", graph.sum(graph.cut(units, at, at + each, axis=3), 3, keep=True))
        for at in (0, each)
    )
    scaled = graph.op("Mul", reset, params["gate_scale"].reshape(1, config.num_heads, 1, 1))
    return graph.op("Add", graph.op("Mul", update, graph.op("Sub", scaled, 1.0)), 2.0)


def _layer(graph, x, config, params, bias, unseen, turns):
    def attention(x):
        return _attention(graph, x, config, params["attention"], bias, unseen, turns)

    def mlp(x):
        return graph.linear(graph.gelu(graph.linear(x, params["mlp_in"])), params["mlp_out"])

    if config.norm == "post":
        x = graph.layer_norm(graph.op("Add", x, attention(x)), params["attention_norm"])
        return graph.layer_norm(graph.op("Add", x, mlp(x)), params["mlp_norm"])
    x = graph.op("Add", x, attention(graph.layer_norm(x, params["attention_norm"])))
    return graph.op("Add", x, mlp(graph.layer_norm(x, params["mlp_norm"])))
