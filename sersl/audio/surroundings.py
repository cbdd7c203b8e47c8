"""Noise and reverberation, synthetic or recorded; NumPy only."""

import numpy as np
import scipy.fft

from sersl.core.lengths import SAMPLE_RATE

# Power falls as 1 / f^exponent.
NOISE_EXPONENTS = {"white": 0.0, "pink": 1.0, "brown": 2.0}
_GAP_SECONDS = 0.0025  # between the direct sound and the first reverberation
_FLOOR = 1e-5  # RMS = -100 dB of full scale: below is silence, which has no SNR


def add_noise(waveform: np.ndarray, noise: np.ndarray, *, snr_db: float) -> np.ndarray:
    """Adds noise at a signal-to-noise ratio over the whole waveform.

    Args:
      waveform: [N].
      noise: [N], at any level.
      snr_db: 10 log10 of signal power over noise power.

    Returns:
      [N]; unchanged where the signal or the noise is silence.
    """
    level, noise_level = _rms(waveform), _rms(noise)
    if min(level, noise_level) < _FLOOR:
        return waveform
    return waveform + noise * (level / noise_level * 10 ** (-snr_db / 20))


def coloured_noise(num_samples: int, exponent: float, generator: np.random.Generator) -> np.ndarray:
    """Makes noise whose power falls with frequency.

    Args:
      num_samples: N.
      exponent: power goes as 1 / f^exponent above 20 Hz, and is constant below.
      generator: of the noise.

    Returns:
      [N] float64, deviation about 1.
    """
    size = scipy.fft.next_fast_len(num_samples, real=True)
    spectrum = scipy.fft.rfft(generator.standard_normal(size))
    hz = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 20.0)
    noise = scipy.fft.irfft(spectrum * hz ** (-exponent / 2), size)[:num_samples]
    return noise / max(noise.std(), 1e-12)


def made_up_room(seconds: float, *, direct_db: float, generator: np.random.Generator) -> np.ndarray:
    """Makes the response of a room: the direct sound, and 2.5 ms later decaying white noise.

    Args:
      seconds: reverberation time T60, over which the noise decays by 60 dB.
      direct_db: power of the direct sound over that of the reverberation.
      generator: of the room.

    Returns:
      [K], K >= 1; the direct sound is 1 at sample 0.

    Source: Polack (1988): late reverberation as exponentially decaying noise.
    """
    time = np.arange(max(int(seconds * SAMPLE_RATE), 1)) / SAMPLE_RATE
    tail = generator.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    tail[: int(_GAP_SECONDS * SAMPLE_RATE)] = 0.0
    energy = np.square(tail).sum()
    response = tail * (10 ** (-direct_db / 20) / np.sqrt(energy)) if energy else tail
    response[0] = 1.0
    return response


def recorded_room(recording: np.ndarray) -> np.ndarray:
    """Removes what precedes the direct sound, so that reverberation delays no frame.

    Args:
      recording: [K'] impulse response.

    Returns:
      [K] from its highest peak on.
    """
    return recording[int(np.abs(recording).argmax()) :]


def reverberate(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Adds the reverberation of a room.

    Args:
      waveform: [N].
      response: [K] of the room, with the direct sound at sample 0.

    Returns:
      [N], at the level of the input; unchanged where the response is silence.
    """
    size = scipy.fft.next_fast_len(len(waveform) + len(response), real=True)
    spectrum = scipy.fft.rfft(waveform, size) * scipy.fft.rfft(response, size)
    wet = scipy.fft.irfft(spectrum, size)[: len(waveform)]
    level = _rms(wet)
    return wet * (_rms(waveform) / level) if level else waveform


def _rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0.0
