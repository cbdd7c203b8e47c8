import csv
import itertools
from typing import Any

import numpy as np
import pytest

from sersl.config.schema import DataConfig
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE, num_frames
from sersl.data.batch_plan import make_plan
from sersl.data.buckets import choose_buckets, evaluation_buckets


def padded(lengths, bucket_lengths, most):
    lengths = np.minimum(lengths, most)
    ends = np.array(sorted(bucket_lengths))
    return ends[np.searchsorted(ends, np.minimum(lengths, ends[-1]))].sum()


def test_choose_buckets_when_compared_with_all_choices_then_none_needs_less_padding():
    lengths = np.random.default_rng(0).gamma(2, 4000, 60).astype(int) + 500
    chosen = choose_buckets(
        lengths, num_buckets=3, max_samples=16000, seconds_per_batch=64, row_multiple=2
    )
    candidates = [320 * t + 80 for t in range(2, 52, 2)]
    longest = chosen[-1].num_samples
    fewest = min(
        padded(lengths, (*pair, longest), 16000)
        for pair in itertools.combinations([c for c in candidates if c < longest], 2)
    )
    assert padded(lengths, [b.num_samples for b in chosen], 16000) == fewest


def test_choose_buckets_then_frames_are_even_and_rows_a_multiple_within_the_budget():
    lengths = np.random.default_rng(0).integers(1600, 300_000, 500)
    for bucket in choose_buckets(
        lengths, num_buckets=5, max_samples=128_000, seconds_per_batch=100, row_multiple=4
    ):
        frames = num_frames(bucket.num_samples)
        assert frames % 2 == 0 and bucket.num_samples == 320 * frames + 80
        assert bucket.rows % 4 == 0 and bucket.rows > 0
        assert bucket.rows * bucket.seconds <= 100 < (bucket.rows + 4) * bucket.seconds


def test_choose_buckets_when_eight_seconds_and_64_per_batch_then_eight_rows_fit():
    (bucket,) = choose_buckets(
        np.array([500_000]),
        num_buckets=3,
        max_samples=128_000,
        seconds_per_batch=64,
        row_multiple=8,
    )
    assert (bucket.seconds, bucket.rows) == (8.0, 8)
    assert bucket.num_samples >= 128_000


def test_choose_buckets_when_all_are_short_then_no_bucket_is_longer_than_needed():
    buckets = choose_buckets(
        np.array([5000, 5100]), num_buckets=3, max_samples=128_000, seconds_per_batch=8,
        row_multiple=1,
    )  # fmt: skip
    assert [b.num_samples for b in buckets] == [320 * 16 + 80]


def test_choose_buckets_when_the_budget_is_too_small_then_the_needed_one_is_named():
    with pytest.raises(UserError, match=r"raise data\.seconds_per_batch to 64 "):
        choose_buckets(
            np.array([128_000]), num_buckets=1, max_samples=128_000, seconds_per_batch=63,
            row_multiple=8,
        )  # fmt: skip


def test_choose_buckets_when_there_is_nothing_then_the_user_is_told():
    with pytest.raises(UserError, match="no utterance"):
        choose_buckets(
            np.array([], int), num_buckets=1, max_samples=1, seconds_per_batch=1, row_multiple=1
        )


def test_choose_buckets_when_the_longest_is_an_hour_then_lengths_stay_even():
    (bucket,) = choose_buckets(
        np.array([57_600_000]), num_buckets=1, max_samples=57_600_000, seconds_per_batch=4000,
        row_multiple=1,
    )  # fmt: skip
    assert bucket.num_samples >= 57_600_000 and num_frames(bucket.num_samples) % 2 == 0


def test_evaluation_buckets_when_the_longest_is_30_s_then_it_is_held_whole():
    buckets = evaluation_buckets(
        np.array([9000, 480_000]), num_buckets=2, seconds_per_batch=8, row_multiple=4
    )
    assert buckets[-1].num_samples >= 480_000 and buckets[-1].rows == 4


def test_choose_buckets_when_their_number_is_left_open_then_it_is_the_fewest_that_reach_the_share():
    lengths = np.random.default_rng(0).gamma(2, 12_000, 500).astype(int) + 4000
    options = {"max_samples": 128_000, "seconds_per_batch": 64, "row_multiple": 2}

    def share(buckets):
        return np.minimum(lengths, 128_000).sum() / padded(
            lengths, [b.num_samples for b in buckets], 128_000
        )

    chosen = choose_buckets(lengths, num_buckets=0, min_real_share=0.9, **options)
    fewer = choose_buckets(lengths, num_buckets=len(chosen) - 1, **options)
    assert share(fewer) < 0.9 <= share(chosen)
    same = choose_buckets(lengths, num_buckets=len(chosen), min_real_share=0.1, **options)
    assert same == chosen
    assert len(choose_buckets(lengths, num_buckets=0, min_real_share=1.0, **options)) == 16
    alike = choose_buckets(np.full(9, 20_000), num_buckets=0, min_real_share=0.9, **options)
    assert len(alike) == 1


def test_choose_buckets_when_the_share_is_none_then_the_user_is_told():
    with pytest.raises(UserError, match=r"min_real_share=1\.5 must be a share"):
        choose_buckets(
            np.array([9000]), num_buckets=0, max_samples=9000, seconds_per_batch=64,
            row_multiple=1, min_real_share=1.5,
        )  # fmt: skip


@pytest.mark.corpora
@pytest.mark.parametrize(
    "settings",
    [{}, {"max_seconds": 20.0, "seconds_per_batch": 256.0}, {"weights": (0.2, 0.2, 0.6)}],
)
def test_plan_when_three_corpora_are_mixed_then_93_percent_of_samples_are_real(
    corpora_dir, settings
):
    lengths = []
    for corpus in ("ravdess", "nemo", "librispeech_mini"):
        with open(corpora_dir / corpus / "manifest.csv", encoding="utf-8") as file:
            seconds = [float(row["duration_s"]) for row in csv.DictReader(file)]
        lengths.append(np.round(np.array(seconds) * 16000).astype(int))
    data = DataConfig(corpora=("ravdess", "nemo", "librispeech"), **settings)
    plan = make_plan(lengths, data=data, seed=0)
    assert plan.real_share >= 0.93
    assert f"{100 * plan.real_share:.1f} % of samples are real" in plan.describe()
    refs = [plan.batch(step) for step in range(1200)]
    measured = sum(r.length.sum() for r in refs) / sum(r.num_samples * len(r.row) for r in refs)
    assert abs(measured - plan.real_share) < 0.005


def test_choose_buckets_when_few_are_long_then_only_their_rows_may_exceed_the_budget():
    lengths = np.array([SAMPLE_RATE] * 400 + [20 * SAMPLE_RATE])
    settings: dict[str, Any] = {"num_buckets": 0, "max_samples": 30 * SAMPLE_RATE}
    settings |= {"seconds_per_batch": 40.0, "row_multiple": 8, "min_real_share": 0.9}
    with pytest.raises(UserError, match="holds 2 rows of 20"):
        choose_buckets(lengths, **settings)
    short, long = choose_buckets(lengths, **settings, over_budget=True)
    assert short.rows == 40 and long.rows == 8 and long.num_samples >= 20 * SAMPLE_RATE
