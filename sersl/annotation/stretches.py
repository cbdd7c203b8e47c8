"""Cuts utterances of any length into stretches and lays them side by side for the device.

A stretch starts at a frame and has the samples of its frames, so that the frames of an utterance
are those of its stretches, one after the other.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sersl.core.lengths import HOP, SAMPLE_RATE, num_frames, num_samples

MAX_FRAMES = 1500  # 30 s
# Samples that a stretch has beyond its frames, where there are any: as far as the pitch window of
# the last one reaches. Fewer than a hop, so that they make no frame.
_REACH = 120
_SHORTEST = 64  # frames; below, shapes are not told apart
_BATCH_SECONDS = 160.0  # of audio on each device at once, padding included


class Stretch(NamedTuple):
    """A part of an utterance.

    Attributes:
      owner: which of the utterances, from 0.
      start: its first frame in the utterance.
      frames: how many it has, at least 1.
    """

    owner: int
    start: int
    frames: int


class Batch(NamedTuple):
    """Stretches of alike length.

    Attributes:
      waveform: [B, N] float32, zeros behind each row's samples; N makes an even number of frames.
        A row has 120 samples more than its frames need, where the utterance goes on.
      num_samples: [B] int32; rows beyond the stretches have 0.
      stretches: at most B, of the first rows.
    """

    waveform: jax.Array
    num_samples: jax.Array
    stretches: Sequence[Stretch]


def make_stretches(lengths: Sequence[int]) -> list[Stretch]:
    """Cuts utterances every 30 s.

    Args:
      lengths: samples of each.

    Returns:
      Stretches in order; an utterance of less than one frame has none.
    """
    return [
        Stretch(owner, start, min(MAX_FRAMES, frames - start))
        for owner, frames in enumerate(num_frames(int(n)) for n in lengths)
        for start in range(0, frames, MAX_FRAMES)
    ]


def make_batches(
    waveforms: Sequence[np.ndarray], *, seconds: float = _BATCH_SECONDS
) -> Iterator[Batch]:
    """Lays stretches of alike length side by side, over all local devices.

    There are few shapes, whatever the lengths: eleven up to 30 s, with powers of two as rows where
    there are few.

    Args:
      waveforms: each [N] float32 at 16 kHz.
      seconds: of audio on each device at once; at least one stretch.

    Yields:
      Batches that hold every stretch once, on the devices.
    """
    devices = jax.local_devices()
    mesh = Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))
    rows_over_devices = NamedSharding(mesh, PartitionSpec("data"))
    by_size: dict[int, list[Stretch]] = {}
    for stretch in make_stretches([len(w) for w in waveforms]):
        by_size.setdefault(padded_frames(stretch.frames), []).append(stretch)
    for frames, stretches in sorted(by_size.items()):
        size = num_samples(frames) + _REACH
        most = max(1, int(seconds * SAMPLE_RATE / size))
        needed = -(-len(stretches) // len(devices))
        rows = min(most, 1 << (needed - 1).bit_length()) * len(devices)
        for first in range(0, len(stretches), rows):
            chosen = stretches[first : first + rows]
            waveform = np.zeros((rows, size), np.float32)
            lengths = np.zeros(rows, np.int32)
            for row, (owner, start, count) in enumerate(chosen):
                samples = waveforms[owner][start * HOP :][: num_samples(count) + _REACH]
                waveform[row, : len(samples)] = samples
                lengths[row] = len(samples)
            on_devices = jax.device_put((waveform, lengths), rows_over_devices)
            yield Batch(*on_devices, chosen)


def padded_frames(frames: int) -> int:
    """Gives the least of 64, 90, 128, 182, ... 1500 frames that holds so many, in even steps."""
    size, power = _SHORTEST, 6.0
    while size < frames:
        power += 0.5
        size = min(2 * round(2**power / 2), MAX_FRAMES)
    return size
