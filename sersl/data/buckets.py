"""Chooses batch shapes from the durations, so that little of a batch is padding.

Lengths are 320 T + 80 samples with T even: cuDNN attention refuses odd frame counts. Budgets count
frames, so "8 seconds" is 400 frames and 64 seconds hold eight rows of it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sersl.config.schema import DataConfig
from sersl.core.errors import UserError
from sersl.core.lengths import FRAME_RATE, SAMPLE_RATE, WINDOW, num_frames
from sersl.core.lengths import num_samples as samples_of

MAX_EVALUATION_SECONDS = 30  # longer audio is cut into windows first, by `sersl predict`
MAX_EVALUATION_SAMPLES = MAX_EVALUATION_SECONDS * SAMPLE_RATE
MOST_BUCKETS = 16  # chosen automatically; each is one more compilation
_MOST_CANDIDATES = 1024  # lengths compared; finer steps save less than 0.1 % of padding


@dataclass(frozen=True)
class Bucket:
    """One batch shape.

    Attributes:
      num_samples: length of every row, 320 T + 80 with T even.
      rows: of the global batch.
    """

    num_samples: int
    rows: int

    @property
    def seconds(self) -> float:
        """Duration of a row in whole frames, s."""
        return num_frames(self.num_samples) / FRAME_RATE


def choose_buckets(
    num_samples: np.ndarray,
    *,
    num_buckets: int,
    max_samples: int,
    seconds_per_batch: float,
    row_multiple: int,
    min_real_share: float = 1.0,
    importance: np.ndarray | None = None,
    over_budget: bool = False,
) -> tuple[Bucket, ...]:
    """Chooses the lengths that need the fewest samples of padding, and their rows.

    Args:
      num_samples: int [n], lengths of the utterances at 16 kHz.
      num_buckets: most shapes; 0: as few as reach `min_real_share`, at most 16.
      max_samples: longer utterances are cropped; the longest bucket is the shortest allowed
        length that holds min(longest utterance, max_samples).
      seconds_per_batch: budget of a batch, s.
      row_multiple: the rows of every bucket are a multiple of it.
      min_real_share: 0..1, of the samples of all rows; used if `num_buckets` is 0.
      importance: float [n], how often each utterance is drawn; None: equally.
      over_budget: whether a bucket whose rows are too long for the budget has `row_multiple`.

    Returns:
      Buckets by ascending length.

    Raises:
      UserError: no utterance, no bucket, or the budget does not hold `row_multiple` of the
        longest rows and must not be exceeded.

    Differs from equal-mass or geometric buckets: exact minimum by dynamic programming over the
    histogram of lengths.
    """
    if len(num_samples) == 0:
        raise UserError(
            "there is no utterance to make batches of: check the corpora and min_seconds"
        )
    if num_buckets < 0 or row_multiple < 1:
        raise UserError(
            f"data.num_buckets={num_buckets} must be at least 0 and "
            f"data.row_multiple={row_multiple} at least 1"
        )
    if not 0 <= min_real_share <= 1:
        raise UserError(f"data.min_real_share={min_real_share:g} must be a share from 0 to 1")
    kept = np.minimum(num_samples, max_samples)
    frames = _frames_needed(kept)
    unit = 2 * math.ceil(int(frames.max()) / (2 * _MOST_CANDIDATES))
    mass = np.bincount(-(-frames // unit), weights=importance)
    covers = _shortest_covers(mass, num_buckets or MOST_BUCKETS)
    if num_buckets:
        *_, cover = covers
    else:
        real = np.dot(kept, np.ones(len(kept)) if importance is None else importance)
        for cover in covers:
            if real >= min_real_share * _allocated(mass, cover, unit):
                break
    buckets = []
    for length in cover:
        num_frames_of_row = int(length) * unit
        fit = int(seconds_per_batch * FRAME_RATE // num_frames_of_row)
        rows = fit // row_multiple * row_multiple
        if not rows and over_budget:
            rows = row_multiple
        if not rows:
            seconds = num_frames_of_row / FRAME_RATE
            raise UserError(
                f"data.seconds_per_batch={seconds_per_batch:g} holds {fit} rows of {seconds:g} s, "
                f"fewer than data.row_multiple={row_multiple}: raise data.seconds_per_batch to "
                f"{seconds * row_multiple:g} or lower data.max_seconds"
            )
        buckets.append(Bucket(num_samples=samples_of(num_frames_of_row), rows=rows))
    return tuple(buckets)


def evaluation_buckets(
    num_samples: np.ndarray, *, num_buckets: int, seconds_per_batch: float, row_multiple: int
) -> tuple[Bucket, ...]:
    """Chooses buckets that hold every utterance of up to 30 s whole.

    Args:
      num_samples: int [n], lengths of the utterances at 16 kHz.
      num_buckets: most shapes; 0: as few as make 93 % of the samples real.
      seconds_per_batch: budget of a batch, s; raised to `row_multiple` rows of the longest
        utterance if it is smaller, since evaluation keeps no activations.
      row_multiple: the rows of every bucket are a multiple of it.

    Returns:
      Buckets by ascending length.

    Raises:
      UserError: no utterance.
    """
    most = MAX_EVALUATION_SAMPLES
    longest = int(_frames_needed(np.minimum(np.max(num_samples, initial=1), most)))
    # The coarsest unit is 2 frames up to 40 s, so the longest bucket has `longest` frames exactly.
    return choose_buckets(
        num_samples,
        num_buckets=num_buckets,
        max_samples=most,
        seconds_per_batch=max(seconds_per_batch, row_multiple * longest / FRAME_RATE),
        row_multiple=row_multiple,
        min_real_share=DataConfig.min_real_share,
    )


def is_answerable(num_samples: np.ndarray) -> np.ndarray:
    """Tells which lengths [n], in samples, a network answers at once: one frame to 30 s."""
    return (num_samples >= WINDOW) & (num_samples <= MAX_EVALUATION_SAMPLES)


def _frames_needed(num_samples):
    """Gives the fewest frames, an even number, whose 320 T + 80 samples hold a waveform."""
    frames = -(-(num_samples - samples_of(0)) // (samples_of(1) - samples_of(0)))
    return np.maximum(frames + frames % 2, 2)


def _allocated(mass: np.ndarray, cover: list[int], unit: int) -> float:
    """Sums the lengths of all rows, in samples; each takes the shortest sufficient of a cover."""
    in_bucket = np.diff(np.cumsum(mass)[cover], prepend=0.0)
    return float(np.dot(in_bucket, samples_of(np.array(cover) * unit)))


def _shortest_covers(mass: np.ndarray, most: int) -> Iterator[list[int]]:
    """Chooses 1, 2, ... `most` of the lengths 1, 2, ... that minimise the sum of row lengths.

    Args:
      mass: [U + 1], how many utterances need each length; the last is positive.
      most: at least 1; with fewer lengths there are fewer covers.

    Yields:
      Ascending lengths, the last is U.
    """
    below = np.cumsum(mass)  # utterances that a length holds
    lengths = np.arange(len(mass))
    # cost[i, j]: samples of the rows of length j that hold what is longer than i.
    cost = np.where(lengths[:, None] < lengths, (below - below[:, None]) * lengths, np.inf)
    best, choices = cost[0], []
    for number in range(min(most, int(np.count_nonzero(mass[1:])))):
        if number:
            total = best[:, None] + cost
            choices.append(np.argmin(total, axis=0))
            best = np.min(total, axis=0)
        cover = [len(mass) - 1]
        for choice in reversed(choices):
            cover.append(int(choice[cover[-1]]))
        yield cover[::-1]
