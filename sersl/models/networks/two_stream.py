"""Two groups of filters, over time and over frequency, under second-order attention pooling."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.frame_network import NetworkConfig
from sersl.models.layers import Linear, dropout
from sersl.models.networks.planes import (
    ConvolutionBlock,
    fold_windows,
    pool_2d,
    unfold_windows,
)
from sersl.models.networks.series import keys_of

STREAMS = ((2, 10), (8, 2))  # spectra, bands: over frequency, over time
LAYERS = ((4, 2), (6, 2), (8, 1), (10, 1))  # channels in widths of a stream, pooling behind


class TwoStream(nnx.Module):
    """Convolutions of both streams, then four layers; each value is weighted by a learned map.

    The score of a category is the sum of its linear map times the map of the attention (rank one),
    which a linear head on the mean computes.

    Source: Li et al. 2018 (Interspeech), as rebuilt in the public code of GLAM (2203.08404): 8
    channels in each stream, then 32, 48, 64 and 80, max pooling 2 x 2 twice. Differs: no softmax of
    the scores of categories at each position; MaskedGroupNorm.
    """

    width = 8

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers; `num_inputs` bands may be any number, since bands are averaged."""
        del num_inputs
        self.config = config
        width = config.width or self.width
        keys = jax.random.split(key, len(STREAMS) + len(LAYERS) + 1)
        self.streams = nnx.List(
            [
                ConvolutionBlock(1, width, kernel, key=k)
                for kernel, k in zip(STREAMS, keys, strict=False)
            ]
        )
        sizes = [len(STREAMS) * width, *(times * width for times, _ in LAYERS)]
        self.layers = nnx.List(
            [
                ConvolutionBlock(sizes[i], sizes[i + 1], (3, 3), key=keys[len(STREAMS) + i])
                for i in range(len(LAYERS))
            ]
        )
        self.num_outputs = sizes[-1]
        self.attention = Linear(self.num_outputs, 1, axes=(None, None), key=keys[-1])

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        windows, stride = self.config.windows_per_frame, 1
        spectra, real = unfold_windows(x, valid, windows)
        y = jnp.concatenate([stream(spectra[..., None], real) for stream in self.streams], axis=-1)
        keys = keys_of(key, len(self.layers))
        for i, (layer, (_, size)) in enumerate(zip(self.layers, LAYERS, strict=True)):
            y, real = pool_2d(layer(y, real), real, (size, size), maximum=True)
            y, stride = dropout(y, self.config.dropout, key=keys[i]), stride * size
        return fold_windows(
            attend(y, self.attention(y)), x.shape[1], windows=windows, stride=stride
        )


def attend(y: jax.Array, weight: jax.Array) -> jax.Array:
    """Averages the bands of [B, T, F, C] times weights [B, T, F, 1] to [B, T, C]."""
    return (y * weight).mean(2)
