"""A released model as an ONNX graph: waveform in; probabilities, dimensions and embedding out.

Everything lies inside the graph, from the normalisation of the waveform on. Inputs: `waveform`
[batch, samples] of 16 kHz, and `num_samples` [batch], the real ones of each row (at least 400),
so that rows of different lengths can be padded into one batch without changing an answer. Outputs:
`category` [batch, C], probabilities in the order of `categories` in sersl.json; `dimensions`
[batch, 3] in the order of `dimensions`; `embedding` [batch, E]. An encoder alone gives the mean of
its last layer as embedding, and nothing else.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sersl.models.pooling import MIN_VARIANCE
from sersl.release.folder import ReleasedModel
from sersl.release.onnx.encoder_graph import hidden_states_of
from sersl.release.onnx.frontend_graphs import frames_of
from sersl.release.onnx.graph import NEVER, Graph

FILE = "model.onnx"


def write_onnx(released: ReleasedModel, folder: str | Path) -> Path:
    """Writes a model as ONNX.

    Args:
      released: from `read_model`.
      folder: to make, or to write into.

    Returns:
      The file; weights of more than 1 GiB lie in another beside it.

    Raises:
      UserError: the package onnx is missing, or the model has a part without ONNX export.
    """
    architecture, params = released.architecture, released.params
    graph = Graph()
    waveform = graph.input("waveform", np.float32, ("batch", "samples"))
    num_samples = graph.input("num_samples", np.int64, ("batch",))
    encoder = params["encoder"]
    frames = frames_of(graph, waveform, num_samples, architecture.frontend, encoder["frontend"])
    states = hidden_states_of(graph, frames, waveform, architecture.encoder, encoder)
    if architecture.heads is None:
        share = _share(graph, graph.as_float(frames.valid))
        graph.output("embedding", _mean(graph, share, states[-1]), ("batch", "width"))
    else:
        # The mean of the last layer has no parameters.
        pooling = params.get("pooling", {})
        mixed = _mix(graph, states, architecture.pooling, pooling, architecture.encoder.width)
        embedding = _pool(graph, mixed, frames.valid, architecture.pooling, pooling)
        heads = architecture.heads
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
    folder.mkdir(parents=True, exist_ok=True)
    graph.save(folder / FILE, name=released.about["name"] or "sersl")
    return folder / FILE


def _pool(graph: Graph, x: str, valid: str, config, params: Mapping) -> str:
    if config.projection:
        x = graph.linear(x, params["projection"])
    real = graph.as_float(valid)
    if config.kind == "attentive_statistics":
        hidden = graph.op("Tanh", graph.linear(x, params["attention_hidden"]))
        score = graph.squeeze(graph.linear(hidden, params["attention_score"]), 2)
        score = graph.op("Where", valid, score, NEVER)
        largest = graph.op("ReduceMax", score, axes=[1], keepdims=1)
        real = graph.op("Mul", graph.op("Exp", graph.op("Sub", score, largest)), real)
    share = _share(graph, real)
    mean = _mean(graph, share, x)
    if config.kind == "mean":
        return mean
    centred = graph.op("Sub", x, graph.expand(mean, 1))
    variance = _mean(graph, share, graph.op("Mul", centred, centred))
    deviation = graph.op("Sqrt", graph.op("Add", variance, MIN_VARIANCE))
    return graph.op("Concat", mean, deviation, axis=1)


def _mix(graph, states, config, params, width):
    if config.layers == "last":
        return states[-1]
    logits = params["layer_weights"].astype(np.float64)
    weights = np.exp(logits - logits.max())
    weights = (weights / weights.sum()).astype(np.float32)
    total = None
    for state, weight in zip(states, weights, strict=True):
        if config.standardize_layers:
            state = graph.standardize(state, width)
        part = graph.op("Mul", state, float(weight))
        total = part if total is None else graph.op("Add", total, part)
    return total


def _share(graph, weights):
    """Weights [B, T] over their sum, as [B, 1, T]; zeros where the sum is 0."""
    total = graph.sum(weights, 1, keep=True)
    total = graph.op("Where", graph.op("Greater", total, 0.0), total, 1.0)
    return graph.expand(graph.op("Div", weights, total), 1)


def _mean(graph, share, x):
    return graph.squeeze(graph.op("MatMul", share, x), 1)


def _head(graph, x, config, params):
    if config.kind == "gelu":
        x = graph.standardize(x, params["hidden"]["kernel"].shape[0])
        x = graph.gelu(graph.linear(x, params["hidden"]))
    elif config.kind == "tanh":
        x = graph.op("Tanh", graph.linear(x, params["hidden"]))
    return graph.linear(x, params["output"])
