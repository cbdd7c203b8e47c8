"""Weights that training starts from, and the config of a model that they fit."""

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from sersl.config.schema import EncoderConfig, FinetuneConfig, FrontendConfig, PretrainConfig

Config = TypeVar("Config", FinetuneConfig, PretrainConfig)


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """Weights to start from, in host memory.

    Attributes:
      params: nested dict of numpy arrays, layers as a list (not stacked).
      frontend: of the model they belong to.
      encoder: of the model they belong to.
      source: where they come from.
      corpora: {"corpus", "fingerprint", "labels_used"} of what they were trained on, where known.
    """

    params: dict
    frontend: FrontendConfig
    encoder: EncoderConfig
    source: str
    corpora: tuple[Mapping, ...] = ()


def with_sizes(config: Config, weights: InitialWeights) -> Config:
    """Takes the sizes of frontend and encoder from the weights, and the rest from the config.

    Args:
      config: of the run, of fine-tuning or pretraining.
      weights: to start from.

    Returns:
      The config of a model that these weights fit.
    """
    own = config.encoder
    encoder = dataclasses.replace(
        weights.encoder,
        dropout=own.dropout,
        attention=own.attention,
        # The other kinds have no layers to scan.
        scan_layers=own.scan_layers and weights.encoder.kind == "transformer",
        remat=own.remat,
        dtype=own.dtype,
    )
    return dataclasses.replace(config, frontend=weights.frontend, encoder=encoder)
