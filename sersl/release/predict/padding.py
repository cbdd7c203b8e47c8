"""Few fixed shapes for audio of any length: the batches of a run, and the padding of their rows.

Every shape is a program that takes seconds to compile, and padding takes time as well. A new shape
is compiled when the padding that it saves would take longer than compiling it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sersl.core import lengths
from sersl.release.predict.windows import MAX_SECONDS

LEAST_FRAMES, MOST_FRAMES = 16, round(MAX_SECONDS * lengths.FRAME_RATE)
_STEPS_PER_OCTAVE = 16
_BATCH_FRAMES = {"cpu": 1024}  # of one batch on one device; rows beyond it gain nothing
_ACCELERATOR_BATCH_FRAMES = 4 * MOST_FRAMES
# A rough cost model: it decides how many shapes are compiled, and changes no answer.
_OPERATIONS_PER_SECOND = {"cpu": 1e11}  # of one core
_ACCELERATOR_OPERATIONS_PER_SECOND = 2e13
_LEAST_SECONDS_PER_FRAME = 1e-5
_SECONDS_TO_COMPILE = 2.0


@dataclass(frozen=True)
class Shape:
    """The shape of a batch: rows, and frames of each row."""

    rows: int
    frames: int

    @property
    def num_samples(self) -> int:
        """Samples of each row."""
        return lengths.num_samples(self.frames)


@dataclass(frozen=True)
class Batch:
    """Stretches that are computed at once: their indices, and the shape they are padded to."""

    indices: list[int]
    shape: Shape


class Planner:
    """Divides stretches of audio into batches, and remembers which shapes are compiled.

    It is a matter of cost only: a stretch has the same answer in every batch. Not thread-safe.
    """

    def __init__(self, *, num_parameters: int, platform: str = "cpu", num_devices: int = 1):
        """Estimates what a frame costs.

        Args:
          num_parameters: of the network.
          platform: of the devices, as JAX names it.
          num_devices: that share the rows of a batch.
        """
        speed = _OPERATIONS_PER_SECOND.get(platform, _ACCELERATOR_OPERATIONS_PER_SECOND)
        # Two operations per parameter and frame.
        self._per_frame = 2 * num_parameters / speed + _LEAST_SECONDS_PER_FRAME
        self._batch_frames = _BATCH_FRAMES.get(platform, _ACCELERATOR_BATCH_FRAMES)
        self._devices = num_devices
        self._compiled: set[Shape] = set()
        self._wasted = 0.0  # seconds of padding since the last new shape

    def plan(self, num_samples: Sequence[int], *, share: float = 1.0) -> list[Batch]:
        """Divides stretches into batches, the longest first.

        Args:
          num_samples: of each stretch, at 16 kHz, up to 30 s.
          share: of the work that these stretches are; the rest is expected to be like them.

        Returns:
          Batches that hold each stretch once.
        """
        if not num_samples:
            return []
        needs = [grid_frames(n) for n in num_samples]
        order = sorted(range(len(needs)), key=lambda i: -num_samples[i])
        chosen = self._choose_lengths(Counter(needs), share=share)
        batches = []
        while order:
            need = needs[order[0]]
            length = min(frames for frames in chosen if frames >= need)
            taken = order[: self._rows(length)]
            shape = self._shape(len(taken), need, length)
            batches.append(Batch(taken, shape))
            order = order[len(taken) :]
        return batches

    def _rows(self, frames: int) -> int:
        """Gives the rows of a full batch, a power of two per device."""
        rows = max(1, self._batch_frames // frames)
        return self._devices * 2 ** (rows.bit_length() - 1)

    def _seconds(self, shape: Shape) -> float:
        return shape.rows * shape.frames * self._per_frame

    def _choose_lengths(self, needs: Counter[int], *, share: float) -> list[int]:
        """Chooses the lengths of full batches with the least total time, by dynamic programming."""
        full = {shape.frames for shape in self._compiled if shape.rows == self._rows(shape.frames)}
        lengths_ = sorted(full | set(needs))
        counts = [needs[length] / max(share, 1e-9) for length in lengths_]
        # best[j]: the least time for all lengths up to the j-th, the j-th being chosen.
        best: list[tuple[float, int]] = []
        for j, length in enumerate(lengths_):
            compiling = 0.0 if length in full else max(0.0, _SECONDS_TO_COMPILE - self._wasted)
            waiting = counts[j]
            options = []
            for i in range(j - 1, -2, -1):
                before = best[i][0] if i >= 0 else 0.0
                options.append((before + waiting * length * self._per_frame + compiling, i))
                waiting += counts[i] if i >= 0 else 0.0
            best.append(min(options))
        longest = max(needs)
        ends = [j for j, length in enumerate(lengths_) if length >= longest]
        j = min(ends, key=lambda end: best[end][0])
        chosen = []
        while j >= 0:
            chosen.append(lengths_[j])
            j = best[j][1]
        return sorted(chosen)

    def _shape(self, rows: int, need: int, length: int) -> Shape:
        """Chooses the shape of one batch, and keeps account of its padding."""
        least = self._devices * 2 ** (-(-rows // self._devices) - 1).bit_length()
        exact = Shape(least, length)
        known = [shape for shape in self._compiled if shape.rows >= rows and shape.frames >= need]
        if known:
            cheapest = min(known, key=self._seconds)
            wasted = self._seconds(cheapest) - rows * need * self._per_frame
            full = least == self._rows(length)
            affordable = not full and self._wasted + wasted < _SECONDS_TO_COMPILE
            if affordable or self._seconds(cheapest) <= self._seconds(exact):
                self._wasted += wasted
                return cheapest
        self._compiled.add(exact)
        self._wasted = 0.0
        return exact


def grid_frames(num_samples: int) -> int:
    """Rounds the frames of a stretch up to the next of 16 lengths per octave.

    Args:
      num_samples: at 16 kHz, up to 30 s.

    Returns:
      Frames, even (cuDNN attention refuses odd counts).
    """
    # The frames that hold all samples, also those after the last whole frame.
    frames = max(LEAST_FRAMES, -(-(num_samples - (lengths.WINDOW - lengths.HOP)) // lengths.HOP))
    step = max(2, 2 ** (frames - 1).bit_length() // (2 * _STEPS_PER_OCTAVE))
    return min(-(-frames // step) * step, MOST_FRAMES)


def padded_batch(
    waveforms: Sequence[np.ndarray], *, rows: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pads waveforms to one length.

    Args:
      waveforms: up to `rows` of float32 [N], N at most `length`.
      rows: B; those too many repeat the first waveform, since a row of padding means nothing.
      length: N of the batch.

    Returns:
      (waveform float32 [B, N], valid bool [B, N]).
    """
    waveform = np.zeros((rows, length), np.float32)
    valid = np.zeros((rows, length), bool)
    for i in range(rows):
        source = waveforms[i] if i < len(waveforms) else waveforms[0]
        waveform[i, : len(source)] = source
        valid[i, : len(source)] = True
    return waveform, valid
