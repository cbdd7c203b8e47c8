"""The batch plan: the utterances of global batch `step`, computed from (seed, step) alone.

A step leads to its rows in three computations, without replaying earlier steps:

1. step -> (bucket, number of earlier batches of that bucket): buckets are dealt in exact shares
   (`shares.py`) and shuffled inside every cycle of 64 steps.
2. row of that bucket -> (corpus, number of earlier rows of that corpus in this bucket): corpora
   are dealt in exact shares, row by row.
3. that number -> (epoch, element): the corpus's utterances in that bucket are permuted in every
   epoch (`permutation.py`), so that none is repeated before all were used.

An epoch may end inside a batch, where the next one begins, so no batch is short or left out. A
corpus with fewer utterances than its rows in a batch repeats them in that batch.
"""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from sersl.config.schema import DataConfig
from sersl.core.errors import UserError
from sersl.core.lengths import HOP, SAMPLE_RATE, WINDOW
from sersl.core.seeds import generator
from sersl.data.buckets import Bucket, choose_buckets
from sersl.data.permutation import draw, permute
from sersl.data.references import BatchRefs
from sersl.data.shares import Shares

_LEAST_TAKEN = 0.05  # of the audio in an epoch, below which recordings should be cut
_CYCLE = 64  # steps shuffled together; the counts of buckets are exact at the ends of a cycle


class BatchPlan:
    """Computes the rows of any training step, a pure function of its arguments and the step.

    Attributes:
      buckets: the batch shapes, ascending.
      num_utterances: int64 [C], utterances in use per corpus.
      left_out: int64 [C], utterances shorter than `min_samples` per corpus.
    """

    def __init__(
        self,
        num_samples: Sequence[np.ndarray],
        *,
        buckets: Sequence[Bucket],
        weights: Sequence[float],
        seed: int,
        rows: Sequence[np.ndarray] | None = None,
        min_samples: int = WINDOW,
    ):
        """Sorts the utterances into buckets.

        Args:
          num_samples: per corpus, int [n]: lengths of all utterances of its index.
          buckets: batch shapes; an utterance goes to the shortest that holds it, and is cropped
            in the longest if none does.
          weights: share of rows per corpus; empty: by number of utterances in use.
          seed: of the order and of the crops.
          rows: per corpus, the rows in use, such as the training side of a fold; a corpus without
            rows takes no part. None: all.
          min_samples: shorter utterances are left out and counted.

        Raises:
          UserError: weights that do not match the corpora, or utterances that are all too short.
        """
        self.buckets = tuple(sorted(buckets, key=lambda b: b.num_samples))
        self._seed = seed
        key = generator(seed, "batch plan").integers(2**63, dtype=np.uint64)
        self._cycle_key, self._epoch_key, self._crop_key = draw(key, np.arange(3))

        given = _all_rows(num_samples) if rows is None else rows
        kept = _long_enough(num_samples, given, min_samples)
        self.num_utterances = np.array([len(r) for r in kept])
        self.left_out = np.array([len(r) for r in given]) - self.num_utterances
        self._weights = _normalised(weights, rows, self.num_utterances, min_samples)
        self._sort(num_samples, kept)

        # Rows of corpus c in bucket b, as a share of all rows: its weight, spread over buckets as
        # its utterances are. Every utterance of a corpus is then drawn equally often.
        share = self._weights[:, None] * self._sizes / np.maximum(self.num_utterances, 1)[:, None]
        self._row_share = share  # [C, buckets]
        self._batch_rows = np.array([bucket.rows for bucket in self.buckets])
        step_share = share.sum(axis=0) / self._batch_rows
        self._step_share = step_share / step_share.sum()
        self._bucket_shares = Shares(step_share)
        self._corpus_shares = {
            b: Shares(share[:, b]) for b in range(len(self.buckets)) if share[:, b].any()
        }

    def batch(self, step: int) -> BatchRefs:
        """Finds the rows of one global batch.

        Args:
          step: 0 or more.

        Returns:
          References to `buckets[bucket].rows` pieces of utterances.
        """
        bucket, earlier = self._bucket_of(step)
        num_rows, num_samples = self.buckets[bucket].rows, self.buckets[bucket].num_samples
        position = earlier * num_rows + np.arange(num_rows)
        corpus, ordinal = self._corpus_shares[bucket].deal(position)
        size = self._sizes[corpus, bucket]
        epoch, place = ordinal // size, ordinal % size
        key = draw(self._epoch_key, epoch, corpus, bucket)
        element = self._offsets[corpus, bucket] + permute(place, size, key)
        whole = self._lengths[element]
        length = np.minimum(whole, num_samples)
        num_starts = (whole - length) // HOP + 1
        number = draw(self._crop_key, step, np.arange(num_rows))
        return BatchRefs(
            bucket=bucket,
            num_samples=num_samples,
            corpus=corpus.astype(np.int32),
            row=self._rows[element],
            start=(number % num_starts.astype(np.uint64)).astype(np.int64) * HOP,
            length=length,
        )

    def replace(self, refs: BatchRefs, corpus: int, row: int) -> BatchRefs:
        """Replaces an utterance that cannot be read by the next of the same corpus and bucket.

        Depends on the arguments alone, so that every process and worker makes the same choice. The
        next of the last one is the first.

        Args:
          refs: of a batch of this plan.
          corpus: number of the corpus of the utterance that cannot be read.
          row: of its index.

        Returns:
          The batch with all occurrences replaced; a crop keeps its start if it can.
        """
        size, offset = self._sizes[corpus, refs.bucket], self._offsets[corpus, refs.bucket]
        place = int(np.flatnonzero(self._rows[offset : offset + size] == row)[0])
        element = offset + (place + 1) % size
        length = min(int(self._lengths[element]), refs.num_samples)
        num_starts = (int(self._lengths[element]) - length) // HOP + 1
        bad = (refs.corpus == corpus) & (refs.row == row)
        return dataclasses.replace(
            refs,
            row=np.where(bad, self._rows[element], refs.row),
            start=np.where(bad, refs.start // HOP % num_starts * HOP, refs.start),
            length=np.where(bad, length, refs.length),
        )

    @property
    def real_share(self) -> float:
        """Expected share of real samples in the batches, 0..1."""
        allocated = (self._row_share.sum(axis=0) * self._lengths_of_buckets).sum()
        return float((self._row_share * self._mean_length).sum() / allocated)

    @property
    def steps_per_epoch(self) -> np.ndarray:
        """Steps in which each corpus passes once, float [C]; 0 for one without rows."""
        rows_per_step = (self._step_share * self._batch_rows).sum()
        taken = self._weights * rows_per_step
        return np.where(taken > 0, self.num_utterances / np.where(taken > 0, taken, 1.0), 0.0)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits; equal plans give the same batches."""
        digest = hashlib.sha256()
        shapes = [(bucket.num_samples, bucket.rows) for bucket in self.buckets]
        digest.update(repr((self._seed, shapes, self._weights.tolist())).encode())
        for array in (self._sizes, self._rows, self._lengths):
            digest.update(np.ascontiguousarray(array, "<i8").data)
        return digest.hexdigest()[:16]

    def describe(self) -> str:
        """Makes a table of shapes, of how often each is used, and of how much is not padding."""
        lines = ["bucket  seconds  rows  steps %  utterances  real %"]
        utterances = self._sizes.sum(axis=0)
        for b, bucket in enumerate(self.buckets):
            rows = self._row_share[:, b].sum()
            real = (self._row_share[:, b] * self._mean_length[:, b]).sum()
            real = 100 * real / (rows * bucket.num_samples) if rows else math.nan
            lines.append(
                f"{b:6d}  {bucket.seconds:7.2f}  {bucket.rows:4d}  {100 * self._step_share[b]:7.1f}"
                f"  {utterances[b]:10d}  {real:6.1f}"
            )
        lines.append(
            f"{100 * self.real_share:.1f} % of samples are real; {self.num_utterances.sum()} "
            f"utterances in use, {self.left_out.sum()} too short; steps per epoch: "
            + ", ".join(f"{steps:.3g}" for steps in self.steps_per_epoch)
        )
        longest = self.buckets[-1].seconds
        taken = np.minimum(self._lengths, self.buckets[-1].num_samples).sum() / self._lengths.sum()
        if taken < _LEAST_TAKEN:
            lines.append(
                f"WARNING: an epoch takes {100 * taken:.1f} % of the audio, since a row has at "
                f"most {longest:.1f} s of an utterance, and long ones count as much as short ones: "
                "prepare long recordings in pieces (docs/continue.md)"
            )
        return "\n".join(lines)

    def _sort(self, num_samples: Sequence[np.ndarray], kept: Sequence[np.ndarray]) -> None:
        """Sorts the utterances by corpus, then bucket, then row."""
        self._lengths_of_buckets = np.array([bucket.num_samples for bucket in self.buckets])
        num_buckets = len(self.buckets)
        all_rows, all_lengths, sizes = [], [], []
        for lengths, rows in zip(num_samples, kept, strict=True):
            lengths = lengths[rows]
            bucket = np.searchsorted(self._lengths_of_buckets[:-1], lengths).astype(np.uint16)
            order = np.argsort(bucket, kind="stable")  # radix sort, linear in n
            all_rows.append(rows[order])
            all_lengths.append(lengths[order])
            sizes.append(np.bincount(bucket, minlength=num_buckets))
        self._rows = np.concatenate(all_rows).astype(np.int64, copy=False)
        self._lengths = np.concatenate(all_lengths).astype(np.int64, copy=False)
        self._sizes = np.stack(sizes)  # [C, buckets]
        ends = np.cumsum(self._sizes.reshape(-1))
        self._offsets = (ends - self._sizes.reshape(-1)).reshape(self._sizes.shape)
        # Real samples per row of each (corpus, bucket); 0 without utterances.
        self._mean_length = np.zeros(self._sizes.shape)
        for (c, b), size in np.ndenumerate(self._sizes):
            if size:
                part = self._lengths[self._offsets[c, b] : self._offsets[c, b] + size]
                mean = np.minimum(part, self._lengths_of_buckets[b]).mean()
                self._mean_length[c, b] = mean

    def _bucket_of(self, step: int) -> tuple[int, int]:
        """Finds the bucket of a step and counts the earlier steps of that bucket."""
        cycle, place = divmod(step, _CYCLE)
        before = self._bucket_shares.counts(cycle * _CYCLE)
        after = self._bucket_shares.counts((cycle + 1) * _CYCLE)
        buckets = np.repeat(np.arange(len(self.buckets)), after - before)
        order = np.argsort(draw(self._cycle_key, cycle, np.arange(_CYCLE)), kind="stable")
        buckets = buckets[order]
        bucket = int(buckets[place])
        return bucket, int(before[bucket] + np.count_nonzero(buckets[:place] == bucket))


def make_plan(
    num_samples: Sequence[np.ndarray],
    *,
    data: DataConfig,
    seed: int,
    rows: Sequence[np.ndarray] | None = None,
    buckets: Sequence[Bucket] | None = None,
    over_budget: bool = False,
) -> BatchPlan:
    """Makes the training plan of the settings, for pretraining or one fold of fine-tuning.

    Args:
      num_samples: per corpus, in the order of `data.corpora`, int [n].
      data: settings.
      seed: of the order and of the crops.
      rows: per corpus, the rows in use, [] where it takes no part; None: all.
      buckets: batch shapes; None: chosen from the utterances in use and the weights.
      over_budget: of `choose_buckets`.

    Returns:
      The plan.

    Raises:
      UserError: see `choose_buckets` and `BatchPlan`.
    """
    min_samples = shortest_trained(data)
    if buckets is None:
        given = _all_rows(num_samples) if rows is None else rows
        kept = _long_enough(num_samples, given, min_samples)
        counts = np.array([len(r) for r in kept])
        weights = _normalised(data.weights, rows, counts, min_samples)
        buckets = choose_buckets(
            np.concatenate([lengths[r] for lengths, r in zip(num_samples, kept, strict=True)]),
            num_buckets=data.num_buckets,
            max_samples=round(data.max_seconds * SAMPLE_RATE),
            seconds_per_batch=data.seconds_per_batch,
            row_multiple=data.row_multiple,
            min_real_share=data.min_real_share,
            importance=np.repeat(weights / np.maximum(counts, 1), counts),
            over_budget=over_budget,
        )
    return BatchPlan(
        num_samples,
        buckets=buckets,
        weights=data.weights,
        seed=seed,
        rows=rows,
        min_samples=min_samples,
    )


def shortest_trained(data: DataConfig) -> int:
    """Gives the length, in samples, below which `data.min_seconds` leaves utterances out."""
    return max(WINDOW, round(data.min_seconds * SAMPLE_RATE))


def _all_rows(num_samples: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.arange(len(lengths)) for lengths in num_samples]


def _long_enough(
    num_samples: Sequence[np.ndarray], rows: Sequence[np.ndarray], min_samples: int
) -> list[np.ndarray]:
    return [own[n[own] >= min_samples] for n, own in zip(num_samples, rows, strict=True)]


def _normalised(
    weights: Sequence[float],
    rows: Sequence[np.ndarray] | None,
    counts: np.ndarray,
    min_samples: int,
) -> np.ndarray:
    """Checks the shares of rows per corpus and makes them sum to 1; empty: by `counts`.

    A corpus for which `rows` has none has the share 0.
    """
    takes_part = np.array([rows is None or len(rows[c]) > 0 for c in range(len(counts))])
    if not takes_part.any():
        raise UserError("no corpus of data.corpora has an utterance to train on")
    too_short = np.flatnonzero(takes_part & (counts == 0))
    if len(too_short):
        raise UserError(
            f"corpus number {int(too_short[0]) + 1} of data.corpora has no utterance of at "
            f"least {min_samples / SAMPLE_RATE:g} s to train on: leave it out or lower "
            "data.min_seconds"
        )
    if not len(weights):
        return counts / counts.sum()
    check_weights(weights, len(counts))
    shares = np.where(takes_part, np.asarray(weights, np.float64), 0.0)
    return shares / shares.sum()


def check_weights(weights: Sequence[float], num_corpora: int) -> None:
    """Checks `data.weights`.

    Raises:
      UserError: they are not one positive number for each corpus.
    """
    if len(weights) != num_corpora or min(weights) <= 0:
        raise UserError(
            f"data.weights={tuple(weights)} must be one positive number for each of the "
            f"{num_corpora} corpora"
        )
