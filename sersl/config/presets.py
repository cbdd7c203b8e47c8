"""Encoder sizes by name, for the configs."""

import dataclasses

from ml_collections import ConfigDict

from sersl.config.schema import EncoderConfig
from sersl.core.errors import unknown_name

ENCODERS = {
    "nano": EncoderConfig(num_layers=2, width=32, num_heads=2, mlp_width=64),  # tests
    "tiny": EncoderConfig(num_layers=4, width=128, num_heads=4, mlp_width=512),  # CPU, minutes
    "small": EncoderConfig(num_layers=8, width=384, num_heads=6, mlp_width=1536),  # GPU, hours
}


def encoder_preset(name: str) -> ConfigDict:
    """Gives the encoder settings of a preset, to be changed further by a config.

    Args:
      name: a key of ENCODERS.

    Returns:
      All settings of `EncoderConfig`.

    Raises:
      UserError: unknown preset.
    """
    if name not in ENCODERS:
        raise unknown_name("preset", name, ENCODERS)
    return ConfigDict(dataclasses.asdict(ENCODERS[name]))
