"""MSTR: Transformer layers whose attention works on means over 1, 2 and 4 frames."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.frame_network import NetworkConfig
from sersl.models.layers import LayerNorm, Linear, dropout, fit_frames
from sersl.models.networks.planes import pool_2d
from sersl.models.networks.series import FeedForward, SelfAttention, check_heads, keys_of

SCALES = (1, 2, 4)  # frames
WINDOW = 16  # vectors of a scale that attend to each other


class MultiScaleLayer(nnx.Module):
    """Attention in windows at several scales, a linear mix of the scales, a feed-forward block."""

    def __init__(self, width: int, num_heads: int, *, key: jax.Array):
        """Makes the attention, which the scales share, the mix, the norm and the block."""
        keys = jax.random.split(key, 3)
        self.attention = SelfAttention(width, num_heads, key=keys[0])
        self.mix = Linear(len(SCALES) * width, width, axes=(None, None), key=keys[1])
        self.norm = LayerNorm(width, axis=None)
        self.forward = FeedForward(width, 2 * width, key=keys[2])

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, rate: float, key: jax.Array | None
    ) -> jax.Array:
        """Maps [B, T, D] with real frames bool [B, T] to the same shape."""
        first, second = keys_of(key, 2)
        x = jnp.where(valid[..., None], x, 0.0)
        found = []
        for scale in SCALES:
            means, real = pool_2d(x[:, :, None], valid, (scale, 1))
            window = jnp.arange(real.shape[1]) // WINDOW
            seen = (window[:, None] == window) & (real[:, None] | ~real[:, :, None])
            y = self.attention(means[:, :, 0], seen)
            found.append(fit_frames(jnp.repeat(y, scale, axis=1), x.shape[1], axis=1))
        y = dropout(self.mix(jnp.concatenate(found, axis=-1)), rate, key=first)
        return self.forward(self.norm(x + y), rate=rate, key=second)


class Mstr(nnx.Module):
    """Layers that attend within windows of 16 vectors at each of three scales.

    Source: Li et al. 2024 (2410.00390), abstract: an operator that gives features at several time
    scales, attention of the same form at each scale, a mixer of the scales. Differs: the scales (1,
    2 and 4 frames), windows, 2 layers and 8 heads are not checked against the paper.
    """

    depth, num_heads = 2, 8

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers over frames of `num_inputs` channels."""
        self.config = config
        self.num_outputs = num_inputs
        heads = check_heads(num_inputs, config.num_heads or self.num_heads)
        keys = jax.random.split(key, config.depth or self.depth)
        self.layers = nnx.List([MultiScaleLayer(num_inputs, heads, key=k) for k in keys])

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        for layer, layer_key in zip(self.layers, keys_of(key, len(self.layers)), strict=True):
            x = layer(x, valid, rate=self.config.dropout, key=layer_key)
        return x
