"""Descriptors of clean speech that workers predict: spectra, filterbanks and cepstra.

All are on the frames of `core.lengths` (50 per second) for any window, and are mapped to about zero
mean and unit population standard deviation over speech by constants, never by the batch.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sersl.audio.features import rfft_of_rows
from sersl.core.lengths import HOP, SAMPLE_RATE, WINDOW, num_frames

_FLOOR = 1e-6  # added to powers of a 400-sample window: the rounding noise of 16 bits, see features
_LOW_HZ = 20.0
_NUM_BANDS = 40  # of filterbanks; PASE+ has 40 and their two deltas


class Descriptor(NamedTuple):
    """A target of a worker.

    Attributes:
      compute: waveform [B, N] to [B, T, F].
      centre: mean over speech, for each of F or for all.
      scale: population standard deviation over speech, for each of F or for all.
    """

    compute: Callable[[jax.Array], jax.Array]
    centre: float | tuple[float, ...]
    scale: float | tuple[float, ...]


def describe_frames(name: str, waveform: jax.Array) -> jax.Array:
    """Computes a descriptor, standardised, in float32.

    Args:
      name: a key of DESCRIPTORS.
      waveform: [B, N] in [-1, 1], 16 kHz, zeros at padding.

    Returns:
      [B, T, F], T = num_frames(N).
    """
    found = DESCRIPTORS[name]
    values = found.compute(waveform.astype(jnp.float32))
    return (values - np.array(found.centre, np.float32)) / np.array(found.scale, np.float32)


def num_values(name: str) -> int:
    """Returns the number of values F of a descriptor."""
    samples = jax.ShapeDtypeStruct((1, WINDOW), jnp.float32)
    return jax.eval_shape(functools.partial(describe_frames, name), samples).shape[-1]


def deltas(values: jax.Array, valid: jax.Array) -> jax.Array:
    """Appends slopes over 5 frames, and slopes of the slopes.

    Args:
      values: [B, T, F].
      valid: bool [B, T].

    Returns:
      [B, T, 3 F]; NaN where a frame of the window is not real.

    Source: HTK book 3.4, sec. 5.9, with a window of 2.
    """
    known = jnp.where(valid[..., None], values, jnp.nan)
    first = _slope(known)
    return jnp.concatenate([known, first, _slope(first)], axis=-1)


def power_spectrum(waveform: jax.Array, window: int) -> jax.Array:
    """Computes power spectra of Hann windows centred on the frames.

    Args:
      waveform: [B, N].
      window: samples, at least 400.

    Returns:
      [B, T, F + 1] with an FFT of 2 F samples, the smallest power of two that holds the window;
      scaled so that noise has the same level as with 400 samples.
    """
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    frames = _frames(waveform, window) * hann.astype(np.float32)
    spectrum = rfft_of_rows(frames, length=_fft_length(window))
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    return power * (WINDOW / window)


@functools.lru_cache
def mel_weights(num_bands: int, fft_length: int) -> np.ndarray:
    """Builds triangular filters, equally spaced in mel between 20 and 8000 Hz.

    Returns:
      float32 [fft_length // 2 + 1, num_bands]; the weights of each filter sum to 1.

    Source: HTK book 3.4, sec. 5.4; differs: weights are normalised, so that windows of any length
    are comparable.
    """

    def mel(hz):
        return 1127.0 * np.log1p(np.asarray(hz) / 700.0)

    edges = np.linspace(mel(_LOW_HZ), mel(SAMPLE_RATE / 2), num_bands + 2)
    bins = mel(np.arange(fft_length // 2 + 1) * SAMPLE_RATE / fft_length)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    return (weights / weights.sum(0)).astype(np.float32)


@functools.lru_cache
def gammatone_weights(num_bands: int, fft_length: int) -> np.ndarray:
    """Builds the power responses of fourth-order gammatone filters, equally spaced in ERB rate.

    The filters are between 50 and 7500 Hz.

    Returns:
      float32 [fft_length // 2 + 1, num_bands]; the weights of each filter sum to 1.

    Source: Patterson et al. (1992), |H|^2 = (1 + ((f - c) / b)^2)^-4 with b = 1.019 ERB(c);
    Glasberg & Moore (1990), ERB(f) = 24.7 (1 + 4.37 f / 1000).
    """

    def rate(hz):
        return 21.4 * np.log10(1 + 4.37e-3 * np.asarray(hz))

    rates = np.linspace(rate(50.0), rate(7500.0), num_bands)
    centres = (10 ** (rates / 21.4) - 1) / 4.37e-3
    bandwidth = 1.019 * 24.7 * (1 + 4.37e-3 * centres)
    hz = np.arange(fft_length // 2 + 1)[:, None] * SAMPLE_RATE / fft_length
    weights = (1 + np.square((hz - centres) / bandwidth)) ** -4.0
    return (weights / weights.sum(0)).astype(np.float32)


def _waveform(waveform):
    """The 320 samples around each frame's centre."""
    return _frames(waveform, HOP)


def _log_power(window, waveform):
    return jnp.log(power_spectrum(waveform, window) + _FLOOR)


def _log_bands(weights, window, waveform):
    power = power_spectrum(waveform, window)
    bands = weights(_NUM_BANDS, _fft_length(window))
    return jnp.log(jnp.matmul(power, bands, precision=jax.lax.Precision.HIGHEST) + _FLOOR)


def _cepstrum(num_values, window, waveform):
    """The first coefficients of the orthonormal cosine transform of log mel power."""
    values = _log_bands(mel_weights, window, waveform)
    k, n = np.arange(num_values), np.arange(_NUM_BANDS)[:, None]
    basis = np.sqrt(2 / _NUM_BANDS) * np.cos(np.pi * k * (n + 0.5) / _NUM_BANDS)
    basis[:, 0] /= np.sqrt(2)
    return jnp.matmul(values, basis.astype(np.float32), precision=jax.lax.Precision.HIGHEST)


def _fft_length(window: int) -> int:
    return 1 << (window - 1).bit_length()


def _frames(waveform, window):
    """Cuts [B, T, window] around the centre of each frame, sample 320 t + 200, with slices only."""
    count = num_frames(waveform.shape[1])
    before = max(window // 2 - WINDOW // 2, 0)
    waveform = waveform[:, max(WINDOW // 2 - window // 2, 0) :]
    num_blocks = -(-window // HOP)
    total = (count + num_blocks - 1) * HOP
    padded = jnp.pad(waveform, ((0, 0), (before, total)))[:, :total]
    blocks = padded.reshape(waveform.shape[0], -1, HOP)
    parts = [blocks[:, i : i + count] for i in range(num_blocks)]
    return jnp.concatenate(parts, axis=-1)[..., :window]


def _slope(values):
    """Computes the least-squares slope per frame over 5 frames."""
    padded = jnp.pad(values, ((0, 0), (2, 2), (0, 0)), constant_values=jnp.nan)
    count = values.shape[1]
    near = [padded[:, i : i + count] for i in range(5)]
    return (2 * (near[4] - near[0]) + near[3] - near[1]) / 10.0


_LONG = 1024  # samples = 64 ms; PASE+ has 512 to 2048 for its long windows
# Means and population standard deviations over speech: averages of 36 files of RAVDESS and 36 of
# LibriSpeech, at most 8 s of each, without padding.
_MFCC_CENTRES = (-54.7, 10.2, 1.17, 2.6, -0.1, -0.25, -0.62, -0.37, 0.12, 0.32, -0.06, 0.0, 0.0)
_MFCC_SCALES = (23.9, 9.25, 4.47, 3.76, 3.07, 2.79, 2.34, 2.09, 1.95, 1.75, 1.68, 1.53, 1.52)
_LONG_CENTRES = (-53.8, 9.7, 0.6, 2.26, -0.44, -0.49, -0.87, -0.56, *(0.0,) * 12)
_LONG_SCALES = (
    *(24.1, 8.84, 4.49, 3.73, 3.0, 2.78, 2.33, 2.06, 1.93, 1.68),
    *(1.64, 1.49, 1.52, 1.35, 1.32, 1.29, 1.24, 1.23, 1.24, 1.21),
)
DESCRIPTORS = {
    "waveform": Descriptor(_waveform, 0.0, 0.044),
    "power": Descriptor(functools.partial(_log_power, WINDOW), -10.1, 3.96),
    "power_long": Descriptor(functools.partial(_log_power, _LONG), -10.0, 3.92),
    "mel": Descriptor(functools.partial(_log_bands, mel_weights, WINDOW), -8.65, 4.65),
    "mel_long": Descriptor(functools.partial(_log_bands, mel_weights, _LONG), -8.5, 4.63),
    "gammatone": Descriptor(functools.partial(_log_bands, gammatone_weights, WINDOW), -8.12, 4.86),
    "gammatone_long": Descriptor(
        functools.partial(_log_bands, gammatone_weights, _LONG), -8.0, 4.83
    ),
    "mfcc": Descriptor(functools.partial(_cepstrum, 13, WINDOW), _MFCC_CENTRES, _MFCC_SCALES),
    "mfcc_long": Descriptor(functools.partial(_cepstrum, 20, _LONG), _LONG_CENTRES, _LONG_SCALES),
}
