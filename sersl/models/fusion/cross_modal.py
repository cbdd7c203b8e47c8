"""Hybrid fusion by attention: the frames of each view attend to those of all others."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.fusion import FusionConfig
from sersl.models.fusion.attention_layers import CrossAttention, FeedForward, mean_of_real
from sersl.models.fusion.view_parts import Part, Widths
from sersl.models.layers import LayerNorm, Linear


class CrossModal(nnx.Module):
    """Cross-modal attention, one layer; the mean over the frames of each view, one after the other.

    Frames are mapped to `fusion.width`, with a learned vector for each view. A view that a row
    lacks is attended to by none, and gives 0.

    Source: Tsai et al. 2019 (1906.00295), sec. 3; differs: a view attends to all others at once,
    and frames have no positions but those that their encoder gave them.
    """

    own_attention = False  # each view attends to itself beside the others
    deep = False  # `fusion.layers` layers with feed-forward blocks

    def __init__(self, widths: Sequence[Widths], config: FusionConfig, *, key: jax.Array):
        """Makes the maps and the layers of each view."""
        width = config.width
        self.num_views, self.num_outputs = len(widths), width * len(widths)
        self.num_layers = config.layers if self.deep else 1
        self.view_vectors = nnx.Param(
            0.02 * jax.random.normal(key, (len(widths), width)), axes=(None, None), decay=False
        )
        make = {"rate": config.dropout}
        for view, sizes in enumerate(widths):
            keys = jax.random.split(jax.random.fold_in(key, view), 3 * self.num_layers + 1)
            own = Linear(sizes.frame, width, axes=("embed", None), key=keys[-1])
            setattr(self, f"norm_{view}", LayerNorm(sizes.frame))
            setattr(self, f"map_{view}", own)
            for layer in range(self.num_layers):
                drawn = keys[3 * layer : 3 * layer + 3]
                cross = CrossAttention(width, config.num_heads, key=drawn[0], **make)
                setattr(self, f"cross_{view}_{layer}", cross)
                if self.own_attention:
                    itself = CrossAttention(width, config.num_heads, key=drawn[1], **make)
                    setattr(self, f"own_{view}_{layer}", itself)
                if self.deep:
                    setattr(self, f"inner_{view}_{layer}", FeedForward(width, key=drawn[2], **make))

    def __call__(self, parts: list[Part], *, key: jax.Array | None = None) -> jax.Array:
        """Computes float32 [B, width times views]."""
        mapped = []
        for view, part in enumerate(parts):
            norm, own = getattr(self, f"norm_{view}"), getattr(self, f"map_{view}")
            mapped.append(own(norm(part.frames)) + self.view_vectors[view])
        found = []
        for view, part in enumerate(parts):
            others = [number for number in range(len(parts)) if number != view]
            y = jnp.concatenate([mapped[number] for number in others], axis=1)
            real = jnp.concatenate([parts[number].valid for number in others], axis=1)
            x = mapped[view]
            for layer in range(self.num_layers):
                drawn = None if key is None else jax.random.fold_in(key, 100 * view + layer)
                x = self._layer(f"{view}_{layer}", x, part.valid, y, real, drawn)
            found.append(mean_of_real(x, part.valid))
        return jnp.concatenate(found, axis=-1)

    def _layer(
        self,
        name: str,
        x: jax.Array,
        valid: jax.Array,
        y: jax.Array,
        real: jax.Array,
        key: jax.Array | None,
    ) -> jax.Array:
        keys = (None,) * 3 if key is None else tuple(jax.random.split(key, 3))
        if self.own_attention:
            x = getattr(self, f"own_{name}")(x, x, valid, key=keys[0])
        x = getattr(self, f"cross_{name}")(x, y, real, key=keys[1])
        if self.deep:
            x = getattr(self, f"inner_{name}")(x, key=keys[2])
        return x
