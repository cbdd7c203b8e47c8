"""Deep fusion: two joint layers over the pooled vectors of all views."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.fusion import FusionConfig
from sersl.models.fusion.view_parts import Part, Widths
from sersl.models.layers import LayerNorm, Linear, dropout


class JointLayers(nnx.Module):
    """Maps each vector to `fusion.width` units, then all units together by two layers.

    A view that a row lacks gives 0 units.
    """

    def __init__(self, widths: Sequence[Widths], config: FusionConfig, *, key: jax.Array):
        """Makes one map per view and the joint layers."""
        keys = jax.random.split(key, len(widths) + 2)
        self.config = config
        self.num_views = len(widths)
        self.num_outputs = config.width
        for number, (width, own) in enumerate(zip(widths, keys[2:], strict=True)):
            inner = Linear(width.vector, config.width, axes=("embed", None), key=own)
            setattr(self, f"norm_{number}", LayerNorm(width.vector))
            setattr(self, f"map_{number}", inner)
        total = config.width * self.num_views
        self.joint = Linear(total, config.width, axes=(None, "mlp"), key=keys[0])
        self.output = Linear(config.width, config.width, axes=("mlp", None), key=keys[1])

    def __call__(self, parts: list[Part], *, key: jax.Array | None = None) -> jax.Array:
        """Computes float32 [B, width]."""
        keys = (None, None) if key is None else tuple(jax.random.split(key))
        units = []
        for number, part in enumerate(parts):
            norm, inner = getattr(self, f"norm_{number}"), getattr(self, f"map_{number}")
            own = jax.nn.gelu(inner(norm(part.vector)), approximate=False)
            units.append(jnp.where(part.present[:, None], own, 0))
        x = dropout(jnp.concatenate(units, axis=-1), self.config.dropout, key=keys[0])
        x = jax.nn.gelu(self.joint(x), approximate=False)
        x = dropout(x, self.config.dropout, key=keys[1])
        return jax.nn.gelu(self.output(x), approximate=False)
