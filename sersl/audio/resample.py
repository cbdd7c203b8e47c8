"""Resampling of a mono waveform, whole or block by block, with an exact length."""

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from sersl.core.lengths import SAMPLE_RATE

# soxr's "HQ": 20-bit precision, more than the 16 bit of the records; twice as fast as "VHQ".
_QUALITY = "HQ"
_BLOCK = 1 << 20  # samples


def resample(waveform: np.ndarray, from_rate: int, to_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Resamples a mono waveform with a linear-phase band-limited filter (soxr HQ).

    Sample i of the result is at the time of sample i * from_rate / to_rate of the input: there is
    no delay. The level is not changed.

    Args:
      waveform: [N] float32 at `from_rate`.
      from_rate: Hz.
      to_rate: Hz.

    Returns:
      [ceil(N * to_rate / from_rate)] float32, the length of `lengths.resampled_length`.
    """
    waveform = np.ascontiguousarray(waveform, np.float32)
    if from_rate == to_rate or not len(waveform):
        return waveform
    blocks = (waveform[start : start + _BLOCK] for start in range(0, len(waveform), _BLOCK))
    return np.concatenate(list(resample_blocks(blocks, from_rate, to_rate)))


def resample_blocks(
    blocks: Iterable[np.ndarray], from_rate: int, to_rate: int = SAMPLE_RATE
) -> Iterator[np.ndarray]:
    """Resamples a waveform that comes in blocks; the same samples as `resample`, bit by bit.

    Args:
      blocks: [n] float32 at `from_rate` each, one after the other.
      from_rate: Hz.
      to_rate: Hz.

    Yields:
      [n] float32 at `to_rate`.
    """
    stream = Resampler(from_rate, to_rate)
    for block in blocks:
        yield stream.add(block)
    if from_rate != to_rate:
        yield stream.finish()


class Resampler:
    """Resamples a waveform while its samples come, with the samples of `resample`."""

    def __init__(self, from_rate: int, to_rate: int = SAMPLE_RATE):
        """Takes rates in Hz."""
        self._from, self._to = from_rate, to_rate
        self._stream = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(
                from_rate, to_rate, 1, dtype="float32", quality=_QUALITY
            )
        self._taken = self._given = 0

    def add(self, block: np.ndarray) -> np.ndarray:
        """Takes samples [n] and gives those [m] that are ready; a filter holds some back."""
        if self._stream is None:
            return block
        self._taken += len(block)
        resampled = self._stream.resample_chunk(np.ascontiguousarray(block, np.float32))
        self._given += len(resampled)
        return resampled

    def finish(self) -> np.ndarray:
        """Gives the last samples [m]."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        rest = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        # soxr rounds the length its own way, off by at most one sample from the ceiling.
        missing = -(-self._taken * self._to // self._from) - self._given
        return np.concatenate([rest[:missing], np.zeros(max(0, missing - len(rest)), np.float32)])
