"""Convolutions with attention over frequency, time and channels."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.frame_network import NetworkConfig
from sersl.models.layers import dropout
from sersl.models.networks.planes import (
    Convolution2d,
    ConvolutionBlock,
    SqueezeExcite,
    fold_windows,
    pool_2d,
    unfold_windows,
)
from sersl.models.networks.series import keys_of

TAPS = 7  # of the convolutions that weigh frames and bands


class StcAttention(nnx.Module):
    """Scales values by the attention to their band, to their frame and to their channel.

    The attention to bands and to frames is the sigmoid of a convolution over the means over the
    other two axes, that to channels is a squeeze-excitation. The result is the mean of the three
    scaled inputs.
    """

    def __init__(self, width: int, *, key: jax.Array):
        """Makes the three attentions."""
        keys = jax.random.split(key, 3)
        self.bands = Convolution2d(1, 1, (1, TAPS), key=keys[0])
        self.frames = Convolution2d(1, 1, (TAPS, 1), key=keys[1])
        self.channels = SqueezeExcite(width, reduction=4, key=keys[2])

    def __call__(self, x: jax.Array, real: jax.Array) -> jax.Array:
        """Maps [B, T, F, C], 0 at padding, with real frames bool [B, T] to the same shape."""
        count = jnp.maximum(real.sum(1), 1)[:, None, None, None]
        by_band = x.mean(3, keepdims=True).sum(1, keepdims=True) / count
        by_frame = x.mean((2, 3), keepdims=True)
        scale = jax.nn.sigmoid(self.bands(by_band)) + jax.nn.sigmoid(self.frames(by_frame))
        return (x * scale + self.channels(x, real)) / 3


class StcNetwork(nnx.Module):
    """Four convolutions with max pooling, each followed by the attention.

    Source: Guo et al. 2021 (ICASSP), abstract: a convolutional network whose features are weighed
    along time, frequency and channel. Differs: the sizes (32 channels that double twice, 3 x 3, 7
    taps) and the way in which the three are put together are not checked against the paper.
    """

    width, depth = 32, 4

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers; `num_inputs` bands may be any number, since bands are averaged."""
        del num_inputs
        self.config = config
        width, depth = config.width or self.width, config.depth or self.depth
        keys = jax.random.split(key, (depth, 2))
        sizes = [1, *(width * min(4, 2**i) for i in range(depth))]
        self.layers = nnx.List(
            [ConvolutionBlock(sizes[i], sizes[i + 1], (3, 3), key=keys[i, 0]) for i in range(depth)]
        )
        self.attentions = nnx.List(
            [StcAttention(sizes[i + 1], key=keys[i, 1]) for i in range(depth)]
        )
        self.num_outputs = sizes[-1]

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        windows, stride = self.config.windows_per_frame, 1
        spectra, real = unfold_windows(x, valid, windows)
        y, keys = spectra[..., None], keys_of(key, len(self.layers))
        for i, (layer, attention) in enumerate(zip(self.layers, self.attentions, strict=True)):
            frames = 2 if i < 2 else 1
            y, real = pool_2d(layer(y, real), real, (frames, 2), maximum=True)
            y, stride = attention(y, real), stride * frames
            y = dropout(y, self.config.dropout, key=keys[i])
        return fold_windows(y.mean(2), x.shape[1], windows=windows, stride=stride)
