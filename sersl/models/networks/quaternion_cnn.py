"""Convolutions over spectra and their slopes as the four parts of a quaternion."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.frame_network import NetworkConfig
from sersl.models.layers import dropout, truncated_normal
from sersl.models.networks.planes import (
    MaskedGroupNorm,
    Size,
    convolve,
    fold_windows,
    pool_2d,
    slopes_of,
    unfold_windows,
)
from sersl.models.networks.series import keys_of

PARTS = 4  # of a quaternion: real, i, j, k


class QuaternionConvolution(nnx.Module):
    """A convolution in which a kernel's quaternion multiplies a quaternion of channels.

    It has a quarter of the parameters of a convolution with the same number of channels.

    Source: Gaudet & Maida 2018 (1712.04604), sec. 3.3: Hamilton product, kernel on the left.
    """

    def __init__(self, num_inputs: int, num_outputs: int, kernel: Size, *, key: jax.Array):
        """Makes kernels from `num_inputs` to `num_outputs` quaternions, and a bias."""
        std = (2.0 / (PARTS * num_inputs * math.prod(kernel))) ** 0.5
        self.kernel = nnx.Param(
            truncated_normal(key, (PARTS, *kernel, num_inputs, num_outputs), std=std),
            axes=(None,) * 5,
        )
        self.bias = nnx.Param(jnp.zeros(PARTS * num_outputs), axes=(None,))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, F, 4 C] to [B, T, F, 4 C'], the parts of all quaternions side by side."""
        r, i, j, k = self.kernel[...]
        # One row for each part of the input, one column for each part of the product.
        rows = ((r, i, j, k), (-i, r, k, -j), (-j, -k, r, i), (-k, j, -i, r))
        whole = jnp.concatenate([jnp.concatenate(row, axis=-1) for row in rows], axis=-2)
        return convolve(x, whole) + self.bias[...]


class QuaternionCnn(nnx.Module):
    """Quaternion convolutions with max pooling over spectra and their first three slopes.

    Source: Muppidi & Radfar 2021 (2111.00404), abstract: quaternion convolutions over mel
    spectrograms. Differs: the parts of the first quaternion are the spectrum and its slopes instead
    of the colours of a picture of it; the sizes (4 layers of 3 x 3, 8 quaternions that double
    twice) are not checked against the paper; MaskedGroupNorm.
    """

    width, depth = 8, 4

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers; `num_inputs` bands may be any number, since bands are averaged."""
        del num_inputs
        self.config = config
        width, depth = config.width or self.width, config.depth or self.depth
        keys = jax.random.split(key, depth)
        sizes = [1, *(width * min(4, 2**i) for i in range(depth))]
        self.layers = nnx.List(
            [
                QuaternionConvolution(sizes[i], sizes[i + 1], (3, 3), key=keys[i])
                for i in range(depth)
            ]
        )
        self.norms = nnx.List([MaskedGroupNorm(PARTS * size) for size in sizes[1:]])
        self.num_outputs = PARTS * sizes[-1]

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        windows = self.config.windows_per_frame
        y, real = unfold_windows(x, valid, windows)
        parts = [y]
        for _ in range(PARTS - 1):
            parts.append(slopes_of(parts[-1], real))
        y, stride, keys = jnp.stack(parts, axis=-1), 1, keys_of(key, len(self.layers))
        for i, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            frames = 2 if i < 2 else 1
            y = jax.nn.relu(norm(layer(y), real))
            y, real = pool_2d(y, real, (frames, 2), maximum=True)
            y, stride = dropout(y, self.config.dropout, key=keys[i]), stride * frames
        return fold_windows(y.mean(2), x.shape[1], windows=windows, stride=stride)
