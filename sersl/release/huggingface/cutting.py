"""Encoders that are cut after some of their layers when they are imported."""

import dataclasses

import numpy as np

from sersl.core.errors import UserError
from sersl.models.positions import sinusoids
from sersl.release.architecture import Architecture

# Half precision rounds a sinusoid by up to 2.4e-4.
_SAME_TABLE = 5e-4


def cut_after(architecture: Architecture, num_layers: int, *, where: str) -> Architecture:
    """Gives the architecture of the first layers of an encoder, without heads.

    Its hidden states are 0 to N of the whole encoder. A final LayerNorm, which the source computes
    from its last layer alone, is left out.

    Args:
      architecture: of the source.
      num_layers: N, to keep.
      where: the settings come from, for the message.

    Raises:
      UserError: there are not more than N layers.
    """
    encoder = architecture.encoder
    if not 1 <= num_layers < encoder.num_layers:
        raise UserError(
            f"--layers {num_layers} does not cut the encoder of {where}, which has "
            f"{encoder.num_layers} layers: give 1 to {encoder.num_layers - 1}, or leave it out"
        )
    return Architecture(
        frontend=architecture.frontend,
        encoder=dataclasses.replace(
            encoder, num_layers=num_layers, final_norm=encoder.norm != "pre"
        ),
    )


def without_table(architecture: Architecture, table: np.ndarray | None) -> Architecture:
    """Replaces a table of positions [T, D] that holds sinusoids by computed ones.

    Args:
      architecture: of a cut encoder.
      table: its learned positions; None: it has none.
    """
    if table is None:
        return architecture
    computed = sinusoids(*table.shape)
    if np.abs(table.astype(np.float32) - computed).max() > _SAME_TABLE:
        return architecture
    encoder = dataclasses.replace(architecture.encoder, positions="sinusoidal")
    return dataclasses.replace(architecture, encoder=encoder)
