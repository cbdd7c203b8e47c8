"""Layers over spectrograms [B, T, F, C] that padding at the end of T never changes.

Every layer gets zeros at padding and returns zeros there; statistics are over real frames.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.models.layers import Linear, inverse_deviation, truncated_normal

Size = tuple[int, int]  # frames, bands
DELTA_FRAMES = 2  # on each side, in the slope of a band over time
NORM_GROUPS = 8  # channels are normalized in at most this many groups


class Convolution2d(nnx.Module):
    """A convolution over frames and bands, zeros around them."""

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        kernel: Size,
        *,
        key: jax.Array,
        stride: Size = (1, 1),
        bias: bool = True,
    ):
        """Makes the layer; the initial weights keep the variance through a ReLU (1502.01852)."""
        self.stride = stride
        std = (2.0 / (num_inputs * math.prod(kernel))) ** 0.5
        self.kernel = nnx.Param(
            truncated_normal(key, (*kernel, num_inputs, num_outputs), std=std), axes=(None,) * 4
        )
        self.has_bias = bias
        if bias:
            self.bias = nnx.Param(jnp.zeros(num_outputs), axes=(None,))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, F, C] to [B, ceil(T / stride), ceil(F / stride), C']."""
        y = convolve(x, self.kernel[...], stride=self.stride)
        return y + self.bias[...] if self.has_bias else y


class MaskedGroupNorm(nnx.Module):
    """GroupNorm whose statistics are over the real frames, all bands and the group's channels.

    It stands for the BatchNorm of the published networks, which would mix utterances and padding.

    Source: Wu & He 2018 (1803.08494), eq. 2-7.
    """

    def __init__(self, width: int):
        """Makes scale and bias; the groups are as many as divide `width`, at most NORM_GROUPS."""
        self.num_groups = math.gcd(width, NORM_GROUPS)
        self.scale = nnx.Param(jnp.ones(width), axes=(None,))
        self.bias = nnx.Param(jnp.zeros(width), axes=(None,))

    def __call__(self, x: jax.Array, real: jax.Array) -> jax.Array:
        """Normalizes [B, T, F, C] with real frames bool [B, T]; the result is 0 at padding."""
        shown = real[:, :, None, None, None]
        groups = x.reshape(*x.shape[:3], self.num_groups, -1)
        count = real.sum(1)[:, None, None, None, None] * groups.shape[2] * groups.shape[4]
        share = shown / jnp.maximum(count, 1)
        mean = (groups * share).sum((1, 2, 4), keepdims=True)
        centred = jnp.where(shown, groups - mean, 0.0)
        variance = (jnp.square(centred) * share).sum((1, 2, 4), keepdims=True)
        y = (centred * inverse_deviation(variance)).reshape(x.shape)
        return jnp.where(real[:, :, None, None], y * self.scale[...] + self.bias[...], 0.0)


class ConvolutionBlock(nnx.Module):
    """Convolution without bias, MaskedGroupNorm, ReLU."""

    def __init__(self, num_inputs: int, num_outputs: int, kernel: Size, *, key: jax.Array,
                 bias: bool = False):  # fmt: skip
        """Makes the layers."""
        self.convolution = Convolution2d(num_inputs, num_outputs, kernel, key=key, bias=bias)
        self.norm = MaskedGroupNorm(num_outputs)

    def __call__(self, x: jax.Array, real: jax.Array) -> jax.Array:
        """Maps [B, T, F, C] with real frames bool [B, T] to [B, T, F, C']."""
        return jax.nn.relu(self.norm(self.convolution(x), real))


class SqueezeExcite(nnx.Module):
    """Scales channels by a function of their means over real frames and bands.

    Source: Hu et al. 2018 (1709.01507), eq. 2-4.
    """

    def __init__(self, width: int, *, reduction: int, key: jax.Array):
        """Makes the two linear maps, of width / reduction hidden units."""
        keys, hidden = jax.random.split(key), max(1, width // reduction)
        self.squeeze = Linear(width, hidden, axes=(None, None), key=keys[0])
        self.excite = Linear(hidden, width, axes=(None, None), key=keys[1])

    def __call__(self, x: jax.Array, real: jax.Array) -> jax.Array:
        """Maps [B, T, F, C], 0 at padding, with real frames bool [B, T] to the same shape."""
        count = jnp.maximum(real.sum(1), 1)[:, None] * x.shape[2]
        scale = jax.nn.sigmoid(self.excite(jax.nn.relu(self.squeeze(x.sum((1, 2)) / count))))
        return x * scale[:, None, None]


def convolve(x: jax.Array, kernel: jax.Array, *, stride: Size = (1, 1)) -> jax.Array:
    """Maps [B, T, F, C] by a kernel [taps, taps, C, C'], zeros around the spectrogram."""
    # Independent of T, unlike "SAME", whose strides would move with the padding of a batch.
    around = [((taps - 1) // 2, taps // 2) for taps in kernel.shape[:2]]
    return jax.lax.conv_general_dilated(
        x, kernel, stride, around, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def pool_2d(
    x: jax.Array, real: jax.Array, size: Size, *, maximum: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Averages areas of the spectrogram, or takes their maximum, over real values only.

    Args:
      x: [B, T, F, C], 0 at padding.
      real: bool [B, T].
      size: frames and bands of an area; the last area may be smaller.
      maximum: take the maximum.

    Returns:
      ([B, ceil(T / frames), ceil(F / bands), C]; bool [B, ceil(T / frames)], real frames).
    """
    more = [-length % step for length, step in zip(x.shape[1:3], size, strict=True)]
    shown = jnp.broadcast_to(real[:, :, None], x.shape[:3])[..., None]
    shown = jnp.pad(shown, ((0, 0), (0, more[0]), (0, more[1]), (0, 0)))
    x = jnp.pad(x, ((0, 0), (0, more[0]), (0, more[1]), (0, 0)))

    def areas(array):
        rows, frames, bands, channels = array.shape
        return array.reshape(rows, frames // size[0], size[0], bands // size[1], size[1], channels)

    count = areas(shown).sum((2, 4))
    if maximum:
        pooled = jnp.where(areas(shown), areas(x), -jnp.inf).max((2, 4))
        pooled = jnp.where(count > 0, pooled, 0.0)
    else:
        pooled = areas(x).sum((2, 4)) / jnp.maximum(count, 1)
    return pooled, count[:, :, 0, 0] > 0


def unfold_windows(x: jax.Array, valid: jax.Array, windows: int) -> tuple[jax.Array, jax.Array]:
    """Puts the spectra of a frame one after the other.

    Args:
      x: [B, T, W F], real or not.
      valid: bool [B, T].
      windows: W spectra side by side in a frame.

    Returns:
      ([B, W T, F], 0 at padding; bool [B, W T]).
    """
    x = jnp.where(valid[..., None], x, 0.0)
    return x.reshape(x.shape[0], x.shape[1] * windows, -1), jnp.repeat(valid, windows, axis=1)


def fold_windows(x: jax.Array, num_frames: int, *, windows: int, stride: int = 1) -> jax.Array:
    """Undoes `unfold_windows` behind layers with a stride.

    Args:
      x: [B, ceil(W T / stride), D].
      num_frames: T.
      windows: W.
      stride: spectra for each vector of x.

    Returns:
      [B, T, D]: what covers a frame, or the mean of it.
    """
    spectra = jnp.repeat(x, stride, axis=1)[:, : windows * num_frames]
    return spectra.reshape(x.shape[0], num_frames, windows, -1).mean(2)


def slopes_of(x: jax.Array, real: jax.Array) -> jax.Array:
    """Computes regression slopes over 5 spectra; the first and last real ones are repeated.

    Args:
      x: [B, T, F].
      real: bool [B, T], which come first.

    Returns:
      [B, T, F], 0 at padding.

    Source: HTK book 3.4, eq. 5.16.
    """
    last = jnp.maximum(real.sum(1, keepdims=True) - 1, 0)
    frames = jnp.arange(x.shape[1])

    def moved(by: int) -> jax.Array:
        at = jnp.clip(frames + by, 0, last)
        return jnp.take_along_axis(x, at[..., None], axis=1)

    steps = range(1, DELTA_FRAMES + 1)
    total = sum((n * (moved(n) - moved(-n)) for n in steps), start=jnp.zeros(()))
    slope = total / (2 * sum(n * n for n in steps))
    return jnp.where(real[..., None], slope, 0.0)
