import numpy as np
import pytest

from sersl.data.buckets import Bucket
from sersl.data.references import evaluation_plan, split_rows

BUCKETS = (Bucket(320 * 50 + 80, 16), Bucket(320 * 100 + 80, 8), Bucket(320 * 150 + 80, 8))


def test_evaluation_plan_then_every_utterance_comes_once_and_the_rest_is_padding():
    lengths = np.random.default_rng(0).integers(2000, 48_000, 101)
    corpus, row = np.arange(101) % 2, np.arange(101) * 3
    batches = evaluation_plan(lengths, corpus, row, buckets=BUCKETS)
    rows = np.concatenate([b.row for b in batches])
    lengths_read = np.concatenate([b.length for b in batches])
    real = rows >= 0
    np.testing.assert_array_equal(np.sort(rows[real]), row)
    np.testing.assert_array_equal(lengths_read[real], lengths[rows[real] // 3])
    assert not lengths_read[~real].any()
    assert all(len(b.row) == BUCKETS[b.bucket].rows for b in batches)
    assert all((b.length <= b.num_samples).all() for b in batches)


def test_evaluation_plan_when_an_utterance_is_too_long_then_it_is_refused():
    with pytest.raises(ValueError, match="longer"):
        evaluation_plan(np.array([50_000]), np.array([0]), np.array([0]), buckets=BUCKETS)


def test_split_rows_when_rows_cross_corpora_then_each_gets_its_own():
    parts = split_rows(np.array([0, 9, 10, 14, 3]), [10, 0, 5])
    assert [part.tolist() for part in parts] == [[0, 9, 3], [], [0, 4]]
