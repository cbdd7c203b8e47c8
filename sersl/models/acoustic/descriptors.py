"""Acoustic descriptors of every frame, on the device: pitch, loudness, spectrum and voice quality.

These are the descriptors of eGeMAPS (Eyben et al. 2016, "The Geneva Minimalistic Acoustic Parameter
Set") that need neither formants nor single periods, on the frames of `core.lengths`: 25 ms (40 ms
for pitch and harmonics) every 20 ms.

Differs: no formants, jitter or shimmer; a Hann window; levels have floors at the noise of 16-bit
audio, so that silence gives finite values.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sersl.audio.features import FFT_LENGTH, mel_filters
from sersl.audio.prosody import PITCH_FFT, PITCH_WINDOW, hann
from sersl.core.lengths import HOP, SAMPLE_RATE, WINDOW
from sersl.core.lengths import num_frames as frames_of
from sersl.models.acoustic.pitch import pitch_frames, track_pitch

DESCRIPTORS_VERSION = 1  # of everything below and of pitch.py
# name: unit
DESCRIPTORS = {
    "f0": "semitones above 27.5 Hz",
    "voicing": "0..1, height of the peak of the autocorrelation",
    "hnr": "dB, harmonics to noise",
    "level": "dB of full scale, RMS of 25 ms",
    "loudness": "sum of 26 auditory bands after a cubic root",
    "flux": "0..2, change of the shape of the magnitude spectrum since the frame before",
    "alpha_ratio": "dB, energy in 50-1000 Hz over 1-5 kHz",
    "hammarberg": "dB, strongest bin below 2 kHz over the strongest in 2-5 kHz",
    "slope_0_500": "dB per kHz",
    "slope_500_1500": "dB per kHz",
    "centroid": "kHz, of the power spectrum",
    "h1_h2": "dB, first harmonic over the second",
    "mfcc1": "",
    "mfcc2": "",
    "mfcc3": "",
    "mfcc4": "",
}
NAMES = tuple(DESCRIPTORS)

_NUM_BANDS = 26  # mel bands of loudness and MFCC, as eGeMAPS has
_LIFTER = 22  # of the MFCC (HTK book 3.4, sec. 5.6)
_LOWEST_F0 = 27.5  # Hz, zero of the semitone scale (eGeMAPS)
_MAX_VOICING = 0.999  # so that HNR is at most 30 dB
_POWER_FLOOR = 1e-8  # per bin, of |FFT of 400 Hann-windowed samples|^2: the noise of 16 bits
_LEVEL_FLOOR = 1e-10  # mean square: -100 dB


class Descriptors(NamedTuple):
    """Descriptors of a batch.

    Attributes:
      values: float32 [B, T, D] in the order of `NAMES`; 0 at padding.
      voiced: bool [B, T].
      valid: bool [B, T], the real frames.
    """

    values: jax.Array
    voiced: jax.Array
    valid: jax.Array


@jax.jit
def describe(waveform: jax.Array, num_samples: jax.Array) -> Descriptors:
    """Computes all descriptors of a batch.

    Args:
      waveform: [B, N] in [-1, 1] at 16 kHz; samples from num_samples on are ignored.
      num_samples: int [B], real samples of each row.

    Returns:
      Descriptors with T = num_frames(N). They do not depend on the padding.
    """
    real = jnp.arange(waveform.shape[1]) < num_samples[:, None]
    waveform = jnp.where(real, waveform, 0.0).astype(jnp.float32)
    count = frames_of(waveform.shape[1])
    valid = jnp.arange(count) < frames_of(num_samples)[:, None]
    f0, voicing = track_pitch(waveform, valid)
    voiced = f0 > 0
    frames = _frames(waveform)
    power = _power(frames)
    values = {
        "f0": jnp.where(voiced, 12 * jnp.log2(jnp.maximum(f0, _LOWEST_F0) / _LOWEST_F0), 0.0),
        "voicing": voicing,
        "hnr": jnp.where(voiced, harmonics_to_noise(voicing), 0.0),
        "level": _decibel(jnp.square(frames).mean(-1), _LEVEL_FLOOR),
        "loudness": loudness(power),
        "flux": spectral_flux(power),
        "alpha_ratio": alpha_ratio(power),
        "hammarberg": hammarberg(power),
        "slope_0_500": slope(power, 0.0, 500.0),
        "slope_500_1500": slope(power, 500.0, 1500.0),
        "centroid": centroid(power),
        "h1_h2": jnp.where(voiced, first_harmonics(pitch_frames(waveform), f0), 0.0),
    }
    cepstrum = mfcc(power)
    values |= {f"mfcc{i + 1}": cepstrum[..., i] for i in range(4)}
    stacked = jnp.stack([values[name] for name in NAMES], axis=-1)
    return Descriptors(jnp.where(valid[..., None], stacked, 0.0), voiced, valid)


def harmonics_to_noise(voicing: jax.Array) -> jax.Array:
    """Turns voicing r [...] in 0..1 into 10 log10(r / (1 - r)), in -30..30 dB (Boersma 1993)."""
    r = jnp.clip(voicing, 1 - _MAX_VOICING, _MAX_VOICING)
    return 10 * jnp.log10(r / (1 - r))


def loudness(power: jax.Array) -> jax.Array:
    """Sums an auditory spectrum.

    Args:
      power: [..., 257].

    Returns:
      [...]: the mel bands, weighted by equal loudness, to the power 1/3, summed.

    Source: perceptual linear prediction (Hermansky 1990), eq. 9 and the intensity-loudness law.
    """
    bands = _bands(power) * _equal_loudness()
    return jnp.cbrt(bands).sum(-1)


def spectral_flux(power: jax.Array) -> jax.Array:
    """Measures how much the shape of the spectrum changes from frame to frame.

    Args:
      power: [B, T, 257].

    Returns:
      [B, T]: sum over bins of the absolute change of the magnitude's share, 0..2; 0 in frame 0.
    """
    magnitude = jnp.sqrt(power)
    share = magnitude / magnitude.sum(-1, keepdims=True)
    change = jnp.abs(share[:, 1:] - share[:, :-1]).sum(-1)
    return jnp.pad(change, ((0, 0), (1, 0)))


def alpha_ratio(power: jax.Array) -> jax.Array:
    """Compares [..., 257] power below and above 1 kHz: 50-1000 Hz over 1-5 kHz, [...] in dB."""
    low, high = (power[..., _between(*band)].sum(-1) for band in ((50, 1000), (1000, 5000)))
    return 10 * jnp.log10(low / high)


def hammarberg(power: jax.Array) -> jax.Array:
    """Compares the peaks of [..., 257] below 2 kHz and in 2-5 kHz, [...] in dB."""
    low, high = (power[..., _between(*band)].max(-1) for band in ((0, 2000), (2000, 5000)))
    return 10 * jnp.log10(low / high)


def slope(power: jax.Array, low_hz: float, high_hz: float) -> jax.Array:
    """Fits a line to the spectrum in dB over a band.

    Args:
      power: [..., 257].
      low_hz: lower edge of the band.
      high_hz: upper edge.

    Returns:
      [...] in dB per kHz, least squares over the bins.
    """
    inside = _between(low_hz, high_hz)
    kilohertz = _FREQUENCIES[inside] / 1000
    centred = kilohertz - kilohertz.mean()
    weights = (centred / (centred**2).sum()).astype(np.float32)
    return jnp.matmul(
        10 * jnp.log10(power[..., inside]), weights, precision=jax.lax.Precision.HIGHEST
    )


def centroid(power: jax.Array) -> jax.Array:
    """Gives the centre of mass of [..., 257] power, [...] in kHz."""
    kilohertz = (_FREQUENCIES / 1000).astype(np.float32)
    weighted = jnp.matmul(power, kilohertz, precision=jax.lax.Precision.HIGHEST)
    return weighted / power.sum(-1)


def mfcc(power: jax.Array) -> jax.Array:
    """Computes the first mel-frequency cepstral coefficients.

    Args:
      power: [..., 257].

    Returns:
      [..., 4]: coefficients 1 to 4 of 26 bands, liftered as in HTK.
    """
    log_bands = jnp.log(_bands(power))
    centres = np.pi / _NUM_BANDS * (np.arange(_NUM_BANDS) + 0.5)
    number = np.arange(1, 5)
    cosines = np.sqrt(2 / _NUM_BANDS) * np.cos(centres[:, None] * number)
    lifter = 1 + _LIFTER / 2 * np.sin(np.pi * number / _LIFTER)
    basis = (cosines * lifter).astype(np.float32)
    return jnp.matmul(log_bands, basis, precision=jax.lax.Precision.HIGHEST)


def first_harmonics(frames: jax.Array, f0: jax.Array) -> jax.Array:
    """Compares the first two harmonics.

    Args:
      frames: [B, T, 640], windows of 40 ms.
      f0: [B, T] in Hz; 0 if unvoiced, where the result is meaningless.

    Returns:
      [B, T] in dB: power at F0 over power at 2 F0.
    """
    windowed = frames * hann(PITCH_WINDOW)
    spectrum = jnp.fft.rfft(windowed, PITCH_FFT)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag) + _POWER_FLOOR
    step = SAMPLE_RATE / PITCH_FFT

    def strongest_near(hz):
        # The peak is at most a bin away, since F0 is known to less than that.
        at = jnp.round(hz / step).astype(jnp.int32)
        around = jnp.clip(at[..., None] + np.arange(-1, 2), 0, PITCH_FFT // 2)
        return jnp.take_along_axis(power, around, -1).max(-1)

    return 10 * jnp.log10(strongest_near(f0) / strongest_near(2 * f0))


_FREQUENCIES = np.arange(FFT_LENGTH // 2 + 1) * SAMPLE_RATE / FFT_LENGTH  # Hz of the bins


def _between(low_hz: float, high_hz: float) -> slice:
    """Finds the bins from low_hz, inclusive, to high_hz, exclusive."""
    first, last = np.searchsorted(_FREQUENCIES, (low_hz, high_hz))
    return slice(int(first), int(last))


def _frames(waveform: jax.Array) -> jax.Array:
    """Cuts [B, N] into the frames' windows [B, T, 400], by slices: no gather."""
    count = frames_of(waveform.shape[1])
    padded = jnp.pad(waveform, ((0, 0), (0, HOP)))[:, : (count + 1) * HOP]
    blocks = padded.reshape(waveform.shape[0], count + 1, HOP)
    return jnp.concatenate([blocks[:, :-1], blocks[:, 1:, : WINDOW - HOP]], axis=-1)


def _power(frames: jax.Array) -> jax.Array:
    """Gives the power spectrum [..., 257] of [..., 400], never 0."""
    spectrum = jnp.fft.rfft(frames * hann(WINDOW), FFT_LENGTH)
    return jnp.square(spectrum.real) + jnp.square(spectrum.imag) + _POWER_FLOOR


def _decibel(mean_square: jax.Array, floor: float) -> jax.Array:
    return 10 * jnp.log10(jnp.maximum(mean_square, floor))


def _bands(power: jax.Array) -> jax.Array:
    """Gives [..., 26] powers of mel bands."""
    return jnp.matmul(power, mel_filters(_NUM_BANDS), precision=jax.lax.Precision.HIGHEST)


@functools.lru_cache
def _equal_loudness() -> np.ndarray:
    """Gives the weight of each of the 26 bands at its centre, [26] float32, at most 1."""
    filters = mel_filters(_NUM_BANDS)
    squared = (2 * np.pi * _FREQUENCIES[filters.argmax(0)]) ** 2
    weight = (squared + 56.8e6) * squared**2 / ((squared + 6.3e6) ** 2 * (squared + 0.38e9))
    return (weight / weight.max()).astype(np.float32)
