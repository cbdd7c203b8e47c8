"""Measures of the technical quality of a recording: level, clipping, silence, offset, noise."""

from dataclasses import dataclass

import numpy as np

from sersl.core.lengths import HOP

FULL_SCALE = 32_768  # of 16-bit samples
CLIPPED_ABOVE = 32_735  # 0.999 of full scale
_CLIPPED_RUN = 3  # samples in a row: files normalised to their peak have one alone
SILENT_BELOW = -60.0  # dBFS of a 20-ms frame; the 16-bit rounding noise is at -101
SILENT_UNDER = 40.0  # dB under the loudest frame; speech sounds span about 30 dB
_NOISE_SHARE = 0.1  # of the frames, the quietest
_FEWEST_FRAMES = 10
SNR_RANGE = (-10.0, 80.0)  # dB; estimates beyond it mean nothing
NO_LEVEL = -120.0  # dBFS of digital silence


@dataclass(frozen=True)
class Levels:
    """Measures of one utterance.

    Attributes:
      peak: largest absolute sample, 0..1.
      level: root mean square of the whole 20-ms frames, dBFS.
      offset: mean of the samples (DC), -1..1.
      clipped: samples within runs of at least 3 at 0.999 of full scale or more.
      silence: share of 20-ms frames under -60 dBFS, or 40 dB under the loudest frame.
      snr: estimate in dB, NaN where there is none, see `measure`.
    """

    peak: float
    level: float
    offset: float
    clipped: int
    silence: float
    snr: float


def measure(samples: np.ndarray) -> Levels:
    """Measures the samples of a record.

    The signal-to-noise ratio takes the quietest tenth of the 20-ms frames for the noise, all
    frames for speech and noise: 10 log10((mean power - noise) / noise). It assumes that the noise
    is steady and that the speaker pauses for a tenth of the time; without pauses it is too low.
    Frames of zeros come from an editor and are left out. For it and for silence, the mean of all
    samples (a DC offset) is subtracted first. It is clipped to -10..80 dB, and NaN with fewer than
    10 frames.

    Args:
      samples: int16 [N] at 16 kHz, N at least 1.

    Source: noise from the lowest short-time power as in Martin, "Noise power spectral density
    estimation based on optimal smoothing and minimum statistics", IEEE TSAP 2001. Differs: one
    broadband minimum per utterance.
    """
    waveform = samples.astype(np.float32)
    num_frames = max(1, len(samples) // HOP)
    frames = waveform[: num_frames * HOP].reshape(num_frames, -1)
    whole = _power(frames)
    # A DC offset is not sound: it would count as noise, and as sound in pauses.
    offset = float(waveform.mean())
    power = _power(frames - np.float32(offset))
    loudest = float(power.max())
    quiet = max(10 ** (SILENT_BELOW / 10), loudest / 10 ** (SILENT_UNDER / 10))
    peak = max(int(samples.max()), -int(samples.min()))
    return Levels(
        peak=peak / FULL_SCALE,
        level=_decibels(float(whole.mean())),
        offset=offset / FULL_SCALE,
        clipped=_clipped(samples) if peak >= CLIPPED_ABOVE else 0,
        silence=float(np.count_nonzero(power < quiet)) / num_frames,
        snr=_snr(power[whole > 0]),
    )


def _power(frames: np.ndarray) -> np.ndarray:
    """Returns the mean power of each frame; full scale is 1."""
    squares = np.einsum("ij,ij->i", frames, frames)
    return squares / np.float32(frames.shape[1] * FULL_SCALE**2)


def _decibels(power: float) -> float:
    return max(NO_LEVEL, 10 * float(np.log10(power))) if power > 0 else NO_LEVEL


def _clipped(samples: np.ndarray) -> int:
    loud = (samples >= CLIPPED_ABOVE) | (samples <= -CLIPPED_ABOVE)
    edges = np.flatnonzero(np.diff(loud, prepend=False, append=False))
    lengths = edges[1::2] - edges[::2]
    return int(lengths[lengths >= _CLIPPED_RUN].sum())


def _snr(power: np.ndarray) -> float:
    power = np.sort(power[power > 0])
    if len(power) < _FEWEST_FRAMES:
        return float("nan")
    noise = float(power[: max(1, round(_NOISE_SHARE * len(power)))].mean())
    speech = float(power.mean()) - noise
    ratio = 10 * float(np.log10(speech / noise)) if speech > 0 else SNR_RANGE[0]
    return min(max(ratio, SNR_RANGE[0]), SNR_RANGE[1])
