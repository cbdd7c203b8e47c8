"""Cuts utterances of any length into stretches and batches them for the device.

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
# Samples that a stretch has beyond its frames if the utterance has them: as far as the pitch window
# of the last frame reaches. Fewer than a hop, so that they make no frame.
_REACH = 120
_SHORTEST = 64  # frames; shorter stretches are padded to it
_BATCH_SECONDS = 160.0  # of audio on each device at once, padding included


class Stretch(NamedTuple):
    """A part of an utterance.

    Attributes:
      owner: index of the utterance.
      start: its first frame in the utterance.
      frames: number of frames, at least 1.
    """

    owner: int
    start: int
    frames: int


class Batch(NamedTuple):
    """Stretches of similar length.

    Attributes:
      waveform: [B, N] float32, zeros after each row's samples; N makes an even number of frames.
        A row has 120 samples more than its frames need if the utterance has them.
      num_samples: [B] int32, 0 in rows without a stretch.
      stretches: of the first rows, at most B.
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
    """Batches stretches of similar length, spread over all local devices.

    There are few shapes, whatever the lengths: eleven up to 30 s, and a power of two of rows if
    there are few stretches.

    Args:
      waveforms: each [N] float32 at 16 kHz.
      seconds: of audio on each device at once; at least one stretch.

    Yields:
      Batches on the devices that hold every stretch once.
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
            on_device = jax.device_put((waveform, lengths), rows_over_devices)
            yield Batch(on_device[0], on_device[1], chosen)


def padded_frames(frames: int) -> int:
    """Rounds a number of frames up to one of 64, 90, 128, 182, ... 1500."""
    size, power = _SHORTEST, 6.0
    while size < frames:
        power += 0.5
        size = min(2 * round(2**power / 2), MAX_FRAMES)
    return size
