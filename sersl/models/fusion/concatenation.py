"""Early fusion: the pooled vectors of all views one after the other."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.fusion import FusionConfig
from sersl.models.fusion.view_parts import Part, Widths


class Concatenation(nnx.Module):
    """Concatenates vectors, with 0 for a view that a row lacks; has no parameters."""

    def __init__(self, widths: Sequence[Widths], config: FusionConfig, *, key: jax.Array):
        """Adds the widths up; there is nothing to draw from `key` and nothing to set."""
        del config, key
        self.num_outputs = sum(width.vector for width in widths)

    def __call__(self, parts: list[Part], *, key: jax.Array | None = None) -> jax.Array:
        """Concatenates the vectors to [B, E]."""
        del key
        return jnp.concatenate([part.vector for part in parts], axis=-1)
