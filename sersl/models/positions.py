"""Where a frame stands: turned into queries and keys, added to frames, or added to scores."""

import functools
import math

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
    """Turns pairs of channels by angles that grow with the frame's number.

    Channel i is paired with i + d / 2; frame t turns pair i by t * 10000^(-2 i / d).

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
    """A convolution of groups of channels over time, as many frames out as in."""

    def __init__(
        self, config: EncoderConfig, *, std: float, largest_bias: float = 0.0, key: jax.Array
    ):
        """Makes a normal kernel of deviation `std` and a bias within +-`largest_bias`, uniform."""
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
        """Convolves; frames that are not valid count as zeros.

        Args:
          x: [B, T, D].
          valid: bool [B, T], True = real.

        Returns:
          Like x.
        """
        x = jnp.where(valid[..., None], x, 0)
        y = convolve_groups(x, self.kernel[...], groups=self.groups)
        return y + self.bias[...].astype(x.dtype)


class ConvolutionPositions(GroupedConvolution):
    """x + gelu(convolution of x), whose kernel is long enough to tell where a frame stands.

    Source: wav2vec 2.0 (2006.11477), sec. 2; differs: the kernel is one parameter, without weight
    norm.
    """

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the convolution.

        Raises:
          UserError: the groups do not divide the width.
        """
        _check_groups(config)
        # As fairseq, which counts the channels of all groups.
        super().__init__(config, std=2 * (config.position_kernel * config.width) ** -0.5, key=key)

    def __call__(self, x: jax.Array, valid: jax.Array) -> jax.Array:
        """Adds positions.

        Args:
          x: [B, T, D].
          valid: bool [B, T], True = real.

        Returns:
          Like x.
        """
        return x + jax.nn.gelu(super().__call__(x, valid), approximate=False)


class StackedConvolutionPositions(nnx.Module):
    """x + a stack of convolutions of x, each with a norm without parameters and GELU.

    Source: data2vec (2202.03555), as in its code. Differs: what is not valid is zero in front of
    every convolution, so that padding never changes a real frame.
    """

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the convolutions.

        Raises:
          UserError: the groups do not divide the width.
        """
        _check_groups(config)
        # He et al. (1502.01852): the deviation that ReLU keeps. Biases as in torch.nn.Conv1d: with
        # zeros, silence would stay 0, or rounding errors, and each norm would multiply those, and
        # their gradient, by 300.
        inputs = config.position_kernel * config.width // config.position_groups
        sizes = {"std": (2 / inputs) ** 0.5, "largest_bias": inputs**-0.5}
        keys = jax.random.split(key, config.position_layers)
        self.convolutions = nnx.List([GroupedConvolution(config, **sizes, key=k) for k in keys])

    def __call__(self, x: jax.Array, valid: jax.Array) -> jax.Array:
        """Adds positions.

        Args:
          x: [B, T, D].
          valid: bool [B, T], True = real.

        Returns:
          Like x.
        """
        y = x
        for convolution in self.convolutions:
            y = standardize(convolution(y, valid)).astype(x.dtype)
            y = jax.nn.gelu(y, approximate=False)
        return x + y


class LearnedPositions(nnx.Module):
    """x + a table of one vector per frame that starts as sinusoids (Whisper, 2212.04356)."""

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the table."""
        del key  # nothing random
        self.table = nnx.Param(
            jnp.asarray(sinusoids(config.max_frames, config.width)), axes=(None, "embed")
        )

    def __call__(self, x: jax.Array, valid: jax.Array) -> jax.Array:
        """Adds positions.

        Args:
          x: [B, T, D].
          valid: unused.

        Returns:
          Like x.

        Raises:
          UserError: more frames than the table has.
        """
        del valid
        if x.shape[1] > self.table.shape[0]:
            raise UserError(
                f"{x.shape[1]} frames are more than encoder.max_frames={self.table.shape[0]} "
                "learned positions: cut the audio (data.max_seconds) or raise encoder.max_frames"
            )
        return x + self.table[...][: x.shape[1]].astype(x.dtype)


class SinusoidalPositions(nnx.Module):
    """x + sinusoids of each frame's number; nothing to learn."""

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes nothing."""
        del config, key

    def __call__(self, x: jax.Array, valid: jax.Array) -> jax.Array:
        """Adds positions.

        Args:
          x: [B, T, D].
          valid: bool [B, T], True = real.

        Returns:
          Like x.
        """
        del valid
        return x + sinusoids(x.shape[1], x.shape[2]).astype(x.dtype)


# Positions that are added to frames: each is called with [B, T, D] and bool [B, T].
ADDED = {
    "convolution": ConvolutionPositions,
    "convolution_stack": StackedConvolutionPositions,
    "learned": LearnedPositions,
    "sinusoidal": SinusoidalPositions,
}
POSITIONS = (*ADDED, "rotary", "none")  # rotary is part of attention


@functools.lru_cache
def sinusoids(num_frames: int, width: int) -> np.ndarray:
    """Builds sines, then cosines, of a frame's number at width / 2 rates from 1 to 1 / 10000.

    Args:
      num_frames: T.
      width: D, even.

    Returns:
      Float32 [T, D].

    Source: Whisper (2212.04356), code; Vaswani et al. (1706.03762), sec. 3.5, interleave the two.
    """
    rates = np.exp(-math.log(LONGEST_PERIOD) * np.arange(width // 2) / (width // 2 - 1))
    angles = np.arange(num_frames)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


class RelativeBias(nnx.Module):
    """One number per head and distance between two frames, for all layers.

    Near distances have a bucket each, far ones share buckets that grow like a logarithm.

    Source: WavLM (2110.13900), sec. 3.1; T5 (1910.10683), sec. 2.1.
    """

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the table; standard normal, as torch's embeddings."""
        self.config = config
        shape = (config.relative_buckets, config.num_heads)
        self.table = nnx.Param(jax.random.normal(key, shape, jnp.float32), axes=(None, None))

    def __call__(self, num_frames: int) -> jax.Array:
        """Looks the bias up.

        Args:
          num_frames: T.

        Returns:
          float32 [H, T, T]: for a frame t that looks at frame s, that of the distance s - t.
        """
        distances = np.arange(1 - num_frames, num_frames + 1)  # 2 T, the last of them for nothing
        buckets = distance_buckets(
            distances,
            num_buckets=self.config.relative_buckets,
            max_distance=self.config.relative_distance,
        )
        by_distance = self.table[...][buckets].T  # [H, 2 T]
        # The same [T, 2 T] numbers read in rows of 2 T - 1, so that row t is shifted by t. No
        # gather of T^2 numbers, whose gradient would be a scatter.
        heads = len(by_distance)
        rows = jnp.broadcast_to(by_distance[:, None], (heads, num_frames, 2 * num_frames))
        flat = rows.reshape(heads, -1)[:, : num_frames * (2 * num_frames - 1)]
        return flat.reshape(heads, num_frames, -1)[:, :, num_frames - 1 :]


def distance_buckets(distances: np.ndarray, *, num_buckets: int, max_distance: int) -> np.ndarray:
    """Sorts distances into buckets: half for each direction, half of those one distance wide.

    Args:
      distances: int, of the other frame from this one.
      num_buckets: in all.
      max_distance: from which on all share the last bucket of their direction.

    Returns:
      int32 of the same shape, in [0, num_buckets).
    """
    half = num_buckets // 2
    exact = half // 2
    size = np.abs(distances)
    # float32 in this order: at the edge of a bucket rounding decides, as where models learned it.
    far = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(exact))
    far = far / np.float32(math.log(max_distance / exact)) * np.float32(half - exact)
    far = np.minimum((exact + far).astype(np.int32), half - 1)
    return np.where(distances > 0, half, 0) + np.where(size < exact, size, far).astype(np.int32)


def _check_groups(config):
    if config.width % config.position_groups:
        raise UserError(
            f"encoder.width {config.width} does not divide by encoder.position_groups "
            f"{config.position_groups}: make it a multiple"
        )
