"""Hybrid fusion by gates: how much each view counts depends on all of them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.fusion import FusionConfig
from sersl.models.fusion.view_parts import Part, Widths
from sersl.models.layers import LayerNorm, Linear, dropout


class Gated(nnx.Module):
    """sum_v g_v tanh(W_v x_v), with gates g = softmax over views for each of `fusion.width` units.

    The gates of the views that a row lacks are 0.

    Source: Arevalo et al. 2017 (1702.01992), sec. 3.1; differs: softmax for any number of views,
    and LayerNorm of what comes in.
    """

    def __init__(self, widths: Sequence[Widths], config: FusionConfig, *, key: jax.Array):
        """Makes a map for each view, and the map to all gates."""
        keys = jax.random.split(key, len(widths) + 1)
        self.config = config
        self.num_outputs = config.width
        for view, width in enumerate(widths):
            own = Linear(width.vector, config.width, axes=("embed", None), key=keys[view])
            setattr(self, f"norm_{view}", LayerNorm(width.vector))
            setattr(self, f"map_{view}", own)
        total = sum(width.vector for width in widths)
        gates = config.width * len(widths)
        self.gate = Linear(total, gates, axes=("embed", None), key=keys[-1])

    def __call__(self, parts: list[Part], *, key: jax.Array | None = None) -> jax.Array:
        """Computes float32 [B, width]."""
        normed, units = [], []
        for view, part in enumerate(parts):
            x = getattr(self, f"norm_{view}")(part.vector)
            normed.append(jnp.where(part.present[:, None], x, 0))
            units.append(jnp.tanh(getattr(self, f"map_{view}")(x)))
        scores = self.gate(jnp.concatenate(normed, axis=-1))
        scores = scores.reshape(len(scores), len(parts), -1)
        present = jnp.stack([part.present for part in parts], axis=1)[..., None]
        gates = jax.nn.softmax(jnp.where(present, scores, -1e9), axis=1)
        found = jnp.where(present, gates * jnp.stack(units, axis=1), 0).sum(1)
        return dropout(found, self.config.dropout, key=key)
