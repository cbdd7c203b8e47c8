import resource
import time

import numpy as np
import pytest

from sersl.config.schema import DataConfig
from sersl.core.errors import UserError
from sersl.data.batch_plan import BatchPlan, make_plan
from sersl.data.buckets import Bucket

BUCKETS = (Bucket(320 * 50 + 80, 16), Bucket(320 * 100 + 80, 8), Bucket(320 * 150 + 80, 8))


def corpora(*sizes, longest=80_000):
    rng = np.random.default_rng(0)
    return [rng.integers(2000, longest, n) for n in sizes]


def make(lengths, *, weights=(), seed=0, **more):
    return BatchPlan(lengths, buckets=BUCKETS, weights=weights, seed=seed, **more)


def bucket_of(length):
    return min(np.searchsorted([b.num_samples for b in BUCKETS], length), len(BUCKETS) - 1)


def test_batch_when_asked_again_in_any_order_then_is_the_same():
    lengths = corpora(300, 50)
    first = [make(lengths).batch(step) for step in range(100)]
    plan = make(lengths)
    for step in np.random.default_rng(1).permutation(100):
        again = plan.batch(int(step))
        for name in ("bucket", "num_samples", "corpus", "row", "start", "length"):
            np.testing.assert_array_equal(getattr(again, name), getattr(first[step], name))


def test_batch_when_taken_then_every_row_fits_its_bucket_and_the_utterance():
    lengths = corpora(300, 50)
    plan = make(lengths)
    for step in range(200):
        refs = plan.batch(step)
        assert refs.num_samples == BUCKETS[refs.bucket].num_samples
        assert len(refs.row) == BUCKETS[refs.bucket].rows
        assert refs.corpus.dtype == np.int32 and refs.row.dtype == refs.start.dtype == np.int64
        for c, row, start, length in zip(
            refs.corpus, refs.row, refs.start, refs.length, strict=True
        ):
            whole = lengths[c][row]
            assert bucket_of(whole) == refs.bucket
            assert length == min(whole, refs.num_samples)
            assert start % 320 == 0 and start >= 0 and start + length <= whole


def test_batch_when_an_epoch_passes_then_no_utterance_comes_twice():
    lengths = corpora(403, 97)
    plan = make(lengths, weights=(0.5, 0.5))
    seen = {}
    order = {}
    for step in range(1500):
        refs = plan.batch(step)
        for c, row in zip(refs.corpus.tolist(), refs.row.tolist(), strict=True):
            order.setdefault((c, refs.bucket), []).append(row)
    for (c, b), rows in order.items():
        members = np.flatnonzero([bucket_of(n) == b for n in lengths[c]])
        seen[c, b] = len(rows) // len(members)
        for epoch in range(seen[c, b]):
            part = rows[epoch * len(members) : (epoch + 1) * len(members)]
            np.testing.assert_array_equal(np.sort(part), members)
    assert min(seen.values()) >= 2
    # Another epoch is another order.
    rows, size = order[1, 0], int(np.sum([bucket_of(n) == 0 for n in lengths[1]]))
    assert rows[:size] != rows[size : 2 * size]


@pytest.mark.parametrize("first", [0, 640, 10**9])
def test_batch_when_a_window_of_steps_is_counted_then_corpora_have_their_weights(first):
    lengths = corpora(400, 100, 700)
    weights = np.array([0.2, 0.5, 0.3])
    plan = make(lengths, weights=weights)
    num_steps = 640
    refs = [plan.batch(first + step) for step in range(num_steps)]
    rows = np.bincount(np.concatenate([r.corpus for r in refs]), minlength=3)
    # Exact but for rounding each of three buckets to whole batches, at both ends of the window.
    assert np.abs(rows - weights * rows.sum()).max() <= 3 * max(b.rows for b in BUCKETS)
    assert np.abs(rows / rows.sum() - weights).max() < 0.005


def test_batch_when_no_weights_are_given_then_all_utterances_come_equally_often():
    lengths = corpora(400, 100)
    plan = make(lengths)
    num_steps = int(plan.steps_per_epoch[0] * 3)
    counts = [np.zeros(400, int), np.zeros(100, int)]
    for step in range(num_steps):
        refs = plan.batch(step)
        for c in (0, 1):
            np.add.at(counts[c], refs.row[refs.corpus == c], 1)
    every = np.concatenate(counts)
    assert every.min() >= 2 and every.max() <= 4
    assert np.isclose(every.mean(), 3, atol=0.1)


def test_batch_when_the_seed_changes_then_the_order_does():
    lengths = corpora(400)
    a, b = make(lengths, seed=1), make(lengths, seed=2)
    same = [np.array_equal(a.batch(s).row, b.batch(s).row) for s in range(20)]
    assert not any(same)


def test_batch_when_an_utterance_is_too_long_then_it_is_cropped_all_over():
    plan = make([np.array([480_000, 480_000])])
    starts = np.concatenate([plan.batch(step).start for step in range(200)])
    assert starts.min() < 10_000 and starts.max() > 415_000
    assert starts.max() <= 480_000 - BUCKETS[-1].num_samples
    assert len(np.unique(starts)) > 700


def test_batch_when_a_corpus_is_smaller_than_a_batch_then_it_repeats_in_it():
    plan = make([np.array([10_000, 11_000, 12_000])])
    rows = np.concatenate([plan.batch(step).row for step in range(3)])
    np.testing.assert_array_equal(np.bincount(rows), [16, 16, 16])


def test_plan_when_given_rows_then_only_those_come():
    lengths = corpora(300, 50)
    rows = [np.arange(0, 300, 3), np.array([7, 8, 9])]
    plan = make(lengths, rows=rows)
    np.testing.assert_array_equal(plan.num_utterances, [100, 3])
    refs = [plan.batch(step) for step in range(100)]
    for c in (0, 1):
        seen = np.unique(np.concatenate([r.row[r.corpus == c] for r in refs]))
        np.testing.assert_array_equal(seen, rows[c])


def test_plan_when_utterances_are_too_short_then_they_are_left_out_and_counted():
    lengths = [np.array([100, 1599, 1600, 5000]), np.array([900, 30_000])]
    plan = make(lengths, min_samples=1600)
    np.testing.assert_array_equal(plan.left_out, [2, 1])
    assert "3 too short" in plan.describe()
    seen = {int(r) for s in range(50) for r in plan.batch(s).row[plan.batch(s).corpus == 0]}
    assert seen == {2, 3}


def test_plan_when_recordings_are_long_then_describe_warns_that_rows_take_little_of_them():
    calls, crop = np.full(8, 16_000 * 600), 16_000 * 3
    plan = BatchPlan([calls], buckets=[Bucket(crop, 16)], weights=(), seed=0)
    assert "steps per epoch: 0.5\nWARNING: an epoch takes 0.5 % of the audio" in plan.describe()
    plan = BatchPlan([calls // 60], buckets=[Bucket(crop, 16)], weights=(), seed=0)
    assert "WARNING" not in plan.describe()


def test_plan_when_a_corpus_has_no_rows_then_the_others_share_its_part():
    lengths = corpora(40, 30, 50)
    rows = [np.arange(40), np.zeros(0, int), np.arange(50)]
    plan = make(lengths, weights=(1.0, 5.0, 3.0), rows=rows)
    taken = np.concatenate([plan.batch(step).corpus for step in range(200)])
    counts = np.bincount(taken, minlength=3)
    assert counts[1] == 0 and abs(counts[0] / counts.sum() - 0.25) < 0.02
    assert plan.steps_per_epoch[1] == 0 and "steps per epoch" in plan.describe()
    # As if it had not been there, but for the numbers of the corpora.
    alone = make([lengths[0], lengths[2]], weights=(1.0, 3.0))
    for step in range(20):
        assert plan.batch(step).bucket == alone.batch(step).bucket
    with pytest.raises(UserError, match="no corpus"):
        make(lengths, rows=[np.zeros(0, int)] * 3)


def test_make_plan_when_rows_are_given_then_the_shortest_length_counts_for_them_too():
    lengths = [np.array([16_000] * 20 + [4_000] * 5), np.array([16_000] * 9)]
    data = DataConfig(min_seconds=0.5, seconds_per_batch=8.0, num_buckets=1)
    rows = [np.arange(25), np.zeros(0, int)]
    plan = make_plan(lengths, data=data, seed=0, rows=rows)
    assert plan.left_out.tolist() == [5, 0] and plan.num_utterances.tolist() == [20, 0]
    again = make_plan(lengths, data=data, seed=0, rows=rows, buckets=plan.buckets)
    assert again.fingerprint == plan.fingerprint


@pytest.mark.parametrize(
    ("weights", "lengths", "word"),
    [
        ((0.5,), corpora(9, 9), "one positive number"),
        ((0.5, 0.0), corpora(9, 9), "one positive number"),
        ((), [np.array([9000]), np.array([3])], "corpus number 2"),
        ((), [np.array([9000]), np.array([], int)], "corpus number 2"),
    ],
)
def test_plan_when_the_mixture_is_impossible_then_the_user_is_told(weights, lengths, word):
    with pytest.raises(UserError, match=word):
        make(lengths, weights=weights)


def test_fingerprint_when_anything_changes_then_it_does():
    lengths = corpora(30, 20)
    base = make(lengths).fingerprint
    assert base == make(lengths).fingerprint
    others = [
        make(lengths, seed=1),
        make(lengths, weights=(1, 2)),
        make(lengths, rows=[np.arange(29), np.arange(20)]),
        BatchPlan(lengths, buckets=BUCKETS[1:], weights=(), seed=0),
    ]
    assert len({base, *(plan.fingerprint for plan in others)}) == 5


def test_plan_when_there_are_ten_million_utterances_then_it_is_built_and_read_fast():
    rng = np.random.default_rng(0)
    lengths = [rng.integers(16_000, 320_000, n) for n in (7_000_000, 3_000_000)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
    start = time.perf_counter()
    data = DataConfig(
        corpora=("a", "b"), weights=(0.4, 0.6), num_buckets=6, max_seconds=16.0,
        seconds_per_batch=256.0,
    )  # fmt: skip
    plan = make_plan(lengths, data=data, seed=0)
    built = time.perf_counter() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    times = []
    for step in rng.integers(0, 10**9, 200):
        start = time.perf_counter()
        plan.batch(int(step))
        times.append(time.perf_counter() - start)
    assert built < 60
    assert grown < 2 * 2**20
    assert np.median(times) < 0.010
