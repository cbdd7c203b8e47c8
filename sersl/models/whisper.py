"""Whisper's frontend: log-mel features of 30 s, or of the audio alone, and two convolutions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.audio.features import rfft_of_rows
from sersl.config.schema import FrontendConfig
from sersl.core import lengths
from sersl.core.errors import UserError
from sersl.models.convolution import convolve
from sersl.models.frontend import valid_frames
from sersl.models.layers import shard_rows

SHIFT = 160  # samples = 10 ms between windows (2212.04356, sec. 2.2)
FFT_LENGTH = 400  # samples = 25 ms, the window
WINDOWS_PER_FRAME = lengths.HOP // SHIFT
FLOOR = 1e-10  # of mel power
RANGE = 8.0  # decades of mel power below the loudest value of an utterance; lower is clipped
SILENCE = (np.log10(FLOOR) + 4.0) / 4.0  # value of a feature without power
TAPS = 3  # of both convolutions


@functools.lru_cache
def slaney_filters(num_mels: int) -> np.ndarray:
    """Builds triangular filters on the mel scale of Slaney's Auditory Toolbox, each of area 1.

    Args:
      num_mels: number of filters between 0 and 8000 Hz.

    Returns:
      Float32 [201, num_mels], to multiply a power spectrum with.

    Source: librosa.filters.mel with its defaults, which Whisper ships as an array. The scale is
    linear up to 1000 Hz (3 mel every 200 Hz), then logarithmic (27 mel for a factor of 6.4).
    """
    knee_mel, log_step = 15.0, np.log(6.4) / 27.0

    def hz(mel):
        return np.where(
            mel < knee_mel, mel * 200.0 / 3.0, 1000.0 * np.exp(log_step * (mel - knee_mel))
        )

    top = knee_mel + np.log(8000.0 / 1000.0) / log_step
    edges = hz(np.linspace(0.0, top, num_mels + 2))
    bins = np.linspace(0.0, lengths.SAMPLE_RATE / 2, FFT_LENGTH // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins) / np.diff(edges)[1:]
    weights = np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (edges[2:] - edges[:-2])
    return weights.astype(np.float32)


def whisper_log_mel(
    waveform: jax.Array, *, num_mels: int, valid: jax.Array | None = None
) -> jax.Array:
    """Computes Whisper's log-mel spectrogram, always in float32.

    Args:
      waveform: [B, N], 16 kHz, N a multiple of 80.
      num_mels: number of filters: 80, or 128 from large-v3 on.
      valid: bool [B, N // 160], the windows to compute; the others get the value of silence. None:
        all.

    Returns:
      Float32 [B, N // 160, num_mels]: window m is centred on sample 160 m, with the waveform
      mirrored at its ends. Values are log10 power, clipped at 8 below the row's largest, plus 4,
      divided by 4.

    Source: Radford et al. (2212.04356), sec. 2.2, and its code.
    """
    num_windows = waveform.shape[1] // SHIFT
    half = FFT_LENGTH // 2
    padded = jnp.pad(waveform.astype(jnp.float32), ((0, 0), (half, half)), mode="reflect")
    # A window is five blocks of half a shift; slices are cheaper than a gather.
    blocks = padded.reshape(waveform.shape[0], -1, SHIFT // 2)
    per_window = FFT_LENGTH // (SHIFT // 2)
    windows = jnp.concatenate(
        [blocks[:, i : i + 2 * num_windows : 2] for i in range(per_window)], axis=-1
    )
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT_LENGTH) / FFT_LENGTH)
    spectrum = rfft_of_rows(windows * hann.astype(np.float32), length=FFT_LENGTH)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    # Powers span ten decades: bfloat16 passes, the default on TPU, are not precise enough.
    mel = jnp.matmul(power, slaney_filters(num_mels), precision=jax.lax.Precision.HIGHEST)
    log_power = jnp.log10(jnp.maximum(mel, FLOOR))
    if valid is not None:
        log_power = jnp.where(valid[..., None], log_power, np.log10(FLOOR))
    loudest = log_power.max((1, 2), keepdims=True)
    return (jnp.maximum(log_power, loudest - RANGE) + 4.0) / 4.0


class PaddedConvolution(nnx.Module):
    """A convolution of three taps with one zero at each end, then GELU."""

    def __init__(self, inputs: int, width: int, *, stride: int, dtype: str, key: jax.Array):
        """Makes the layer."""
        self.stride, self.dtype = stride, dtype
        std = (2 / (TAPS * inputs)) ** 0.5  # He et al. (1502.01852)
        self.kernel = nnx.Param(
            std * jax.random.normal(key, (TAPS, inputs, width), jnp.float32),
            axes=(None, None, "embed"),
        )
        self.bias = nnx.Param(jnp.zeros(width, jnp.float32), axes=("embed",))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, I] to [B, T / stride, D]."""
        padded = jnp.pad(x.astype(self.dtype), ((0, 0), (1, 1), (0, 0)))
        y = convolve(padded, self.kernel[...], stride=self.stride)
        return jax.nn.gelu(y + self.bias[...].astype(y.dtype), approximate=False)


class WhisperFrontend(nnx.Module):
    """Whisper's log-mel features and convolutions.

    With `frontend.window_seconds` audio is padded with silence, or cut, to one window. As in the
    original the context network attends to the silence. With 0 there is no window: the context
    network runs on the frames of the batch and attends to those of real audio. Frame t is centred
    on sample 320 t, 200 samples before frame t of the other frontends.
    """

    has_mels = True

    def __init__(self, config: FrontendConfig, *, width: int, dtype: str, key: jax.Array):
        """Makes the convolutions.

        Raises:
          UserError: the window is not a multiple of a frame, or `frontend.normalize` is not
            "fixed".
        """
        samples = config.window_seconds * lengths.SAMPLE_RATE
        if samples % lengths.HOP:
            raise UserError(
                f"frontend.window_seconds={config.window_seconds} is not a multiple of the frame "
                "length, 0.02 s: round it"
            )
        if config.normalize != "fixed":
            raise UserError(
                f"frontend.normalize={config.normalize!r} does not go with frontend.kind=whisper, "
                "which has a normalisation of its own: set it to 'fixed'"
            )
        self.config = config
        self.num_frames = int(samples) // lengths.HOP  # of the window; 0: that of the batch
        self.attends_padding = self.num_frames > 0
        keys = jax.random.split(key)
        self.conv1 = PaddedConvolution(config.num_mels, width, stride=1, dtype=dtype, key=keys[0])
        self.conv2 = PaddedConvolution(
            width, width, stride=WINDOWS_PER_FRAME, dtype=dtype, key=keys[1]
        )

    @staticmethod
    def count_features(config: FrontendConfig) -> int:
        """Returns the number of features of a frame: two windows of `num_mels` filters."""
        return WINDOWS_PER_FRAME * config.num_mels

    def features(self, waveform: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Computes log-mel features.

        Args:
          waveform: [B, N], 16 kHz.
          valid: bool [B, N], real samples, which come first.

        Returns:
          (float32 [B, W, 2 * num_mels], bool [B, W], real frames). W is the number of frames of the
          window, whatever N is, or without a window num_frames(N); a frame holds two windows of
          10 ms. Without a window padding has the value of silence.
        """
        if not self.num_frames:
            return self._features_of_batch(waveform, valid)
        num_samples = self.num_frames * lengths.HOP
        window = jnp.where(valid, waveform, 0.0)[:, :num_samples]
        window = jnp.pad(window, ((0, 0), (0, num_samples - window.shape[1])))
        log_mel = whisper_log_mel(window, num_mels=self.config.num_mels)
        num_real = lengths.num_frames(valid.sum(1, dtype=jnp.int32))
        frame_valid = jnp.arange(self.num_frames) < num_real[:, None]
        return log_mel.reshape(len(window), self.num_frames, -1), frame_valid

    def _features_of_batch(
        self, waveform: jax.Array, valid: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        frame_valid = valid_frames(valid)
        num_rows, num_frames = frame_valid.shape
        # The windows of a valid frame end before its 400 samples do.
        window = jnp.where(valid, waveform, 0.0)[:, : lengths.num_samples(num_frames)]
        log_mel = whisper_log_mel(
            window,
            num_mels=self.config.num_mels,
            valid=jnp.repeat(frame_valid, WINDOWS_PER_FRAME, axis=1),
        )
        return log_mel.reshape(num_rows, num_frames, -1), frame_valid

    def project(self, features: jax.Array) -> jax.Array:
        """Maps features [B, W, 2 * num_mels] to the encoder's width [B, W, D]."""
        windows = features.reshape(len(features), -1, self.config.num_mels)
        if self.num_frames:
            return shard_rows(self.conv2(self.conv1(windows)))
        # Silence follows the batch as it follows a shorter row: the last frame looks one window
        # ahead.
        silence = jnp.maximum(windows.max((1, 2), keepdims=True) - RANGE / 4.0, SILENCE)
        after = jnp.broadcast_to(silence, windows[:, :1].shape)
        windows = jnp.concatenate([windows, after], axis=1)
        return shard_rows(self.conv2(self.conv1(windows)[:, :-1]))
