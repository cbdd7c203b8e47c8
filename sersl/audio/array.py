"""Converts waveforms in memory (arrays of NumPy, JAX or torch) to mono at 16 kHz."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from sersl.audio.downmix import Downmix
from sersl.audio.limits import MOST_CHANNELS, check_sample_rate, check_samples
from sersl.audio.resample import resample
from sersl.audio.source import IN_MEMORY
from sersl.core.errors import UserError, first_line

_LEAST_INT32 = 1 << 16  # peak: -90 dBFS; below, these are 16-bit samples in a wider type


@runtime_checkable
class SupportsArray(Protocol):
    """What NumPy can make an array of: NumPy, JAX and torch arrays, pandas columns."""

    def __array__(self, dtype: Any = None) -> np.ndarray:
        """Gives the values, of any shape."""
        ...


def mono_waveform(samples: SupportsArray, sample_rate: object) -> np.ndarray:
    """Converts samples to mono float32 at 16 kHz.

    Args:
      samples: [N] or [N, channels]; floats on the scale where 1 is full scale, int16, int32 or
        uint8 of full scale.
      sample_rate: whole number of Hz; any kind of number.

    Returns:
      [ceil(N * 16000 / sample_rate)] float32: channels averaged, integers divided by full scale.

    Raises:
      UserError: a wrong sample rate, shape, type or scale, samples that are not finite, or channels
        that cancel each other.
    """
    if sample_rate is None:
        raise UserError("a waveform needs its sample_rate in Hz: pass sample_rate=16000, say")
    rate = check_sample_rate(sample_rate)
    try:
        array = np.asarray(samples)
    except Exception as error:  # of torch: on a GPU, or with a gradient
        raise UserError(
            f"the waveform cannot be read as a NumPy array: {first_line(error)}"
        ) from error
    if array.ndim not in (1, 2):
        raise UserError(
            f"a waveform of shape {array.shape} is not a recording: give [num_samples] or "
            "[num_samples, channels]"
        )
    if array.ndim == 2 and (array.shape[1] > max(1, array.shape[0]) or not array.shape[1]):
        raise UserError(
            f"a waveform of shape {array.shape} has more channels than samples, or none: give "
            "[num_samples] or [num_samples, channels]"
        )
    if array.ndim == 2 and array.shape[1] > MOST_CHANNELS:
        raise UserError(f"a waveform of shape {array.shape} has more than {MOST_CHANNELS} channels")
    waveform = _as_float(array)
    if waveform.ndim == 2:
        downmix = Downmix(IN_MEMORY, waveform.shape[1])
        waveform = downmix(waveform)
        check_samples(IN_MEMORY, waveform)
        downmix.check()
    else:
        check_samples(IN_MEMORY, waveform)
    return resample(waveform, rate)


def _as_float(array: np.ndarray) -> np.ndarray:
    """Converts to float32 on the scale where 1 is full scale."""
    kind = array.dtype.name
    if kind in ("float16", "bfloat16", "float32", "float64", "longdouble", "float128"):
        with np.errstate(over="ignore"):  # infinities are refused later
            return np.asarray(array, np.float32)
    if kind == "int16":
        return array.astype(np.float32) / np.float32(1 << 15)
    if kind == "uint8":
        return (array.astype(np.float32) - 128) / np.float32(128)
    if kind == "int32":
        peak = max(int(array.max(initial=0)), -int(array.min(initial=0)))
        if 0 < peak < _LEAST_INT32:
            raise UserError(
                f"an int32 waveform has full scale 2^31, but this one has a peak of {peak}: if its "
                "samples are 16-bit, pass waveform.astype(numpy.int16)"
            )
        return (array / (1 << 31)).astype(np.float32)
    raise UserError(
        f"a waveform of {array.dtype} has no known scale: give int16, or floats in -1..1"
    )
