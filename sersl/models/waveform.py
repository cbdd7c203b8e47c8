"""The convolutional frontend of wav2vec 2.0: waveform to frames at 50 Hz."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import FrontendConfig
from sersl.core import lengths
from sersl.models.convolution import convolve
from sersl.models.layers import LayerNorm, Linear, inverse_deviation, shard_rows

SILENCE = 1e-7  # added to an utterance's variance (transformers' feature extractor)


class NormOverTime(nnx.Module):
    """Group normalisation with one channel per group over the real frames of a row.

    The variance is the population variance.
    """

    def __init__(self, width: int):
        """Makes scale and shift."""
        self.scale = nnx.Param(jnp.ones(width, jnp.float32), axes=("conv",))
        self.bias = nnx.Param(jnp.zeros(width, jnp.float32), axes=("conv",))

    def __call__(self, x: jax.Array, num_real: jax.Array) -> jax.Array:
        """Normalises [B, T, C] in float32; `num_real` [B] counts the real frames of each row."""
        real = (jnp.arange(x.shape[1]) < num_real[:, None])[..., None]
        count = jnp.maximum(num_real, 1).astype(jnp.float32)[:, None, None]
        wide = x.astype(jnp.float32)
        mean = jnp.where(real, wide, 0.0).sum(1, keepdims=True) / count
        centred = wide - mean
        variance = jnp.where(real, jnp.square(centred), 0.0).sum(1, keepdims=True) / count
        factor = inverse_deviation(variance) * self.scale[...]
        return (centred * factor + self.bias[...]).astype(x.dtype)


class Convolution(nnx.Module):
    """One layer of the stack: convolution, optional norm, GELU."""

    def __init__(
        self, inputs: int, config: FrontendConfig, *, position: int, dtype: str, key: jax.Array
    ):
        """Makes the layer.

        Args:
          inputs: input channels.
          config: settings.
          position: index of the layer in the stack, from 0.
          dtype: dtype of the computation.
          key: PRNG key of the initial weights.
        """
        self.taps, self.stride = lengths.CONVOLUTIONS[position]
        self.dtype = dtype
        width = config.conv_width
        # He et al. (1502.01852): keeps the variance through ReLU.
        std = (2 / (self.taps * inputs)) ** 0.5
        self.kernel = nnx.Param(
            std * jax.random.normal(key, (self.taps, inputs, width), jnp.float32),
            axes=(None, None, "conv"),
        )
        self.has_bias = config.conv_bias
        if config.conv_bias:
            # Uniform as in torch.nn.Conv1d. With zero biases, digital silence stays 0 through all
            # seven LayerNorms, each of which multiplies its gradient by 300.
            bound = (self.taps * inputs) ** -0.5
            bias = jax.random.uniform(
                jax.random.fold_in(key, 1), (width,), jnp.float32, -bound, bound
            )
            self.bias = nnx.Param(bias, axes=("conv",))
        norm: LayerNorm | NormOverTime | None = None
        if config.conv_norm == "layer":
            norm = LayerNorm(width, axis="conv", dtype=dtype)
        elif position == 0:
            norm = NormOverTime(width)
        self.norm = norm

    def __call__(self, x: jax.Array, num_real: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Convolves [B, T, I] to [B, T', C]; `num_real` [B] counts the real frames of each."""
        num_real = lengths.convolved(num_real, self.taps, self.stride)
        y = convolve(x.astype(self.dtype), self.kernel[...], stride=self.stride)
        if self.has_bias:
            y = y + self.bias[...].astype(y.dtype)
        if isinstance(self.norm, NormOverTime):
            y = self.norm(y, num_real)
        elif self.norm is not None:
            y = self.norm(y)
        return shard_rows(jax.nn.gelu(y, approximate=False)), num_real


class WaveformFrontend(nnx.Module):
    """Seven convolutions, LayerNorm, and a linear map to the encoder's width.

    Attributes:
      row_by_row: whether the convolutions compute one row of a batch after the other, which is
        faster on one CPU: the output of the first is 400 times as large as its input.

    Source: wav2vec 2.0 (2006.11477), sec. 2 and 4.2.
    """

    attends_padding = False
    has_mels = False
    row_by_row = False

    def __init__(self, config: FrontendConfig, *, width: int, dtype: str, key: jax.Array):
        """Makes the stack.

        Raises:
          UserError: unknown `conv_norm` or `normalize`.
        """
        self.config = config
        *keys, projection_key = jax.random.split(key, len(lengths.CONVOLUTIONS) + 1)
        self.convolutions = nnx.List(
            [
                Convolution(
                    1 if i == 0 else config.conv_width, config, position=i, dtype=dtype, key=k
                )
                for i, k in enumerate(keys)
            ]
        )
        if config.feature_norm:
            self.feature_norm = LayerNorm(config.conv_width, axis=None)
        self.projection = Linear(
            config.conv_width, width, axes=(None, "embed"), key=projection_key, dtype=dtype
        )

    @staticmethod
    def count_features(config: FrontendConfig) -> int:
        """Returns the number of channels of the last convolution."""
        return config.conv_width

    def features(self, waveform: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Runs the convolutions and the norm after them: the input of wav2vec 2.0's quantizer.

        Args:
          waveform: [B, N], 16 kHz, at least 400 samples.
          valid: bool [B, N], real samples, which come first.

        Returns:
          (float32 [B, T, C], 0 at padding; bool [B, T], the frames whose 400 samples are real).
        """
        x, frame_valid = self.convolve(waveform, valid)
        if self.config.feature_norm:
            x = self.feature_norm(x)
        return jnp.where(frame_valid[..., None], x, 0.0), frame_valid

    def convolve(self, waveform: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Runs the convolutions without the norm after them, for wav2vec 2.0's feature penalty.

        Args:
          waveform: [B, N], 16 kHz, at least 400 samples.
          valid: bool [B, N], real samples, which come first.

        Returns:
          (float32 [B, T, C], undefined at padding; bool [B, T], as `features` returns it).
        """
        num_real = valid.sum(1, dtype=jnp.int32)
        x = jnp.where(valid, waveform.astype(jnp.float32), 0.0)
        if self.config.normalize == "utterance":
            x = _normalized(x, valid, num_real)
        x = x[..., None]
        if self.row_by_row:
            x, num_real = jax.lax.map(
                lambda row: jax.tree.map(lambda y: y[0], self._stack(row[0][None], row[1][None])),
                (x, num_real),
            )
        else:
            x, num_real = self._stack(x, num_real)
        x = x.astype(jnp.float32)
        scale = self.config.gradient_scale
        if scale != 1.0:
            x = scale * x + (1.0 - scale) * jax.lax.stop_gradient(x)
        return x, jnp.arange(x.shape[1]) < num_real[:, None]

    def _stack(self, x: jax.Array, num_real: jax.Array) -> tuple[jax.Array, jax.Array]:
        for convolution in self.convolutions:
            x, num_real = convolution(x, num_real)
        return x, num_real

    def project(self, features: jax.Array) -> jax.Array:
        """Maps features [B, T, C] to the encoder's width [B, T, D]."""
        return self.projection(features)


def _normalized(waveform, valid, num_real):
    """Zero mean and unit population variance over the real samples of each row, 0 elsewhere."""
    count = jnp.maximum(num_real, 1).astype(jnp.float32)[:, None]
    centred = waveform - waveform.sum(1, keepdims=True) / count
    centred = jnp.where(valid, centred, 0.0)
    variance = jnp.square(centred).sum(1, keepdims=True) / count
    return centred * jax.lax.rsqrt(variance + SILENCE)
