import numpy as np
import pytest

from sersl.eval import bootstrap


def _mean_of(values):
    return lambda rows: {"mean": float(values[rows].mean())}


def test_resamples_when_drawn_then_whole_groups_and_reproducible():
    groups = ["a", "b", "a", "c", "c", "c"]
    draws = list(bootstrap.resamples(groups, num_resamples=20, seed=3))
    sets = {"a": (0, 2), "b": (1,), "c": (3, 4, 5)}
    for rows in draws:
        counts = np.bincount(rows, minlength=6)
        for members in sets.values():
            assert len(set(counts[list(members)])) == 1
        assert sum(counts[members[0]] for members in sets.values()) == 3
    again = bootstrap.resamples(groups, num_resamples=20, seed=3)
    assert all(np.array_equal(x, y) for x, y in zip(draws, again, strict=True))
    other = bootstrap.resamples(groups, num_resamples=20, seed=4)
    assert not all(np.array_equal(x, y) for x, y in zip(draws, other, strict=True))


def test_interval_when_speakers_differ_then_wider_than_over_single_rows():
    random = np.random.default_rng(0)
    speaker = np.repeat(np.arange(10), 20)
    values = random.normal(size=10)[speaker] + 0.1 * random.normal(size=200)
    by_speaker = bootstrap.confidence_intervals(_mean_of(values), speaker.astype(str))["mean"]
    by_row = bootstrap.confidence_intervals(_mean_of(values), np.arange(200).astype(str))["mean"]
    assert by_speaker[0] < values.mean() < by_speaker[1]
    assert by_speaker[1] - by_speaker[0] > 2 * (by_row[1] - by_row[0])


def test_interval_when_compared_with_the_normal_theory_then_close():
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap.confidence_intervals(_mean_of(values), np.arange(400).astype(str))["mean"]
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)


def test_interval_when_there_is_one_speaker_then_none():
    assert bootstrap.confidence_intervals(_mean_of(np.ones(4)), ["a"] * 4) == {"mean": None}


def test_interval_when_a_score_is_not_defined_on_many_draws_then_none():
    # Only one of five speakers is rated: a third of the draws has no rating at all.
    rated = np.repeat([True, False, False, False, False], 4)
    speakers = np.repeat(list("abcde"), 4)

    def mean(rows):
        known = rows[rated[rows]]
        return {"mean": float(known.mean()) if len(known) else float("nan"), "rows": len(rows)}

    assert bootstrap.confidence_intervals(mean, speakers) == {"mean": None, "rows": [20.0, 20.0]}


def test_interval_when_a_score_is_not_defined_then_none_although_draws_are():
    def score(rows):
        return {"score": float("nan") if len(set(rows)) == 3 else 1.0}

    assert bootstrap.confidence_intervals(score, ["a", "b", "c"]) == {"score": None}
