"""Heads as graphs of ONNX operations: probabilities, values, and how unsure they are."""

from collections.abc import Callable

import numpy as np

from sersl.config.schema import HeadsConfig
from sersl.release.onnx.graph import Graph, Params, implemented

# Probabilities [B, C], and scores [B] by name.
Scores = tuple[str, dict[str, str]]
_LEAST = 1e-37  # probability that has a logarithm in float32


def add_categories(
    graph: Graph,
    embedding: str,
    heads: HeadsConfig,
    params: Params,
    num: int,
    *,
    multi: bool,
    temperature: float | None = None,
) -> None:
    """Adds the outputs of categories: `category`, and `vacuity` or `open_set` of some losses.

    Args:
      graph: to add to.
      embedding: [B, E].
      heads: settings.
      params: of the head, nested.
      num: C.
      multi: whether several categories may apply.
      temperature: that divides the logits, see `sersl.release.label_facts`; None: none does.

    Raises:
      UserError: a kind or loss that cannot be exported.
    """
    scores = implemented("heads.category_loss", heads.category_loss, CATEGORIES)
    if heads.category_loss == "listeners":
        params = _adapted(params)
    outputs = _layers(graph, embedding, heads, params)
    probabilities, others = scores(graph, outputs, heads, params)
    if multi:  # whose loss is that of logits
        probabilities = graph.op("Sigmoid", outputs)
    if temperature is not None:
        logits = graph.op("Log", graph.op("Max", probabilities, _LEAST))
        probabilities = graph.op("Softmax", graph.op("Div", logits, temperature), axis=-1)
    graph.output("category", probabilities, ("batch", num))
    for name, value in others.items():
        graph.output(name, value, ("batch",))


def add_dimensions(
    graph: Graph, embedding: str, heads: HeadsConfig, params: Params, num: int
) -> None:
    """Adds the outputs of dimensions: `dimensions`, and `aleatoric` and `epistemic` of evidence.

    Args:
      graph: to add to.
      embedding: [B, E].
      heads: settings.
      params: of the head, nested.
      num: D.

    Raises:
      UserError: a kind or loss that cannot be exported.
    """
    evidence = implemented("heads.dimensions_loss", heads.dimensions_loss, DIMENSIONS)
    outputs = _layers(graph, embedding, heads, params)
    values = graph.cut(outputs, 0, num, axis=1) if evidence else outputs
    if heads.bounded:
        values = graph.op("Sigmoid", values)
    graph.output("dimensions", values, ("batch", num))
    if not evidence:
        return
    nu, alpha, beta = (
        graph.op("Add", graph.op("Softplus", graph.cut(outputs, at, at + num, axis=1)), least)
        for at, least in ((num, 1e-6), (2 * num, 1.0 + 1e-6), (3 * num, 1e-6))
    )
    variance = graph.op("Div", beta, graph.op("Sub", alpha, 1.0))
    graph.output("aleatoric", graph.op("Sqrt", variance), ("batch", num))
    graph.output("epistemic", graph.op("Sqrt", graph.op("Div", variance, nu)), ("batch", num))


def _layers(graph: Graph, x: str, config: HeadsConfig, params: Params) -> str:
    hidden = implemented("heads.kind", config.kind, HEADS)
    return graph.linear(hidden(graph, x, params), params["output"])


def _gelu_hidden(graph: Graph, x: str, params: Params) -> str:
    x = graph.standardize(x, params["hidden"]["kernel"].shape[0])
    return graph.gelu(graph.linear(x, params["hidden"]))


def _tanh_hidden(graph: Graph, x: str, params: Params) -> str:
    return graph.op("Tanh", graph.linear(x, params["hidden"]))


def _no_hidden(graph: Graph, x: str, params: Params) -> str:
    return x


def _of_logits(graph: Graph, x: str, heads: HeadsConfig, params: Params) -> Scores:
    return graph.op("Softmax", x, axis=-1), {}


def _of_evidence(graph: Graph, x: str, heads: HeadsConfig, params: Params) -> Scores:
    alpha = graph.op("Add", graph.op("Softplus", x), 1.0)
    total = graph.sum(alpha, 1, keep=True)
    num = float(params["output"]["kernel"].shape[1])
    vacuity = graph.squeeze(graph.op("Div", np.array([[num]], np.float32), total), 1)
    return graph.op("Div", alpha, total), {"vacuity": vacuity}


def _of_prototypes(graph: Graph, x: str, heads: HeadsConfig, params: Params) -> Scores:
    square = graph.sum(graph.op("Mul", x, x), 1, keep=True)
    z = graph.op("Div", x, graph.op("Sqrt", graph.op("Max", square, 1e-16)))
    prototypes = params["prototypes"]
    squares = np.maximum(np.square(prototypes).sum(1, keepdims=True), 1e-16)
    cosines = graph.op("MatMul", z, (prototypes / np.sqrt(squares)).T)
    distances = graph.op("Sub", 2.0, graph.op("Mul", cosines, 2.0))
    scores = graph.op("Mul", distances, -1.0 / heads.temperature)
    nearest = graph.op("ReduceMin", distances, axes=[1], keepdims=0)
    open_set = graph.op("Mul", nearest, 0.25)
    return graph.op("Softmax", scores, axis=-1), {"open_set": open_set}


def _of_order(graph: Graph, x: str, heads: HeadsConfig, params: Params) -> Scores:
    raw = params["thresholds"].astype(np.float64)
    thresholds = np.cumsum(np.concatenate([raw[:1], np.logaddexp(0.0, raw[1:])]))
    below = graph.op("Sigmoid", graph.op("Sub", thresholds[None].astype(np.float32), x))
    num = len(thresholds)
    first = graph.cut(below, 0, 1, axis=1)
    last = graph.op("Sub", 1.0, graph.cut(below, num - 1, num, axis=1))
    parts = [first]
    if num > 1:
        higher, lower = (graph.cut(below, at, at + num - 1, axis=1) for at in (1, 0))
        parts.append(graph.op("Sub", higher, lower))
    return graph.op("Concat", *parts, last, axis=1), {}


def _of_annotators(graph: Graph, x: str, heads: HeadsConfig, params: Params) -> Scores:
    num = len(heads.annotators)
    each = params["output"]["kernel"].shape[1] // num
    shares = graph.op("Softmax", graph.reshape(x, 0, num, each), axis=-1)
    return graph.op("ReduceMean", shares, axes=[1], keepdims=0), {}


def _adapted(params: Params) -> Params:
    """Folds scale and shift of every listener into an output layer of each, [U, A * C]."""
    kernel, bias = params["output"]["kernel"], params["output"]["bias"]
    adapt = params["adapt"]
    scale, shift = np.split(params["listeners"] @ adapt["kernel"] + adapt["bias"], 2, axis=-1)
    kernels = (1.0 + scale)[:, :, None] * kernel
    whole = {
        "kernel": kernels.transpose(1, 0, 2).reshape(len(kernel), -1).astype(np.float32),
        "bias": (shift @ kernel + bias).reshape(-1).astype(np.float32),
    }
    return {**params, "output": whole}


HEADS: dict[str, Callable[[Graph, str, Params], str]] = {
    "gelu": _gelu_hidden,
    "tanh": _tanh_hidden,
    "linear": _no_hidden,
}
CATEGORIES: dict[str, Callable[[Graph, str, HeadsConfig, Params], Scores]] = {
    "cross_entropy": _of_logits,
    "focal": _of_logits,
    "votes": _of_logits,
    "annotators": _of_annotators,
    "listeners": _of_annotators,
    "evidential": _of_evidence,
    "prototypes": _of_prototypes,
    "ordinal": _of_order,
}
# Whether the head also gives evidence.
DIMENSIONS = {"ccc": False, "mse": False, "mae": False, "evidential": True}
