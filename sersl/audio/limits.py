"""Plausible ranges of sample rates, channels, durations and samples."""

import math
import operator

import numpy as np

from sersl.core.errors import UserError

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # Hz
MOST_CHANNELS = 256
MOST_HOURS = 48.0  # of one file, read in blocks
MOST_HOURS_AT_ONCE = 6.0  # of one waveform in memory: 1.4 GB at 16 kHz
# Full scale is 1. Float files exceed it by some decibels; 24 dB more is another scale.
HIGHEST_PEAK = 16.0
_SCALES = ((2.0**15, "16-bit"), (2.0**23, "24-bit"), (2.0**31, "32-bit"))


def check_sample_rate(value: object) -> int:
    """Checks the sample rate that a caller gives for a waveform.

    Args:
      value: Hz; an int, or a Python, NumPy, JAX or torch number that is whole.

    Returns:
      The rate as an int.

    Raises:
      UserError: not a whole number, or not within 1,000 to 768,000 Hz.
    """
    number = value
    if getattr(number, "shape", None) == () and hasattr(number, "item"):
        number = number.item()  # a scalar of NumPy, JAX or torch
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    try:
        rate = operator.index(number)  # type: ignore[arg-type]  # raises TypeError for others
    except TypeError:
        rate = None
    if rate is None or isinstance(number, bool):
        raise UserError(f"sample_rate={value!r} is not a whole number in Hz: pass 16000, say")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise UserError(
            f"sample_rate={rate} Hz is out of range: pass {LOWEST_RATE} to {HIGHEST_RATE}, in Hz "
            "and not in kHz"
        )
    return rate


def check_format(name: str, sample_rate: int, channels: int) -> None:
    """Checks the sample rate and channels in the header of a file, before memory is allocated.

    Args:
      name: of the file, for the sentence.
      sample_rate: Hz.
      channels: number of them.

    Raises:
      UserError: implausible, so the header is damaged.
    """
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise UserError(
            f"{name} has a sample rate of {sample_rate} Hz in its header, which is outside of "
            f"{LOWEST_RATE} to {HIGHEST_RATE} Hz: mend the header or leave the file out"
        )
    if not 1 <= channels <= MOST_CHANNELS:
        raise UserError(
            f"{name} has {channels} channels in its header, more than {MOST_CHANNELS} or none: "
            "mend the header or leave the file out"
        )


def check_hours(name: str, seconds: float, most_hours: float) -> None:
    """Checks how much audio has been decoded so far.

    Args:
      name: of the file, for the sentence.
      seconds: of audio.
      most_hours: that are allowed.

    Raises:
      UserError: more.
    """
    if seconds > most_hours * 3600:
        raise UserError(f"{name} is longer than {most_hours:g} hours: cut it into shorter files")


def check_samples(name: str, waveform: np.ndarray) -> None:
    """Checks that samples are numbers on the scale where 1 is full scale.

    Args:
      name: of the audio, for the sentence.
      waveform: [N] or [N, channels] float32.

    Raises:
      UserError: some are NaN or infinite, or beyond 16 times full scale.
    """
    if not waveform.size:
        return
    peak = max(float(waveform.max()), -float(waveform.min()))
    if not math.isfinite(peak):
        bad = np.count_nonzero(~np.isfinite(waveform))
        raise UserError(f"{name} has {bad} samples that are NaN or infinite: leave it out")
    if peak > HIGHEST_PEAK:
        scale = next((kind for most, kind in _SCALES if peak <= most), None)
        hint = (
            "leave it out"
            if scale is None
            else f"if these are {scale} integers stored as floats, store them as integers, or "
            "divide them into -1..1"
        )
        raise UserError(f"{name} has samples up to {peak:g}, where full scale is 1: {hint}")
