"""Poolings and the mix of layers as graphs of ONNX operations."""

from collections.abc import Callable

import numpy as np

from sersl.config.schema import PoolingConfig
from sersl.models.pooling.moments import MIN_VARIANCE
from sersl.models.pooling.pooling import KINDS, lined_up
from sersl.release.onnx.graph import NEVER, Graph, Params, implemented

# Graph, frames [B, T, D], valid [B, T], config, parameters of the pooling.
Pool = Callable[[Graph, str, str, PoolingConfig, Params], str]


def pooled(
    graph: Graph, states: list[str], valid: str, config: PoolingConfig, params: Params, width: int
) -> str:
    """Adds the mix of layers and the pooling to a graph.

    Args:
      graph: to add to.
      states: L + 1 names of float32 [B, T, D].
      valid: bool [B, T].
      config: of the pooling.
      params: of the pooling, nested.
      width: D.

    Returns:
      float32 [B, E].

    Raises:
      UserError: a kind, network or mix of layers that cannot be exported.
    """
    implemented("pooling.network.kind", config.network.kind, {"none": None})
    chosen = None
    if config.layers == "all" or config.layers[:1].isdigit():
        chosen = lined_up(config.layers, len(states) - 1)
        states = states[chosen.start : chosen.stop] if chosen is not None else states
    mix = implemented("pooling.layers", config.layers if chosen is None else "all", LAYERS)
    pool = implemented("pooling.kind", config.kind, POOLINGS)
    first = KINDS[config.kind].weights == "equal" and not config.projection
    if config.layers_standardized:
        states = [graph.standardize(state, width) for state in states]
    if first:
        states = [pool(graph, state, valid, config, params) for state in states]
    if config.standardize_outputs:
        states = _standardize_outputs(graph, states, params, chosen)
    mixed = mix(graph, states, params)
    if first:
        return mixed
    if config.projection:
        mixed = graph.linear(mixed, params["projection"])
    return pool(graph, mixed, valid, config, params)


def all_frames(graph: Graph, x: str) -> str:
    """Makes a bool [B, T] for frames [B, T, D], True everywhere."""
    length = graph.size(x, 1)
    return graph.first(graph.op("Expand", length, graph.size(x, 0)), length)


def mean_of_valid(graph: Graph, x: str, valid: str) -> str:
    """Averages frames [B, T, D] over the valid [B, T] ones: [B, D]."""
    return _mean(graph, _share(graph, graph.as_float(valid)), x)


def _pool_mean(graph: Graph, x: str, valid: str, config: PoolingConfig, params: Params) -> str:
    return mean_of_valid(graph, x, valid)


def _pool_max(graph: Graph, x: str, valid: str, config: PoolingConfig, params: Params) -> str:
    seen = graph.op("Where", graph.expand(valid, 2), x, NEVER)
    return graph.op("ReduceMax", seen, axes=[1], keepdims=0)


def _pool_statistics(
    graph: Graph, x: str, valid: str, config: PoolingConfig, params: Params
) -> str:
    return _moments(graph, _share(graph, graph.as_float(valid)), x)


def _pool_attention(graph: Graph, x: str, valid: str, config: PoolingConfig, params: Params) -> str:
    return _mean(graph, _attention(graph, x, valid, params), x)


def _pool_attentive_statistics(
    graph: Graph, x: str, valid: str, config: PoolingConfig, params: Params
) -> str:
    return _moments(graph, _attention(graph, x, valid, params), x)


def _pool_correlation(
    graph: Graph, x: str, valid: str, config: PoolingConfig, params: Params
) -> str:
    share = _attention(graph, x, valid, params)
    width = params["attention_hidden"]["kernel"].shape[0]
    centred = graph.op("Sub", x, graph.expand(_mean(graph, share, x), 1))
    weighted = graph.op("Mul", centred, graph.transpose(share, 0, 2, 1))
    covariance = graph.op("MatMul", graph.transpose(weighted, 0, 2, 1), centred)
    variance = _mean(graph, share, graph.op("Mul", centred, centred))
    deviation = graph.op("Sqrt", graph.op("Add", variance, MIN_VARIANCE))
    scale = graph.op("Mul", graph.expand(deviation, 2), graph.expand(deviation, 1))
    flat = graph.reshape(graph.op("Div", covariance, scale), 0, width * width)
    rows, columns = np.triu_indices(width, 1)
    return graph.op("Gather", flat, (rows * width + columns).astype(np.int64), axis=1)


def _pool_heads(graph: Graph, x: str, valid: str, config: PoolingConfig, params: Params) -> str:
    queries = params["weights"]["queries"]
    heads, size = queries.shape
    values = graph.transpose(graph.reshape(x, 0, 0, heads, size), 0, 2, 1, 3)
    query = queries.reshape(1, heads, size, 1) * np.float32(size**-0.5)
    scores = graph.transpose(graph.op("MatMul", values, query), 0, 1, 3, 2)
    return graph.reshape(_attended(graph, scores, values, valid), 0, heads * size)


def _pool_tokens(graph: Graph, x: str, valid: str, config: PoolingConfig, params: Params) -> str:
    weights = params["weights"]
    tokens = weights["tokens"]
    count, heads, size = tokens.shape

    def by_head(part: str) -> str:
        y = graph.reshape(graph.linear(x, weights[part]), 0, 0, heads, size)
        return graph.transpose(y, 0, 2, 1, 3)

    query = tokens.transpose(1, 0, 2)[None] * np.float32(size**-0.5)
    keys = graph.transpose(by_head("key"), 0, 1, 3, 2)
    mixed = _attended(graph, graph.op("MatMul", query, keys), by_head("value"), valid)
    whole = graph.reshape(graph.transpose(mixed, 0, 2, 1, 3), 0, count, heads * size)
    return graph.reshape(graph.linear(whole, weights["output"]), 0, count * heads * size)


def _attended(graph: Graph, scores: str, values: str, valid: str) -> str:
    """Mixes values [B, H, T, d] by the softmax of scores [B, H, K, T]: [B, H, K, d]."""
    seen = graph.op("Where", graph.expand(valid, 1, 2), scores, NEVER)
    return graph.op("MatMul", graph.op("Softmax", seen, axis=-1), values)


def _attention(graph: Graph, x: str, valid: str, params: Params) -> str:
    """Shares [B, 1, T] of the frames, by one attention head or several that are merged."""
    hidden = graph.op("Tanh", graph.linear(x, params["attention_hidden"]))
    scores = graph.linear(hidden, params["attention_score"])
    score = graph.op("ReduceLogSumExp", scores, axes=[2], keepdims=0)
    score = graph.op("Where", valid, score, NEVER)
    largest = graph.op("ReduceMax", score, axes=[1], keepdims=1)
    weight = graph.op("Exp", graph.op("Sub", score, largest))
    return _share(graph, graph.op("Mul", weight, graph.as_float(valid)))


def _moments(graph: Graph, share: str, x: str) -> str:
    """Mean and standard deviation [B, 2 D] of x [B, T, D], weighted by shares [B, 1, T]."""
    mean = _mean(graph, share, x)
    centred = graph.op("Sub", x, graph.expand(mean, 1))
    variance = _mean(graph, share, graph.op("Mul", centred, centred))
    deviation = graph.op("Sqrt", graph.op("Add", variance, MIN_VARIANCE))
    return graph.op("Concat", mean, deviation, axis=1)


def _standardize_outputs(
    graph: Graph, states: list[str], params: Params, chosen: range | None
) -> list[str]:
    """Standardizes vectors [B, F D] or frames [B, T, D] of chosen layers, or all; "last" is one."""
    layers = range(len(params["center"])) if chosen is None else chosen
    found = list(states)
    for i, layer in enumerate(layers):
        place = len(states) - len(layers) + i
        center, scale = (params[name][layer].reshape(1, -1) for name in ("center", "scale"))
        centred = graph.op("Sub", states[place], center)
        found[place] = graph.op("Div", centred, scale)
    return found


def _all_layers(graph: Graph, states: list[str], params: Params) -> str:
    return graph.op("Concat", *states, axis=1)


def _last_layer(graph: Graph, states: list[str], params: Params) -> str:
    return states[-1]


def _weighted_layers(graph: Graph, states: list[str], params: Params) -> str:
    logits = params["layer_weights"].astype(np.float64)
    weights = np.exp(logits - logits.max())
    weights = (weights / weights.sum()).astype(np.float32)
    total = ""
    for state, weight in zip(states, weights, strict=True):
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


LAYERS = {"last": _last_layer, "weighted": _weighted_layers, "all": _all_layers}
POOLINGS: dict[str, Pool] = {
    "mean": _pool_mean,
    "max": _pool_max,
    "statistics": _pool_statistics,
    "attention": _pool_attention,
    "attentive_statistics": _pool_attentive_statistics,
    "multi_head_attention": _pool_heads,
    "attentive_correlation": _pool_correlation,
    "tokens": _pool_tokens,
}
