"""Hybrid fusion by a graph whose nodes are the views of an utterance."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.fusion import FusionConfig
from sersl.models.fusion.view_parts import Part, Widths
from sersl.models.layers import LayerNorm, Linear, dropout, truncated_normal

_SLOPE = 0.2  # of the leaky ReLU (1710.10903, sec. 3.3)


class ViewGraph(nnx.Module):
    """Graph attention over the views that a row has, all connected; the mean of the nodes.

    Source: Velickovic et al. 2018 (1710.10903), eq. 1-4; differs: one head, residual connections,
    `fusion.layers` layers.
    """

    def __init__(self, widths: Sequence[Widths], config: FusionConfig, *, key: jax.Array):
        """Makes a map for each view, and the layers that all nodes share."""
        width, self.config = config.width, config
        self.num_outputs, self.num_layers = width, config.layers
        keys = jax.random.split(key, len(widths) + 2 * config.layers)
        for view, sizes in enumerate(widths):
            own = Linear(sizes.vector, width, axes=("embed", None), key=keys[view])
            setattr(self, f"norm_{view}", LayerNorm(sizes.vector))
            setattr(self, f"map_{view}", own)
        for layer in range(config.layers):
            drawn = keys[len(widths) + 2 * layer :]
            own = Linear(width, width, axes=("embed", None), key=drawn[0])
            scores = truncated_normal(drawn[1], (2, width), std=width**-0.5)
            setattr(self, f"message_{layer}", own)
            setattr(self, f"score_{layer}", nnx.Param(scores, axes=(None, None)))

    def __call__(self, parts: list[Part], *, key: jax.Array | None = None) -> jax.Array:
        """Computes float32 [B, width]."""
        nodes = jnp.stack(
            [
                getattr(self, f"map_{view}")(getattr(self, f"norm_{view}")(part.vector))
                for view, part in enumerate(parts)
            ],
            axis=1,
        )
        present = jnp.stack([part.present for part in parts], axis=1)
        nodes = jnp.where(present[..., None], nodes, 0)
        for layer in range(self.num_layers):
            message = getattr(self, f"message_{layer}")(nodes)
            to, of = jnp.einsum("bvw,sw->sbv", message, getattr(self, f"score_{layer}")[...])
            scores = jax.nn.leaky_relu(to[:, :, None] + of[:, None], _SLOPE)
            weights = jax.nn.softmax(jnp.where(present[:, None], scores, -1e9), axis=-1)
            weights = jnp.where(present[:, None], weights, 0)
            nodes = nodes + jax.nn.elu(jnp.einsum("bvu,buw->bvw", weights, message))
            nodes = jnp.where(present[..., None], nodes, 0)
        found = nodes.sum(1) / jnp.maximum(present.sum(1), 1)[:, None]
        return dropout(found, self.config.dropout, key=key)
