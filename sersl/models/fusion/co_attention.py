"""Co-attention of spectral features and an encoder: the features weigh the encoder's frames."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.fusion import FusionConfig
from sersl.models.fusion.view_parts import Part, Widths
from sersl.models.layers import LayerNorm, Linear, dropout

_WEIGHTS = 149  # frames of wav2vec 2.0 for the 3 s of the authors' windows


class CoAttention(nnx.Module):
    """The vectors of the further views decide the weights of the main encoder's frames.

    Each view becomes `fusion.width` units. All but the main encoder together give 149 weights
    relu(W u), spread over the frames of the utterance by linear interpolation, and the main
    encoder's frames are averaged with them. The result and the units of the views follow each
    other.

    Source: Zou et al. 2022 (ICASSP, CA-MSER), models/ser_model.py of the authors; differs: 149
    weights for an utterance of any length, where the authors cut 3 s; the networks of the views are
    those of `fusion.networks`.
    """

    def __init__(self, widths: Sequence[Widths], config: FusionConfig, *, key: jax.Array):
        """Makes the maps of the views, and the map to the weights."""
        width, self.config = config.width, config
        self.num_outputs = width * len(widths)
        keys = jax.random.split(key, len(widths) + 1)
        frame = widths[0].frame
        self.frame_norm = LayerNorm(frame)
        self.frame_map = Linear(frame, width, axes=("embed", None), key=keys[0])
        for view, sizes in enumerate(widths[1:], start=1):
            own = Linear(sizes.vector, width, axes=("embed", None), key=keys[view])
            setattr(self, f"norm_{view}", LayerNorm(sizes.vector))
            setattr(self, f"map_{view}", own)
        total = width * (len(widths) - 1)
        self.weights = Linear(total, _WEIGHTS, axes=(None, None), key=keys[-1])
        # Without any view the frames count the same.
        self.weights.bias[...] = jnp.ones(_WEIGHTS)

    def __call__(self, parts: list[Part], *, key: jax.Array | None = None) -> jax.Array:
        """Computes float32 [B, width times views]."""
        keys = (None, None) if key is None else tuple(jax.random.split(key))
        units = []
        for view, part in enumerate(parts[1:], start=1):
            x = getattr(self, f"norm_{view}")(part.vector)
            own = jax.nn.relu(getattr(self, f"map_{view}")(x))
            units.append(jnp.where(part.present[:, None], own, 0))
        main, others = parts[0], jnp.concatenate(units, axis=-1)
        weights = jax.nn.relu(self.weights(dropout(others, self.config.dropout, key=keys[0])))
        weights = jnp.where(main.valid, stretched(weights, main.valid), 0)
        frames = jnp.zeros(()) if main.frames is None else main.frames
        pooled = jnp.einsum("bt,btd->bd", weights, frames)
        pooled = pooled / jnp.maximum(main.valid.sum(1), 1)[:, None]
        own = jax.nn.relu(self.frame_map(self.frame_norm(pooled)))
        own = jnp.where(main.present[:, None], own, 0)
        found = jnp.concatenate([own, others], axis=-1)
        return dropout(found, self.config.dropout, key=keys[1])


def stretched(values: jax.Array, valid: jax.Array) -> jax.Array:
    """Interpolates [B, K] over the real frames of each row, first on first and last on last.

    Args:
      values: [B, K].
      valid: bool [B, T], real frames, which come first.

    Returns:
      [B, T], undefined behind the real frames.
    """
    last = values.shape[1] - 1
    count = jnp.maximum(valid.sum(1, keepdims=True) - 1, 1)
    at = jnp.minimum(jnp.arange(valid.shape[1])[None] * (last / count), last)
    low = jnp.floor(at).astype(jnp.int32)
    share = at - low
    high = jnp.minimum(low + 1, last)
    left, right = (jnp.take_along_axis(values, one, axis=1) for one in (low, high))
    return (1 - share) * left + share * right
