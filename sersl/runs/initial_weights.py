"""Weights that training starts from, and the config of a model that they fit."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import numpy as np

from sersl.config.schema import EncoderConfig, FinetuneConfig, FrontendConfig, PretrainConfig
from sersl.models.transformer import stack_layers
from sersl.parallel.sharding import path_name

Config = TypeVar("Config", FinetuneConfig, PretrainConfig)

# Settings that no weight depends on, so that the config decides them: how the model is trained...
_TRAINING = {
    "frontend": ("dropout", "gradient_scale"),
    "encoder": ("dropout", "attention_dropout", "activation_dropout", "layer_drop"),
}
# ... and how it is computed.
_SIDE = ("side_layers", "side_from", "side_onto")
_COMPUTATION = {"frontend": (), "encoder": ("attention", "scan_layers", "remat", "dtype")}


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """Weights to start from, in host memory.

    Attributes:
      params: nested dict of numpy arrays, layers as a list (not stacked).
      frontend: of the model they belong to.
      encoder: of the model they belong to.
      source: where they come from.
      corpora: {"corpus", "fingerprint", "labels_used"} of what they were trained on, where known.
      predicts: names that the heads predict, {"category": [C], "dimensions": [D]} of a released
        model; {} of others.
    """

    params: dict[str, Any]
    frontend: FrontendConfig
    encoder: EncoderConfig
    source: str
    corpora: tuple[Mapping, ...] = ()
    predicts: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


def with_sizes(config: Config, weights: InitialWeights) -> Config:
    """Takes the sizes of frontend and encoder from the weights, and the rest from the config.

    Args:
      config: of the run.
      weights: to start from.

    Returns:
      The config of a model that these weights fit.
    """
    parts = {}
    for part in ("frontend", "encoder"):
        own = getattr(config, part)
        kept = {name: getattr(own, name) for name in _TRAINING[part] + _COMPUTATION[part]}
        parts[part] = dataclasses.replace(getattr(weights, part), **kept)
    # The other kinds have no layers to scan.
    scan = config.encoder.scan_layers and weights.encoder.kind == "transformer"
    parts["encoder"] = dataclasses.replace(parts["encoder"], scan_layers=scan)
    if not weights.encoder.side_layers:
        # A side branch is new: nothing of it is in the weights.
        side = {name: getattr(config.encoder, name) for name in _SIDE}
        parts["encoder"] = dataclasses.replace(parts["encoder"], **side)
    return dataclasses.replace(config, **parts)


def describe_sizes(config: FinetuneConfig | PretrainConfig, weights: InitialWeights) -> list[str]:
    """Says where frontend and encoder of the config and of the weights differ.

    Args:
      config: of the run, before `with_sizes`.
      weights: to start from.

    Returns:
      Lines for people: settings that come from the weights, and settings that the weights were
      trained with and the config has otherwise.
    """
    taken, other = [], []
    for part in ("frontend", "encoder"):
        own, theirs = getattr(config, part), getattr(weights, part)
        for field in dataclasses.fields(own):
            name, here, there = field.name, getattr(own, field.name), getattr(theirs, field.name)
            if here == there or name in _COMPUTATION[part]:
                continue
            if name in _SIDE and not weights.encoder.side_layers:
                continue
            if name in _TRAINING[part]:
                other.append(f"{part}.{name}={here!r} (there {there!r})")
            else:
                taken.append(f"{part}.{name}={there!r} (config {here!r})")
    lines = []
    if taken:
        lines.append(f"sizes from {weights.source}: {', '.join(taken)}")
    if other:
        lines.append(f"trained otherwise than {weights.source}: {', '.join(other)}")
    return lines


def describe_dropout(config: FinetuneConfig | PretrainConfig, weights: InitialWeights) -> list[str]:
    """Warns of a dropout that the encoder was trained without, with which it forgets.

    A dropout of 0.1 moves the frames of Whisper base by more than their variance over channels
    (docs/results/continued.md).

    Args:
      config: of a run that trains the encoder.
      weights: to start from.
    """
    rate = config.encoder.dropout
    if not rate or weights.encoder.dropout:
        return []
    return [
        f"WARNING: encoder.dropout={rate:g} disturbs the layers of {weights.source}, which was "
        "trained without, so that it may forget: add --config.encoder.dropout=0"
    ]


def flat_weights(weights: InitialWeights, *, like: dict[str, Any]) -> dict[str, np.ndarray]:
    """Gives the arrays of weights by name, with layers stacked where those of a model are.

    Args:
      weights: to start from.
      like: parameters of the model.

    Returns:
      Name, such as "encoder/context/layers/0/mlp_in/kernel", to array.
    """
    stacked = 0 not in like["encoder"]["context"].get("layers", {0: None})
    tree = stack_layers(weights.params) if stacked else weights.params
    return {path_name(p): v for p, v in jax.tree_util.tree_flatten_with_path(tree)[0]}


def flat_shapes(shapes: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Gives the shapes of parameters by name, as `flat_weights` names them."""
    return {path_name(p): v.shape for p, v in jax.tree_util.tree_flatten_with_path(shapes)[0]}
