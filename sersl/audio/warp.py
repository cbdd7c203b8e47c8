"""Changes of speed, pitch and vocal tract length of a waveform, in NumPy."""

import numpy as np
import scipy.fft

from sersl.audio.resample import resample
from sersl.core.lengths import SAMPLE_RATE, resampled_length

_FFT = 512  # samples = 32 ms
_HOP = 128  # samples = 8 ms, a quarter: the squared windows add up to a constant
_KNEE_HZ = 4800.0  # above it the warping bends back to half the sample rate (Jaitly & Hinton)
# Quefrencies of the envelope: 2.5 ms, the period of 400 Hz, so that it holds no harmonic.
_ENVELOPE = 40
_MOST_GAIN = 10.0  # of a bin of the spectrum, 20 dB: the envelope of silence is rounding noise


def change_speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Plays a waveform faster or slower; pitch and formants move with it.

    Args:
      waveform: [N] float32 at 16 kHz.
      factor: above 1 is faster.

    Returns:
      [about N / factor] float32.

    Source: Ko et al. 2015, "Audio augmentation for speech recognition".
    """
    return resample(waveform, round(SAMPLE_RATE * factor), SAMPLE_RATE)


def changed_length(num_samples: int, factor: float) -> int:
    """Counts the samples that `change_speed` gives for a waveform of `num_samples`."""
    return resampled_length(num_samples, round(SAMPLE_RATE * factor))


def shift_pitch(waveform: np.ndarray, semitones: float) -> np.ndarray:
    """Raises or lowers the pitch without changing the duration (phase vocoder, then resampling).

    Args:
      waveform: [N] float32 at 16 kHz.
      semitones: above 0 is higher.

    Returns:
      [N] float32.
    """
    rate = round(SAMPLE_RATE * 2.0 ** (semitones / 12.0))
    longer = stretch(waveform, SAMPLE_RATE / rate)
    return _to_length(resample(longer, rate, SAMPLE_RATE), len(waveform))


def stretch(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Speeds a waveform up or slows it down without changing the pitch.

    Args:
      waveform: [N] float32.
      factor: above 1 is faster.

    Returns:
      [round(N / factor)] float32.

    Source: the phase vocoder of Flanagan & Golden (1966), in the form of D. Ellis (2002).
    """
    spectrum = _stft(waveform)
    at = np.arange(0, len(spectrum) - 1, factor)
    before = np.floor(at).astype(int)
    after = np.minimum(before + 1, len(spectrum) - 1)
    share = (at - before)[:, None]
    magnitude = (1 - share) * np.abs(spectrum[before]) + share * np.abs(spectrum[after])
    phase = np.angle(spectrum)
    expected = 2 * np.pi * _HOP * np.arange(spectrum.shape[1]) / _FFT
    advance = phase[after] - phase[before] - expected
    advance = expected + advance - 2 * np.pi * np.round(advance / (2 * np.pi))
    running = phase[0] + np.concatenate([np.zeros((1, len(expected))), np.cumsum(advance, 0)[:-1]])
    length = round(len(waveform) / factor)
    return _istft(magnitude * np.exp(1j * running), length)


def warp_vocal_tract(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Moves the formants as a shorter or longer vocal tract does; the pitch stays.

    The spectral envelope (low quefrencies of the cepstrum) at frequency f moves to factor * f,
    above 4.8 kHz to a line that ends at 8 kHz.

    Args:
      waveform: [N] float32 at 16 kHz.
      factor: above 1 raises the formants; 0.9 to 1.1 in the source.

    Returns:
      [N] float32.

    Source: Jaitly & Hinton 2013, "Vocal tract length perturbation (VTLP)", eq. 1. Differs: the
    envelope is warped, not the mel filters, so it works with any frontend.
    """
    spectrum = _stft(waveform)
    log_magnitude = np.log(np.maximum(np.abs(spectrum), 1e-7))
    cepstrum = scipy.fft.irfft(log_magnitude, _FFT, axis=1)
    cepstrum[:, _ENVELOPE : _FFT - _ENVELOPE + 1] = 0
    envelope = scipy.fft.rfft(cepstrum, _FFT, axis=1).real
    bins = np.arange(_FFT // 2 + 1, dtype=float)
    source = np.interp(bins, warped_bins(factor), bins)  # the warping is monotonic: its inverse
    low = np.minimum(source.astype(int), _FFT // 2 - 1)
    share = source - low
    moved = (1 - share) * envelope[:, low] + share * envelope[:, low + 1]
    limit = np.log(_MOST_GAIN)
    gain = np.exp(np.clip(moved - envelope, -limit, limit))
    return _istft(spectrum * gain, len(waveform))


def warped_bins(factor: float) -> np.ndarray:
    """Returns the position of each bin of the spectrum after the warping.

    Args:
      factor: of the frequencies below the knee.

    Returns:
      [257] float64, from 0 to 256, ascending.
    """
    nyquist = SAMPLE_RATE / 2
    hz = np.arange(_FFT // 2 + 1) * SAMPLE_RATE / _FFT
    end = _KNEE_HZ * min(factor, 1.0)  # where the knee arrives
    knee = end / factor
    above = nyquist - (nyquist - end) / (nyquist - knee) * (nyquist - hz)
    return np.where(hz <= knee, hz * factor, above) * _FFT / SAMPLE_RATE


def _window() -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)


def _stft(waveform: np.ndarray) -> np.ndarray:
    """[frames, 257] complex spectra of windows that cover every sample four times."""
    tail = -len(waveform) % _HOP + _FFT
    padded = np.pad(waveform.astype(np.float64), (_FFT - _HOP, tail))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP]
    return scipy.fft.rfft(frames * _window(), axis=1)


def _istft(spectrum: np.ndarray, length: int) -> np.ndarray:
    """[length] float32: overlapping windows added, divided by the sum of squared windows."""
    frames = scipy.fft.irfft(spectrum, _FFT, axis=1) * _window()
    parts = _FFT // _HOP
    total = np.zeros((len(frames) + parts - 1) * _HOP)
    weight = np.zeros_like(total)
    for part in range(parts):
        piece = slice(part * _HOP, (part + 1) * _HOP)
        place = slice(part * _HOP, (part + len(frames)) * _HOP)
        total[place] += frames[:, piece].ravel()
        weight[place] += np.tile(_window()[piece] ** 2, len(frames))
    whole = (total / np.maximum(weight, 1e-8))[_FFT - _HOP :]
    return _to_length(whole, length).astype(np.float32)


def _to_length(waveform: np.ndarray, length: int) -> np.ndarray:
    return np.pad(waveform, (0, max(0, length - len(waveform))))[:length]
