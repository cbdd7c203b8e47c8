"""References to the rows of a batch, without samples or labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sersl.data.buckets import Bucket


@dataclass(frozen=True)
class BatchRefs:
    """References to the rows of one global batch.

    Attributes:
      bucket: its number in the plan.
      num_samples: N, length of every row.
      corpus: int32 [B], number of the corpus; -1 is a row of padding (evaluation only).
      row: int64 [B], row in the corpus's index; -1 for padding.
      start: int64 [B], first sample, a multiple of 320.
      length: int64 [B], real samples from there, at most N.
    """

    bucket: int
    num_samples: int
    corpus: np.ndarray
    row: np.ndarray
    start: np.ndarray
    length: np.ndarray


def split_rows(rows: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Turns rows of the concatenated indexes into rows of each corpus.

    Args:
      rows: int [n], such as the training side of a fold.
      sizes: utterances of each corpus.

    Returns:
      Per corpus int64 rows of its own index, in the given order.
    """
    corpus, row = locate_rows(rows, sizes)
    return [row[corpus == number] for number in range(len(sizes))]


def locate_rows(rows: np.ndarray, sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Finds the corpus of rows of the concatenated indexes.

    Args:
      rows: int [n].
      sizes: utterances of each corpus.

    Returns:
      (corpus int64 [n], row int64 [n] of that corpus's index).
    """
    rows = np.asarray(rows, np.int64)
    offset = np.cumsum([0, *sizes])
    corpus = np.searchsorted(offset, rows, side="right") - 1
    return corpus, rows - offset[corpus]


def evaluation_plan(
    num_samples: np.ndarray, corpus: np.ndarray, row: np.ndarray, *, buckets: Sequence[Bucket]
) -> list[BatchRefs]:
    """Makes batches that hold every given utterance once and whole.

    Args:
      num_samples: int [n], lengths of the utterances.
      corpus: int [n], number of the corpus of each.
      row: int [n], row in that corpus's index.
      buckets: batch shapes; the longest holds the longest utterance.

    Returns:
      Batches by bucket, inside a bucket in the given order; the last batch of a bucket is filled
      with rows whose corpus and row are -1 and whose length is 0.

    Raises:
      ValueError: an utterance is longer than the longest bucket.
    """
    buckets = sorted(buckets, key=lambda b: b.num_samples)
    of_utterance = np.searchsorted([bucket.num_samples for bucket in buckets], num_samples)
    if np.any(of_utterance == len(buckets)):
        raise ValueError("an utterance is longer than the longest bucket")
    batches = []
    for number, bucket in enumerate(buckets):
        members = np.flatnonzero(of_utterance == number)
        for first in range(0, len(members), bucket.rows):
            batch = members[first : first + bucket.rows]
            missing = (0, bucket.rows - len(batch))
            batches.append(
                BatchRefs(
                    bucket=number,
                    num_samples=bucket.num_samples,
                    corpus=np.pad(corpus[batch], missing, constant_values=-1).astype(np.int32),
                    row=np.pad(row[batch], missing, constant_values=-1).astype(np.int64),
                    start=np.zeros(bucket.rows, np.int64),
                    length=np.pad(num_samples[batch], missing).astype(np.int64),
                )
            )
    return batches
