import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.eval import compare


def _mean_of(values):
    return lambda rows: {"mean": float(values[rows].mean())}


def test_resamples_when_drawn_then_whole_groups_and_reproducible():
    groups = ["a", "b", "a", "c", "c", "c"]
    draws = list(compare.resamples(groups, num_resamples=20, seed=3))
    sets = {"a": (0, 2), "b": (1,), "c": (3, 4, 5)}
    for rows in draws:
        counts = np.bincount(rows, minlength=6)
        for members in sets.values():
            assert len(set(counts[list(members)])) == 1
        assert sum(counts[members[0]] for members in sets.values()) == 3
    again = compare.resamples(groups, num_resamples=20, seed=3)
    assert all(np.array_equal(x, y) for x, y in zip(draws, again, strict=True))
    other = compare.resamples(groups, num_resamples=20, seed=4)
    assert not all(np.array_equal(x, y) for x, y in zip(draws, other, strict=True))


def test_interval_when_speakers_differ_then_wider_than_over_single_rows():
    random = np.random.default_rng(0)
    speaker = np.repeat(np.arange(10), 20)
    values = random.normal(size=10)[speaker] + 0.1 * random.normal(size=200)
    by_speaker = compare.confidence_intervals(_mean_of(values), speaker.astype(str))["mean"]
    by_row = compare.confidence_intervals(_mean_of(values), np.arange(200).astype(str))["mean"]
    assert by_speaker[0] < values.mean() < by_speaker[1]
    assert by_speaker[1] - by_speaker[0] > 2 * (by_row[1] - by_row[0])


def test_interval_when_compared_with_the_normal_theory_then_close():
    values = np.random.default_rng(1).normal(size=400)
    low, high = compare.confidence_intervals(_mean_of(values), np.arange(400).astype(str))["mean"]
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)


def test_interval_when_there_is_one_speaker_then_none():
    assert compare.confidence_intervals(_mean_of(np.ones(4)), ["a"] * 4) == {"mean": None}


def test_paired_difference_when_second_is_better_everywhere_then_significant():
    random = np.random.default_rng(2)
    speaker = np.repeat(np.arange(12), 10)
    first = random.normal(size=12)[speaker] + 0.01 * random.normal(size=120)
    result = compare.paired_difference(
        _mean_of(first), _mean_of(first + 0.05), speaker.astype(str), num_resamples=200
    )["mean"]
    assert result["difference"] == pytest.approx(0.05)
    # The speakers differ far more than the systems do; pairing takes that out.
    assert result["interval"] == pytest.approx([0.05, 0.05])
    assert result["p_value"] == pytest.approx(2 / 201)


def test_paired_difference_when_systems_are_equal_then_not_significant():
    values = np.random.default_rng(3).normal(size=60)
    speaker = np.repeat(np.arange(6), 10).astype(str)
    result = compare.paired_difference(_mean_of(values), _mean_of(values), speaker)["mean"]
    assert result["p_value"] == 1.0


def test_paired_difference_when_scores_differ_in_name_then_an_error_says_so():
    with pytest.raises(UserError, match="different scores"):
        compare.paired_difference(
            _mean_of(np.ones(2)), lambda rows: {"uar": 1.0}, ["a", "b"], num_resamples=2
        )
