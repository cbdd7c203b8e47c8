import dataclasses

import jax
import numpy as np
import pytest

from sersl.config.schema import MaskingConfig
from sersl.core.errors import UserError
from sersl.pretraining.masking import RULES, choose_masked

LENGTHS = np.array([200, 137, 96, 31, 11, 10, 9, 0])
VALID = np.arange(200) < LENGTHS[:, None]
choose = jax.jit(choose_masked, static_argnums=3)


def intensity_like_speech(seed=0):
    """Smooth contour in 0..1 with unknown frames."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(len(LENGTHS), 200))
    contour = np.apply_along_axis(np.convolve, 1, steps, np.hanning(41), "same")
    contour = 1 / (1 + np.exp(-contour))
    contour[rng.random(contour.shape) < 0.1] = np.nan
    return contour.astype(np.float32)


def runs(row):
    """Lengths of the stretches of True in a row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return edges[1::2] - edges[::2]


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("temperature", [0.0, 0.5, 100.0])
@pytest.mark.parametrize(("fraction", "span"), [(0.5, 10), (0.15, 7), (0.97, 10), (0.3, 1)])
def test_choose_masked_when_any_rule_then_budget_is_exact(rule, temperature, fraction, span):
    config = MaskingConfig(rule=rule, temperature=temperature, fraction=fraction, span=span)
    wanted = np.maximum(np.round(fraction * LENGTHS / span), 1)
    wanted = np.minimum(wanted, LENGTHS // span) * span
    for seed in range(3):
        masked = np.asarray(choose(VALID, intensity_like_speech(), jax.random.key(seed), config))
        np.testing.assert_array_equal(masked.sum(1), wanted)
        assert not (masked & ~VALID).any()
        # Whole spans that never overlap: every stretch is a multiple of the span.
        assert all((runs(row) % span == 0).all() for row in masked)


def test_choose_masked_when_by_intensity_then_hides_the_more_intense():
    intensity = intensity_like_speech()[:3]
    valid = VALID[:3]

    def hidden_minus_seen(config):
        gaps = []
        for seed in range(20):
            masked = np.asarray(choose(valid, intensity, jax.random.key(seed), config))
            gaps.append(np.nanmean(intensity[masked]) - np.nanmean(intensity[valid & ~masked]))
        return np.mean(gaps)

    config = MaskingConfig(rule="intensity", fraction=0.4)
    gaps = [
        hidden_minus_seen(dataclasses.replace(config, temperature=temperature))
        for temperature in (0.0, 0.5, 1000.0)
    ]
    assert gaps[0] > gaps[1] > gaps[2] + 0.05
    assert abs(gaps[2]) < 0.05


def test_choose_masked_when_temperature_is_zero_then_takes_the_top_spans():
    intensity = np.zeros((1, 100), np.float32)
    intensity[0, 30:50] = 1.0
    config = MaskingConfig(rule="intensity", fraction=0.2, temperature=0.0)
    masked = np.asarray(choose(np.ones((1, 100), bool), intensity, jax.random.key(0), config))
    # The grid may start beside the burst, but two spans of ten cover more than half of it.
    assert masked.sum() == 20
    assert masked[0, 30:50].sum() > 10


def test_choose_masked_when_temperature_is_zero_and_all_is_alike_then_any_span():
    """As of an annotator that gives an utterance one intensity."""
    intensity = np.full((400, 100), 0.3, np.float32)
    config = MaskingConfig(rule="intensity", fraction=0.2, temperature=0.0)
    rate = np.asarray(choose(np.ones((400, 100), bool), intensity, jax.random.key(0), config))
    rate = rate.mean(0)[10:90]
    assert rate.min() > 0.1 and rate.max() < 0.35


def test_choose_masked_when_shift_or_scale_of_intensity_changes_then_same():
    intensity = intensity_like_speech()
    config = MaskingConfig(rule="intensity")
    first = choose(VALID, intensity, jax.random.key(1), config)
    second = choose(VALID, 0.01 * intensity + 0.3, jax.random.key(1), config)
    assert np.mean(np.asarray(first) != np.asarray(second)) < 1e-2


def test_choose_masked_when_key_is_same_then_same_and_otherwise_differs():
    config = MaskingConfig(rule="uniform")
    first = choose(VALID, None, jax.random.key(1), config)
    np.testing.assert_array_equal(first, choose(VALID, None, jax.random.key(1), config))
    assert (np.asarray(first) != np.asarray(choose(VALID, None, jax.random.key(2), config))).any()


def test_choose_masked_when_uniform_then_every_frame_is_hidden_about_as_often():
    config = MaskingConfig(rule="uniform")
    valid = np.ones((2000, 100), bool)
    rate = np.asarray(choose(valid, None, jax.random.key(0), config)).mean(0)
    # Spans lie wholly inside, so the nine frames at either end are hidden less often.
    np.testing.assert_allclose(rate[10:90], rate[10:90].mean(), atol=0.05)
    assert rate.min() > 0.02


def test_choose_masked_when_intensity_is_unknown_then_draws_like_uniform():
    unknown = np.full(VALID.shape, np.nan, np.float32)
    masked = choose(VALID, unknown, jax.random.key(4), MaskingConfig(rule="intensity"))
    uniform = choose(VALID, None, jax.random.key(4), MaskingConfig(rule="uniform"))
    np.testing.assert_array_equal(masked, uniform)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rule": "intensty"}, "did you mean 'intensity'"),
        ({"fraction": 0.0}, r"masking\.fraction"),
        ({"fraction": 1.5}, r"masking\.fraction"),
        ({"span": 0}, r"masking\.span"),
        ({"temperature": -1.0}, r"masking\.temperature"),
        ({"rule": "intensity"}, "sersl annotate"),
    ],
)
def test_choose_masked_when_config_is_wrong_then_user_error(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        config = dataclasses.replace(MaskingConfig(rule="uniform"), **changes)
        choose_masked(VALID, None, jax.random.key(0), config)


def test_choose_masked_when_threshold_then_spans_above_it_come_first_and_at_random():
    intensity = np.full((64, 100), 0.2, np.float32)
    intensity[:, 20:70] = 0.9  # at least four spans of ten lie inside, wherever the grid starts
    config = MaskingConfig(rule="threshold", fraction=0.2, threshold=0.65)
    masked = np.asarray(choose(np.ones((64, 100), bool), intensity, jax.random.key(0), config))
    assert (masked.sum(1) == 20).all()
    assert not masked[:, :10].any() and not masked[:, 80:].any()
    assert (masked[:, 30:60].mean(0) > 0.2).all()  # any of them, not the first or the top ones
    # Too few above: the others fill the budget.
    more = dataclasses.replace(config, fraction=0.9)
    masked = np.asarray(choose(np.ones((64, 100), bool), intensity, jax.random.key(0), more))
    assert (masked.sum(1) == 90).all() and masked[:, 30:60].all()


def test_choose_masked_when_bands_then_half_the_spans_come_from_each():
    # Stretches of 30 frames: above half the largest, between a fifth and a half, below.
    intensity = np.tile(np.repeat([0.8, 0.3, 0.01], 60), (64, 1)).astype(np.float32)
    config = MaskingConfig(rule="bands", fraction=40 / 180, span=10)
    masked = np.asarray(choose(np.ones((64, 180), bool), intensity, jax.random.key(0), config))
    assert (masked.sum(1) == 40).all()
    # A span across an edge belongs to the band of its mean.
    high, low = masked[:, :60].sum(1), masked[:, 60:120].sum(1)
    assert (np.abs(high - 20) < 10).all() and (np.abs(low - 20) <= 10).all()
    # Each row has its own bands: a quieter one is hidden alike.
    quiet = choose(np.ones((64, 180), bool), 0.1 * intensity, jax.random.key(0), config)
    np.testing.assert_array_equal(masked, quiet)
