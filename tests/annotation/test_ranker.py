"""The ranker against plain NumPy and a general optimiser, and what it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from sersl.annotation.category_ranker import ANY, fit_category_ranker
from sersl.annotation.ranker import fit_ranking, ordered_pairs, ranking_loss, similar_pairs
from sersl.annotation.speakers import measure_all, measure_speakers, rows_of_speakers
from sersl.config.annotation import RankerConfig, SpeakerConfig
from sersl.core.errors import UserError
from tests.tolerances import FP32, FP32_DEEP, GRADIENT


def loss(w, above, alike, order_weight, similar_weight):
    short = np.maximum(0, 1 - above @ w)
    return (
        0.5 * w @ w
        + 0.5 * order_weight * np.mean(short**2)
        + 0.5 * similar_weight * np.mean((alike @ w) ** 2)
    )


@pytest.fixture
def differences():
    rng = np.random.default_rng(0)
    return rng.normal(0.3, 1, (60, 7)), rng.normal(0, 1, (40, 7)), rng.normal(0, 0.5, 7)


def test_ranking_loss_and_gradient_are_those_of_plain_numpy(differences):
    above, alike, w = differences
    given = tuple(jnp.asarray(x, jnp.float32) for x in (above, alike))
    function = lambda w: ranking_loss(w, *given, order_weight=3.0, similar_weight=2.0)  # noqa: E731
    value, gradient = jax.value_and_grad(function)(jnp.asarray(w, jnp.float32))
    np.testing.assert_allclose(value, loss(w, above, alike, 3.0, 2.0), **FP32)
    step = 1e-6 * np.eye(7)
    numeric = [
        (loss(w + d, above, alike, 3, 2) - loss(w - d, above, alike, 3, 2)) / 2e-6 for d in step
    ]
    np.testing.assert_allclose(gradient, numeric, **GRADIENT)
    none = jnp.zeros((0, 7))
    alone = ranking_loss(jnp.asarray(w, jnp.float32), none, none, order_weight=1, similar_weight=1)
    np.testing.assert_allclose(alone, 0.5 * w @ w, **FP32)


@pytest.mark.parametrize(("order_weight", "similar_weight"), [(0.05, 0.0), (5.0, 0.0), (3.0, 2.0)])
def test_fit_ranking_finds_the_minimum_that_a_general_optimiser_finds(order_weight, similar_weight):
    rng = np.random.default_rng(1)
    features = rng.normal(size=(50, 9))
    features[:20] += 0.7
    ordered = ordered_pairs(np.arange(20), np.arange(20, 50), most=400, seed=0, purpose="x")
    similar = similar_pairs(np.arange(20), 100, seed=0, purpose="x")
    w = fit_ranking(
        features, ordered, similar, order_weight=order_weight, similar_weight=similar_weight
    )
    above, alike = (features[p[:, 0]] - features[p[:, 1]] for p in (ordered, similar))
    weights = (order_weight, similar_weight)
    best = scipy.optimize.minimize(loss, np.zeros(9), (above, alike, *weights), tol=1e-12)
    np.testing.assert_allclose(w, best.x, **FP32_DEEP)
    assert loss(w, above, alike, *weights) <= best.fun * (1 + 1e-6)


def test_pairs_are_all_or_a_draw_without_repetition():
    above, below = np.array([3, 5, 9]), np.array([1, 2])
    every = ordered_pairs(above, below, most=6, seed=0, purpose="a")
    assert sorted(map(tuple, every)) == [(a, b) for a in (3, 5, 9) for b in (1, 2)]
    some = ordered_pairs(above, below, most=4, seed=0, purpose="a")
    assert len({tuple(p) for p in some}) == 4 and set(map(tuple, some)) < set(map(tuple, every))
    assert ordered_pairs(above, below[:0], most=4, seed=0, purpose="a").shape == (0, 2)
    alike = similar_pairs(above, 50, seed=0, purpose="a")
    assert (alike[:, 0] != alike[:, 1]).all() and set(alike.ravel()) == {3, 5, 9}
    assert similar_pairs(above[:1], 50, seed=0, purpose="a").shape == (0, 2)


def test_pairs_of_a_large_corpus_are_drawn_without_listing_them_all():
    rows = np.arange(200_000)  # 40 billion pairs
    pairs = ordered_pairs(rows, rows, most=5, seed=0, purpose="a")
    assert pairs.shape == (5, 2) and len({tuple(p) for p in pairs}) == 5


def moods(count=60, seed=0):
    """Calm goes down and angry up from neutral, each more the stronger it is."""
    rng = np.random.default_rng(seed)
    strength = rng.random(3 * count)
    category = np.repeat(np.array(["neutral", "calm", "angry"], object), count)
    features = rng.normal(0, 0.1, (3 * count, 6))
    features[category == "calm", 0] -= 1 + strength[category == "calm"]
    features[category == "angry", 0] += 1 + strength[category == "angry"]
    features[category == "angry", 1] += 1
    return features.astype(np.float32), category, strength


@pytest.mark.parametrize("supervision", ["neutral", "intensity"])
def test_category_ranker_hears_strength_in_either_direction(supervision):
    features, category, strength = moods()
    known = np.where(category == "neutral", np.nan, strength)
    config = RankerConfig(supervision=supervision, order_weight=0.3, category_weight=1.0)
    ranker = fit_category_ranker(features, category, known, config)
    assert ranker.names == (ANY, "angry", "calm")
    features, category, strength = moods(seed=1)
    for told in (category, [""] * len(category), ["bored"] * len(category)):
        found = ranker.intensity(features, told)
        assert found.dtype == np.float32 and ((found > 0) & (found < 1)).all()
        for name in ("calm", "angry"):
            at = category == name
            assert np.corrcoef(found[at], strength[at])[0, 1] > 0.6
    one = fit_category_ranker(
        features, category, known, RankerConfig(supervision=supervision, by_category=False)
    )
    assert one.names == (ANY,) and one.classifier.shape == (0, 7)
    assert one.intensity(features, [""] * len(category)).shape == category.shape


def test_category_ranker_of_three_categories_weighs_them_by_probability():
    features, category, _ = moods()
    category = category.copy()
    category[150:] = "sad"
    ranker = fit_category_ranker(features, category, np.full(180, np.nan), RankerConfig())
    logits = features @ ranker.classifier[:, :-1].T + ranker.classifier[:, -1]
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    scores = (features @ ranker.weights.T - ranker.centre) / ranker.scale
    expected = 1 / (1 + np.exp(-1.702 * (share * scores[:, 1:]).sum(1)))
    np.testing.assert_allclose(ranker.intensity(features, [""] * 180), expected, **FP32_DEEP)
    own = 1 / (1 + np.exp(-1.702 * scores[:, ranker.names.index("sad")]))
    np.testing.assert_allclose(ranker.intensity(features, ["sad"] * 180), own, **FP32_DEEP)


def test_category_ranker_without_anything_to_order_says_what_is_missing():
    features, category, strength = moods()
    emotional = category != "neutral"
    for config, rows in (
        (RankerConfig(), emotional),
        (RankerConfig(), ~emotional),
        (RankerConfig(supervision="intensity"), ~emotional),
    ):
        with pytest.raises(UserError, match="nothing to order: supervision 'neutral' needs"):
            fit_category_ranker(features[rows], category[rows], strength[rows], config)
    with pytest.raises(UserError, match="did you mean 'intensity'"):
        fit_category_ranker(features, category, strength, RankerConfig(supervision="intensities"))


def test_speakers_with_many_utterances_are_measured_by_themselves_and_with_few_by_all():
    rng = np.random.default_rng(0)
    features = rng.normal(2, 3, (203, 4)).astype(np.float32)
    features[:100] += 10
    names = np.array(["a"] * 100 + ["b"] * 100 + ["c"] + [""] * 2)
    everyone = measure_all(features)
    np.testing.assert_allclose(everyone.mean, features.mean(0), **FP32)
    np.testing.assert_allclose(everyone.deviation, features.std(0), **FP32)
    standard = measure_speakers(features, names, everyone=everyone, prior=4.0)
    assert set(standard.speakers) == {"a", "b", "c"}
    found = standard.apply(features, names)
    assert np.abs(found[:100].mean(0)).max() < 0.2 and np.abs(found[100:200].mean(0)).max() < 0.2
    mean, deviation = standard.of("c")
    np.testing.assert_allclose(mean, 0.2 * features[200] + 0.8 * everyone.mean, **FP32)
    np.testing.assert_allclose(deviation, np.sqrt(0.8) * everyone.deviation, **FP32)
    plain = (features[201:] - everyone.mean) / everyone.deviation
    np.testing.assert_allclose(found[201:], plain, **FP32)
    constant = measure_all(np.ones((3, 2)))
    assert np.isfinite(constant.apply(np.ones((3, 2)), ["x"] * 3)).all()


def test_rows_of_speakers_are_spread_over_the_corpus_and_few_per_speaker():
    names = ["a"] * 100 + [""] * 50 + ["b"] * 3
    rows = rows_of_speakers(names, SpeakerConfig(utterances=5))
    assert rows.tolist() == [0, 25, 50, 74, 99, 150, 151, 152]
