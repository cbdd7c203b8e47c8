"""Finds speech by its energy, pitch and changing spectrum, without a trained model.

Speech is what is louder than the background, has stretches with a pitch, and changes its spectrum
as no held tone does. Noise, hum, tones, beeps, chords and silence are told apart; singing, and
whispering, are not: docs/predict.md has the accuracy.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, rfft

from sersl.core import lengths

_WINDOW, _FFT = 512, 1024  # samples: 32 ms, two periods of the lowest pitch; zeros against wrapping
_LAGS = slice(40, 230)  # samples: pitch of 400 to 70 Hz
_BAND = slice(13, 257)  # bins of 15.6 Hz: 200 to 4000 Hz, where the energy of speech is
_SHAPE_BANDS = 20  # of the spectrum whose change is measured
_LOUD_DB = 6.0  # above the background
_LEAST_DB = -65.0  # of full scale
_PERIODIC = 0.5  # normalized autocorrelation of a frame with a pitch
_CHANGE_DB = 2.0  # mean change of a band within `_CHANGE_FRAMES`, relative to the frame's level
_CHANGE_FRAMES = 4
_CHANGING = 0.8  # share of frames with a pitch that change, within half a second
_AROUND = 25  # frames: half a second
_RICH_DB, _LEAST_BANDS = 25.0, 5  # a voice has harmonics in many bands, a whistle does not
_LEAST_CORE = 3  # frames in a row with a pitch
_REACH = 15  # frames around a pitch that belong to it while they are loud: consonants
_GAP, _MARGIN = 25, 5  # frames: shorter pauses are bridged; kept before and after
_LEAST_SHARE = 0.04  # of a stretch, below which it has no speech


class Segment(NamedTuple):
    """A stretch of speech, in samples."""

    start: int
    stop: int


def has_speech(waveform: np.ndarray) -> bool:
    """Tells whether a stretch [N] float32 of up to some minutes has speech, at 16 kHz."""
    found = speech_frames(waveform)
    return bool(found.size and found.mean() >= _LEAST_SHARE and found.sum() >= _LEAST_CORE)


def speech_frames(waveform: np.ndarray) -> np.ndarray:
    """Marks the frames with speech.

    Args:
      waveform: [N] float32, 16 kHz.

    Returns:
      bool [T] with T = num_frames(N), 50 a second.
    """
    num_frames = lengths.num_frames(len(waveform))
    if num_frames < _LEAST_CORE:
        return np.zeros(max(0, num_frames), bool)
    level, periodic, shape = _features(waveform, num_frames)
    loud = level > max(_LEAST_DB, np.percentile(level, 10) + _LOUD_DB)
    rich = (shape > shape.max(1, keepdims=True) - _RICH_DB).sum(1) >= _LEAST_BANDS
    # The ends of a beep change too, so both sides of a change must be loud.
    pitched = _at_least(loud & periodic, _LEAST_CORE) & rich & _both_sides(loud)
    changing = pitched & (_change(shape) > _CHANGE_DB)
    core = changing & (_around(changing, _AROUND) >= _CHANGING * _around(pitched, _AROUND))
    return loud & (_around(core, _REACH) > 0.5)


def speech_segments(waveform: np.ndarray) -> list[Segment]:
    """Finds the stretches with speech, pauses of less than half a second bridged.

    Args:
      waveform: [N] float32, 16 kHz, of up to some minutes.

    Returns:
      Segments in order, with a margin of 0.1 s.
    """
    frames = speech_frames(waveform)
    segments: list[Segment] = []
    for first, last in _runs(frames):
        start = max(0, (first - _MARGIN) * lengths.HOP)
        stop = min(len(waveform), lengths.num_samples(last + 1 + _MARGIN))
        if segments and start - segments[-1].stop < (_GAP - 2 * _MARGIN) * lengths.HOP:
            start = segments.pop().start
        segments.append(Segment(start, stop))
    least = _LEAST_CORE + 2 * _MARGIN
    return [segment for segment in segments if segment.stop - segment.start > least * lengths.HOP]


def _features(waveform: np.ndarray, num_frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measures frames: level [T] in dB, whether there is a pitch [T], shape [T, bands] in dB."""
    lead = (_WINDOW - lengths.WINDOW) // 2  # frames are centred on the samples of the others
    padded = np.pad(waveform, (lead, _WINDOW))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[:: lengths.HOP]
    hann = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    power = np.square(np.abs(rfft(windows[:num_frames] * hann, _FFT)))
    level = 10 * np.log10(power[:, _BAND].sum(1) * (4 / _WINDOW / _FFT) + 1e-12)
    # Edges in proportion to frequency, 2 bins at least.
    edges = np.unique(np.round(np.geomspace(_BAND.start, _BAND.stop, _SHAPE_BANDS + 1)).astype(int))
    shape = 10 * np.log10(np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1) + 1e-12)
    shape = np.maximum(shape, shape.max(1, keepdims=True) - 40)
    correlation = irfft(power, _FFT)[:, : _LAGS.stop]
    own = irfft(np.square(np.abs(rfft(hann, _FFT))), _FFT)[: _LAGS.stop]
    correlation = correlation / np.maximum(correlation[:, :1], 1e-12) / (own / own[0])
    # A peak, not the slope that every lowpass has at small lags.
    inner = correlation[:, _LAGS]
    rising = inner > np.roll(correlation, 1, axis=1)[:, _LAGS]
    peak = np.where(rising, inner, 0).max(1)
    return level, peak > _PERIODIC, shape - shape.mean(1, keepdims=True)


def _change(shape: np.ndarray) -> np.ndarray:
    """Measures the change of the shape [T, bands] around each frame, [T] in dB."""
    change = np.zeros(len(shape))
    half = _CHANGE_FRAMES // 2
    if len(shape) > _CHANGE_FRAMES:
        change[half:-half] = np.abs(shape[_CHANGE_FRAMES:] - shape[:-_CHANGE_FRAMES]).mean(1)
        change[:half], change[-half:] = change[half], change[-half - 1]
    return change


def _both_sides(marks: np.ndarray) -> np.ndarray:
    """Marks the frames, bool [T], whose neighbours at both ends of a change are marked."""
    half = _CHANGE_FRAMES // 2
    padded = np.pad(marks, half, mode="edge")
    return padded[: -2 * half] & padded[2 * half :]


def _around(marks: np.ndarray, reach: int) -> np.ndarray:
    """Counts the marks, bool [T], within `reach` frames of each frame."""
    total = np.cumsum(np.pad(marks.astype(np.int64), (reach + 1, reach)))
    return total[2 * reach + 1 :] - total[: -2 * reach - 1]


def _at_least(marks: np.ndarray, count: int) -> np.ndarray:
    """Keeps the marks, bool [T], of runs of at least `count`."""
    kept = np.zeros_like(marks)
    for first, last in _runs(marks):
        kept[first : last + 1] = last + 1 - first >= count
    return kept


def _runs(marks: np.ndarray) -> Iterator[tuple[int, int]]:
    """Finds the first and last index of each run of True in bool [T]."""
    edges = np.flatnonzero(np.diff(np.pad(marks.astype(np.int8), 1)))
    yield from zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)
