"""Positions of frames: rotary, added to frames, or as a bias of attention scores."""

import functools
import math
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError
from sersl.models.convolution import convolve_groups
from sersl.models.layers import standardize

ROTARY_BASE = 10_000.0  # RoFormer (2104.09864), sec. 3.2.2
LONGEST_PERIOD = 10_000.0  # of sinusoids, in frames over 2 pi (1706.03762), sec. 3.5


def rotate(x: jax.Array) -> jax.Array:
    """Rotates pairs of channels by angles in proportion to the frame's index.

    Channel i is paired with i + d / 2; at frame t pair i is rotated by t * 10000^(-2 i / d).

    Args:
      x: [B, T, H, d], d even.

    Returns:
      Like x.

    Source: RoFormer (2104.09864), eq. 34; differs: pairs are halves apart, as in GPT-NeoX.
    """
    half = x.shape[-1] // 2
    rates = ROTARY_BASE ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.arange(x.shape[1], dtype=jnp.float32)[:, None, None] * rates
    cos, sin = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


class GroupedConvolution(nnx.Module):
    """A grouped convolution over time that keeps the number of frames."""

    def __init__(
        self, config: EncoderConfig, *, std: float, largest_bias: float = 0.0, key: jax.Array
    ):
        """Draws a normal kernel of this standard deviation, and a uniform bias."""
        shape = (config.position_kernel, config.width // config.position_groups, config.width)
        self.groups = config.position_groups
        self.kernel = nnx.Param(
            std * jax.random.normal(key, shape, jnp.float32), axes=(None, None, "embed")
        )
        bias = jax.random.uniform(
            jax.random.fold_in(key, 1), (config.width,), jnp.float32, -largest_bias, largest_bias
        )
        self.bias = nnx.Param(bias, axes=("embed",))

    def __call__(self, x: jax.Array, valid: jax.Array) -> jax.Array:
        """Convolves frames [B, T, D]; those that are not valid, bool [B, T], count as zeros."""
        x = jnp.where(valid[..., None], x, 0)
        y = convolve_groups(x, self.kernel[...], groups=self.groups)
        return y + self.bias[...].astype(x.dtype)


class ConvolutionPositions(GroupedConvolution):
    """x + gelu(convolution of x) with a long kernel, which encodes relative positions.

    Source: wav2vec 2.0 (2006.11477), sec. 2; differs: the kernel is one parameter, without weight
    norm.
    """

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the convolution.

        Raises:
          UserError: the width is not a multiple of the groups.
        """
        _check_groups(config)
        # As in fairseq, which counts the channels of all groups.
        super().__init__(config, std=2 * (config.position_kernel * config.width) ** -0.5, key=key)

    def __call__(self, x: jax.Array, valid: jax.Array) -> jax.Array:
        """Adds positions to frames [B, T, D]; those that are not valid count as zeros."""
        return x + jax.nn.gelu(super().__call__(x, valid), approximate=False)


class StackedConvolutionPositions(nnx.Module):
    """x + a stack of convolutions of x, each with a norm without parameters and GELU.

    Source: data2vec (2202.03555), as in its code. Differs: padding is set to zero before every
    convolution, so that it never changes a real frame.
    """

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the convolutions.

        Raises:
          UserError: the width is not a multiple of the groups.
        """
        _check_groups(config)
        # He et al. (1502.01852): keeps the variance with ReLU. Biases as in torch.nn.Conv1d: with
        # zero biases silence stays at 0 or at rounding errors, which each norm multiplies, like
        # their gradient, by 300.
        inputs = config.position_kernel * config.width // config.position_groups
        sizes = {"std": (2 / inputs) ** 0.5, "largest_bias": inputs**-0.5}
        keys = jax.random.split(key, config.position_layers)
        self.convolutions = nnx.List([GroupedConvolution(config, **sizes, key=k) for k in keys])

    def __call__(self, x: jax.Array, valid: jax.Array) -> jax.Array:
        """Adds positions to frames [B, T, D]; those that are not valid count as zeros."""
        y = x
        for convolution in self.convolutions:
            y = standardize(convolution(y, valid)).astype(x.dtype)
            y = jax.nn.gelu(y, approximate=False)
        return x + y


class LearnedPositions(nnx.Module):
    """x + a table of one vector per frame that starts as sinusoids (Whisper, 2212.04356)."""

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the table; it starts without randomness, so the key has no effect."""
        self.table = nnx.Param(
            jnp.asarray(sinusoids(config.max_frames, config.width)), axes=(None, "embed")
        )

    def __call__(self, x: jax.Array, valid: jax.Array) -> jax.Array:
        """Adds positions to all frames [B, T, D], padding too.

        Raises:
          UserError: more frames than the table has.
        """
        if x.shape[1] > self.table.shape[0]:
            raise UserError(
                f"{x.shape[1]} frames are more than encoder.max_frames={self.table.shape[0]} "
                "learned positions: cut the audio (data.max_seconds) or raise encoder.max_frames"
            )
        return x + self.table[...][: x.shape[1]].astype(x.dtype)


class SinusoidalPositions(nnx.Module):
    """x + sinusoids of each frame's index; it has no parameters."""

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes no parameters, so neither argument has an effect."""

    def __call__(self, x: jax.Array, valid: jax.Array) -> jax.Array:
        """Adds positions to frames [B, T, D]; those that are not valid count as zeros."""
        return x + sinusoids(x.shape[1], x.shape[2]).astype(x.dtype)


class AddedPositions(Protocol):
    """Positions that are added to frames; each is made as `Positions(config, key=)`."""

    def __call__(self, x: jax.Array, valid: jax.Array) -> jax.Array:
        """Adds positions to frames [B, T, D] with real ones bool [B, T]."""
        ...


ADDED: dict[str, Callable[..., AddedPositions]] = {
    "convolution": ConvolutionPositions,
    "convolution_stack": StackedConvolutionPositions,
    "learned": LearnedPositions,
    "sinusoidal": SinusoidalPositions,
}
POSITIONS = (*ADDED, "rotary", "none")  # rotary is part of attention


@functools.lru_cache
def sinusoids(num_frames: int, width: int) -> np.ndarray:
    """Builds sines, then cosines, of a frame's index at width / 2 rates from 1 to 1 / 10000.

    Returns:
      Float32 [num_frames, width], width even.

    Source: Whisper (2212.04356), code; Vaswani et al. (1706.03762), sec. 3.5, interleave the two.
    """
    rates = np.exp(-math.log(LONGEST_PERIOD) * np.arange(width // 2) / (width // 2 - 1))
    angles = np.arange(num_frames)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


class RelativeBias(nnx.Module):
    """One number per head and distance between two frames, for all layers.

    Short distances have a bucket each, longer ones share buckets of logarithmic width.

    Source: WavLM (2110.13900), sec. 3.1; T5 (1910.10683), sec. 2.1.
    """

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the table, standard normal as torch's embeddings."""
        self.config = config
        shape = (config.relative_buckets, config.num_heads)
        self.table = nnx.Param(jax.random.normal(key, shape, jnp.float32), axes=(None, None))

    def __call__(self, num_frames: int) -> jax.Array:
        """Returns the bias of T frames, float32 [H, T, T]: at [:, t, s] of the distance s - t."""
        distances = np.arange(1 - num_frames, num_frames + 1)  # 2 T; the last one is not used
        buckets = distance_buckets(
            distances,
            num_buckets=self.config.relative_buckets,
            max_distance=self.config.relative_distance,
        )
        by_distance = self.table[...][buckets].T  # [H, 2 T]
        # Reading the [T, 2 T] numbers in rows of 2 T - 1 shifts row t by t. This avoids a gather of
        # T^2 numbers, whose gradient would be a scatter.
        heads = len(by_distance)
        rows = jnp.broadcast_to(by_distance[:, None], (heads, num_frames, 2 * num_frames))
        flat = rows.reshape(heads, -1)[:, : num_frames * (2 * num_frames - 1)]
        return flat.reshape(heads, num_frames, -1)[:, :, num_frames - 1 :]


def distance_buckets(distances: np.ndarray, *, num_buckets: int, max_distance: int) -> np.ndarray:
    """Assigns distances to buckets: half for each direction, half of those one distance wide.

    Args:
      distances: int, index of the other frame minus that of this one, any shape.
      num_buckets: number of buckets for both directions.
      max_distance: distances from here on share the last bucket of their direction.

    Returns:
      int32 of the same shape, in [0, num_buckets).
    """
    half = num_buckets // 2
    exact = half // 2
    size = np.abs(distances)
    # In float32 and in this order, so that rounding at bucket edges is that of published models.
    far = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(exact))
    far = far / np.float32(math.log(max_distance / exact)) * np.float32(half - exact)
    far = np.minimum((exact + far).astype(np.int32), half - 1)
    return np.where(distances > 0, half, 0) + np.where(size < exact, size, far).astype(np.int32)


def _check_groups(config: EncoderConfig) -> None:
    if config.width % config.position_groups:
        raise UserError(
            f"encoder.width {config.width} is not a multiple of encoder.position_groups "
            f"{config.position_groups}: make it one"
        )
