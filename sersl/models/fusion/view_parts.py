"""What a fusion reads of each view."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp


class ViewInput(NamedTuple):
    """What a batch holds of one view.

    Attributes:
      outputs: [B, L, F, D], see `Pooling.outputs`; of a table [B, 1, F, D].
      valid: bool [B, F], real frames or vectors; a row without any lacks this view.
    """

    outputs: jax.Array
    valid: jax.Array


class Part(NamedTuple):
    """One view of a batch. What is not real or not present is 0.

    Attributes:
      vector: float32 [B, E], pooled.
      frames: float32 [B, T, D], or None for a fusion of vectors.
      valid: bool [B, T], real frames.
      present: bool [B], whether the row has this view.
    """

    vector: jax.Array
    frames: jax.Array | None
    valid: jax.Array
    present: jax.Array

    def only(self, rows: jax.Array) -> "Part":
        """Takes the view from all but bool [B] rows."""
        present = self.present & rows
        frames = self.frames
        if frames is not None:
            frames = jnp.where(present[:, None, None], frames, 0)
        vector = jnp.where(present[:, None], self.vector, 0)
        return Part(vector, frames, self.valid & present[:, None], present)


class Widths(NamedTuple):
    """Widths of a `Part`: of its vector and of its frames."""

    vector: int
    frame: int


class FusionNetwork(Protocol):
    """Combines the parts of a batch, the main encoder first, into one vector."""

    num_outputs: int

    def __call__(self, parts: list[Part], *, key: jax.Array | None = None) -> jax.Array:
        """Computes float32 [B, num_outputs]; without a key there is no dropout."""
        ...
