"""A released model as an ONNX graph: waveform in; probabilities, dimensions and embedding out.

The graph contains everything, from the normalization of the waveform on. Inputs: `waveform`
[batch, samples] at 16 kHz, and `num_samples` [batch], the real ones of each row (at least 400),
so that rows of different lengths can be padded into one batch without changing an answer. Outputs:
`category` [batch, C], probabilities in the order of `categories` in sersl.json; `dimensions`
[batch, 3] in the order of `dimensions`; `embedding` [batch, E]. An encoder alone gives the mean of
its last layer as embedding, and nothing else.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sersl.config.schema import HeadsConfig, PoolingConfig
from sersl.core.errors import UserError
from sersl.core.files import whole_folder
from sersl.models.pooling import KINDS, MIN_VARIANCE
from sersl.release.folder import ReleasedModel
from sersl.release.onnx.encoder_graph import hidden_states_of
from sersl.release.onnx.frontend_graphs import frames_of
from sersl.release.onnx.graph import NEVER, Graph, Params, implemented

FILE = "model.onnx"


def write_onnx(released: ReleasedModel, folder: str | Path) -> Path:
    """Writes a model as ONNX.

    Args:
      released: from `read_model`.
      folder: to write; an older one stays until the graph is complete.

    Returns:
      The file; weights of more than 1 GiB are in another beside it.

    Raises:
      UserError: the package onnx is missing, or a part of the model cannot be exported.
    """
    architecture, params = released.architecture, released.params
    graph = Graph()
    waveform = graph.input("waveform", np.float32, ("batch", "samples"))
    num_samples = graph.input("num_samples", np.int64, ("batch",))
    encoder = params["encoder"]
    frames = frames_of(graph, waveform, num_samples, architecture.frontend, encoder["frontend"])
    states = hidden_states_of(graph, frames, waveform, architecture.encoder, encoder)
    heads, pooling = architecture.heads, architecture.pooling
    if heads is None or pooling is None:
        share = _share(graph, graph.as_float(frames.valid))
        graph.output("embedding", _mean(graph, share, states[-1]), ("batch", "width"))
    else:
        # The mean of the last layer has no parameters.
        pool_params = params.get("pooling", {})
        mix = implemented("pooling.layers", pooling.layers, LAYERS)
        pool = implemented("pooling.kind", pooling.kind, POOLINGS)
        width = architecture.encoder.width
        if KINDS[pooling.kind].by_layer:
            if pooling.standardize_layers and pooling.layers != "last":
                states = [graph.standardize(state, width) for state in states]
            states = [pool(graph, state, frames.valid, pool_params) for state in states]
            if pooling.standardize_outputs:
                states = _standardize_outputs(graph, states, pooling, pool_params)
            pooling = dataclasses.replace(pooling, standardize_layers=False)
        mixed = mix(graph, states, pooling, pool_params, width)
        if pooling.projection:
            mixed = graph.linear(mixed, pool_params["projection"])
        embedding = mixed
        if not KINDS[pooling.kind].by_layer:
            embedding = pool(graph, mixed, frames.valid, pool_params)
        if architecture.categories:
            logits = _head(graph, embedding, heads, params["category"])
            scores = graph.op("Softmax", logits, axis=-1)
            graph.output("category", scores, ("batch", len(architecture.categories)))
        if architecture.dimensions:
            values = _head(graph, embedding, heads, params["dimensions"])
            if heads.bounded:
                values = graph.op("Sigmoid", values)
            graph.output("dimensions", values, ("batch", len(architecture.dimensions)))
        graph.output("embedding", embedding, ("batch", "width"))
    folder = Path(folder)
    foreign = [path.name for path in folder.glob("*") if not path.name.startswith(FILE)]
    if foreign:
        raise UserError(f"{folder} also holds {foreign[0]!r}: give another folder for the graph")
    with whole_folder(folder) as partial:
        graph.save(partial / FILE, name=released.about["name"] or "sersl")
    return folder / FILE


def _pool_mean(graph: Graph, x: str, valid: str, params: Params) -> str:
    return _mean(graph, _share(graph, graph.as_float(valid)), x)


def _pool_attentive(graph: Graph, x: str, valid: str, params: Params) -> str:
    hidden = graph.op("Tanh", graph.linear(x, params["attention_hidden"]))
    score = graph.squeeze(graph.linear(hidden, params["attention_score"]), 2)
    score = graph.op("Where", valid, score, NEVER)
    largest = graph.op("ReduceMax", score, axes=[1], keepdims=1)
    weight = graph.op("Exp", graph.op("Sub", score, largest))
    return _moments(graph, _share(graph, graph.op("Mul", weight, graph.as_float(valid))), x)


def _pool_statistics(graph: Graph, x: str, valid: str, params: Params) -> str:
    return _moments(graph, _share(graph, graph.as_float(valid)), x)


def _moments(graph: Graph, share: str, x: str) -> str:
    """Mean and standard deviation [B, 2 D] of x [B, T, D], weighted by shares [B, 1, T]."""
    mean = _mean(graph, share, x)
    centred = graph.op("Sub", x, graph.expand(mean, 1))
    variance = _mean(graph, share, graph.op("Mul", centred, centred))
    deviation = graph.op("Sqrt", graph.op("Add", variance, MIN_VARIANCE))
    return graph.op("Concat", mean, deviation, axis=1)


def _standardize_outputs(
    graph: Graph, states: list[str], config: PoolingConfig, params: Params
) -> list[str]:
    """Standardizes the pooled vectors [B, F D] of every layer; of layers="last" of that one."""
    layers = len(params["center"])
    found = list(states)
    for i, (center, scale) in enumerate(zip(params["center"], params["scale"], strict=True)):
        place = len(states) - layers + i
        centred = graph.op("Sub", states[place], center.reshape(1, -1))
        found[place] = graph.op("Div", centred, scale.reshape(1, -1))
    return found


def _all_layers(
    graph: Graph, states: list[str], config: PoolingConfig, params: Params, width: int
) -> str:
    return graph.op("Concat", *states, axis=1)


def _last_layer(
    graph: Graph, states: list[str], config: PoolingConfig, params: Params, width: int
) -> str:
    return states[-1]


def _weighted_layers(
    graph: Graph, states: list[str], config: PoolingConfig, params: Params, width: int
) -> str:
    logits = params["layer_weights"].astype(np.float64)
    weights = np.exp(logits - logits.max())
    weights = (weights / weights.sum()).astype(np.float32)
    total = ""
    for state, weight in zip(states, weights, strict=True):
        if config.standardize_layers:
            state = graph.standardize(state, width)
        part = graph.op("Mul", state, float(weight))
        total = graph.op("Add", total, part) if total else part
    return total


def _share(graph: Graph, weights: str) -> str:
    """Weights [B, T] over their sum, as [B, 1, T]; zeros where the sum is 0."""
    total = graph.sum(weights, 1, keep=True)
    total = graph.op("Where", graph.op("Greater", total, 0.0), total, 1.0)
    return graph.expand(graph.op("Div", weights, total), 1)


def _mean(graph: Graph, share: str, x: str) -> str:
    return graph.squeeze(graph.op("MatMul", share, x), 1)


def _head(graph: Graph, x: str, config: HeadsConfig, params: Params) -> str:
    hidden = implemented("heads.kind", config.kind, HEADS)
    return graph.linear(hidden(graph, x, params), params["output"])


def _gelu_hidden(graph: Graph, x: str, params: Params) -> str:
    x = graph.standardize(x, params["hidden"]["kernel"].shape[0])
    return graph.gelu(graph.linear(x, params["hidden"]))


def _tanh_hidden(graph: Graph, x: str, params: Params) -> str:
    return graph.op("Tanh", graph.linear(x, params["hidden"]))


def _no_hidden(graph: Graph, x: str, params: Params) -> str:
    return x


LAYERS = {"last": _last_layer, "weighted": _weighted_layers, "all": _all_layers}
POOLINGS: dict[str, Callable[[Graph, str, str, Params], str]] = {
    "mean": _pool_mean,
    "statistics": _pool_statistics,
    "attentive_statistics": _pool_attentive,
}
HEADS: dict[str, Callable[[Graph, str, Params], str]] = {
    "gelu": _gelu_hidden,
    "tanh": _tanh_hidden,
    "linear": _no_hidden,
}
