"""Heads by ridge regression: penalties and scales by the answers for left-out speakers."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.utils.class_weight import compute_sample_weight

from sersl.eval.metrics import ccc
from sersl.finetuning.ridge.head_solver import (
    Rows,
    row_weights,
    solve_applying,
    solve_categories,
    solve_dimension,
)

PENALTIES = (0.01, 0.3, 3.0)
CLOSE = 1e-3


def drawn(num_rows=120, num_features=10):
    """Rows of three groups; every third is a copy."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(num_rows, num_features)).astype(np.float32)
    rows = Rows(features=x, group=np.arange(num_rows) // 4 % 3, plain=np.arange(num_rows) % 3 < 2)
    return rows, x @ rng.normal(size=(num_features, 3)) + 2.0 * rng.normal(size=(num_rows, 3))


def left_out(rows, targets, weights, penalty):
    found = np.zeros(targets.shape)
    x = rows.features.astype(np.float64)
    for number in np.unique(rows.group):
        held = rows.group == number
        fitted = Ridge(alpha=penalty * x.shape[1])
        fitted.fit(x[~held], targets[~held], sample_weight=weights[~held])
        found[held] = fitted.predict(x[held]).reshape(held.sum(), -1)
    return found[rows.plain]


def softmax(logits):
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def test_categories_when_solved_then_penalty_and_temperature_are_best_on_left_out_speakers():
    rows, values = drawn()
    category = values.argmax(1)
    weights = (len(category) / (3 * np.bincount(category)))[category]
    solved = solve_categories(rows, category, 3, weights, PENALTIES)
    truth, targets = category[rows.plain], np.eye(3)[category]
    answers = [left_out(rows, targets, weights, penalty) for penalty in PENALTIES]
    expected = [balanced_accuracy_score(truth, one.argmax(1)) for one in answers]
    assert list(solved.choice["selection"].values()) == pytest.approx(expected)
    best = max(range(3), key=lambda i: (expected[i], i))
    assert solved.choice["penalty"] == PENALTIES[best]
    scale = solved.choice["scale"]
    losses = [
        log_loss(truth, softmax(own * answers[best])) for own in (0.9 * scale, scale, 1.1 * scale)
    ]
    assert losses[1] < min(losses[0], losses[2])
    fitted = Ridge(alpha=PENALTIES[best] * 10).fit(rows.features, targets, sample_weight=weights)
    np.testing.assert_allclose(solved.weights.kernel, scale * fitted.coef_.T, atol=CLOSE)
    np.testing.assert_allclose(solved.weights.bias, scale * fitted.intercept_, atol=CLOSE)


def test_applying_when_solved_then_its_margin_is_best_for_left_out_speakers():
    rows, values = drawn()
    applies = (values[:, 0] > 1.0).astype(np.float32)
    weights = (len(applies) / (2 * np.bincount(applies.astype(int))))[applies.astype(int)]
    solved = solve_applying(rows, applies, weights, PENALTIES)
    answers = left_out(rows, applies[:, None], weights, solved.choice["penalty"])[:, 0]
    truth = applies[rows.plain]

    def loss(scale, shift):
        return log_loss(truth, 1 / (1 + np.exp(-(scale * answers + shift))))

    scale, shift = solved.choice["scale"], solved.choice["shift"]
    around = [
        (1.1 * scale, shift),
        (0.9 * scale, shift),
        (scale, shift - 0.3),
        (scale, shift + 0.3),
    ]
    assert loss(scale, shift) < min(loss(*point) for point in around)


def test_dimension_when_solved_then_left_out_answers_have_the_variance_with_the_best_ccc():
    rows, values = drawn()
    ratings = 0.5 + values[:, 0] / 20
    solved = solve_dimension(rows, ratings, np.ones(len(ratings)), PENALTIES)
    answers = left_out(rows, ratings[:, None], np.ones(len(ratings)), solved.choice["penalty"])
    truth, scale, shift = ratings[rows.plain], solved.choice["scale"], solved.choice["shift"]

    def concordance(scale, shift):
        return ccc(truth, scale * answers[:, 0] + shift)

    best = concordance(scale, shift)
    around = [
        (1.1 * scale, shift),
        (0.9 * scale, shift),
        (scale, shift + 0.02),
        (scale, shift - 0.02),
    ]
    assert best > max(concordance(*point) for point in around)
    assert best > ccc(truth, answers[:, 0])


def test_categories_when_there_is_one_speaker_then_the_middle_penalty():
    rows, values = drawn()
    alone = Rows(features=rows.features, group=np.zeros(len(values), int), plain=rows.plain)
    solved = solve_categories(alone, values.argmax(1), 3, np.ones(len(values)), PENALTIES)
    assert solved.choice["penalty"] == 0.3 and solved.choice["selection"] == {}
    assert np.isfinite(solved.weights.kernel).all()


@pytest.mark.parametrize("balanced", [False, True])
def test_row_weights_when_corpora_differ_in_size_then_their_sums_are_equal(balanced):
    corpus = np.array([0] * 9 + [1] * 3)
    category = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 1, 1])
    weights = row_weights(corpus, category if balanced else None)
    assert weights.mean() == pytest.approx(1.0)
    for one, present in ((0, 3), (1, 2)):
        assert weights[corpus == one].sum() == pytest.approx(6.0)
        if balanced:
            for kind in range(present):
                own = weights[(corpus == one) & (category == kind)]
                np.testing.assert_allclose(own, 6.0 / present / len(own))


def test_row_weights_when_corpora_have_shares_then_their_sums_are_in_proportion():
    corpus, category = np.array([0] * 4 + [2] * 2), np.array([0, 0, 0, 1, 1, 1])
    weights = row_weights(corpus, category, (3.0, 9.0, 0.5))
    np.testing.assert_allclose(weights.sum(), 6.0)
    np.testing.assert_allclose(weights[:4].sum() / weights[4:].sum(), 6.0)
    np.testing.assert_allclose(weights[:3].sum(), weights[3])


def test_row_weights_when_there_is_one_corpus_then_they_are_those_of_scikit_learn():
    category = np.array([0, 0, 0, 1, 2, 2])
    expected = compute_sample_weight("balanced", category)
    np.testing.assert_allclose(row_weights(np.zeros(6, int), category), expected)


def test_categories_when_there_are_nuisance_directions_then_each_weight_is_tried_on_left_out():
    rows, values = drawn()
    category = values.argmax(1)
    weights = np.ones(len(category))
    asked = {"nuisance": 3.0 * np.eye(10, dtype=np.float32), "nuisance_weights": (2.0, 0.0)}
    both = dataclasses.replace(rows, **asked)
    solved = solve_categories(both, category, 3, weights, PENALTIES)
    expected = {}
    for weight in (0.0, 2.0):
        fixed = dataclasses.replace(both, nuisance_weights=(weight,))
        alone = solve_categories(fixed, category, 3, weights, PENALTIES)
        (tried,) = alone.choice["selection"].values()
        expected[f"nuisance {weight:g}"] = tried
    assert solved.choice["selection"] == expected
    best = {name: max(tried.values()) for name, tried in expected.items()}
    assert best["nuisance 0"] != best["nuisance 2"]
    # The gain is less than its standard error over three groups.
    assert best["nuisance 2"] > best["nuisance 0"] and solved.choice["nuisance_weight"] == 0.0
    free = solve_categories(rows, category, 3, weights, PENALTIES).choice["selection"]
    assert expected["nuisance 0"] == free


@pytest.mark.parametrize("seed", [0, 19, 20, 29])
def test_views_when_they_are_noise_that_is_better_by_chance_then_they_are_left_out(seed):
    rng = np.random.default_rng(seed)
    category, numbers = np.arange(240) % 3, rng.normal(size=(240, 44)).astype(np.float32)
    numbers[:, :3] = np.eye(3)[category] + 0.9 * rng.normal(size=(240, 3))
    rows = Rows(
        features=numbers,
        group=np.arange(240) // 8 % 3,
        plain=np.ones(240, bool),
        blocks=(("", 40), ("view", 4)),
        kind_weights={"view": (0.0, 1.0)},
    )
    choice = solve_categories(rows, category, 3, np.ones(240), (0.1, 1.0, 10.0)).choice
    without, with_view = (max(scores.values()) for scores in choice["selection"].values())
    assert with_view > without and choice["view_weight"] == 0.0


@pytest.mark.parametrize(("useful", "weight"), [(True, 1.0), (False, 0.0)])
def test_views_when_their_weight_is_chosen_then_a_useful_one_counts_and_noise_does_not(
    useful, weight
):
    rng = np.random.default_rng(5)
    category, numbers = np.arange(240) % 3, rng.normal(size=(240, 404)).astype(np.float32)
    hints = np.eye(3, dtype=np.float32)[category] + 0.7 * rng.normal(size=(240, 3))
    numbers[:, 400 if useful else 0 :][:, :3] = hints
    rows = Rows(
        features=numbers,
        group=np.arange(240) // 8 % 3,
        plain=np.ones(240, bool),
        blocks=(("", 400), ("view", 4)),
        kind_weights={"view": (1.0, 0.0)},
    )
    solved = solve_categories(rows, category, 3, np.ones(240), PENALTIES)
    assert solved.choice["view_weight"] == weight
    scores = solved.choice["selection"]
    assert list(scores) == ["view 0", "view 1"]
    assert solved.weights.kernel[400:].any() == useful
    best = max(max(one.values()) for one in scores.values())
    assert best == scores[f"view {weight:g}"][f"{solved.choice['penalty']:g}"]
    drowned = solve_categories(
        dataclasses.replace(rows, kind_weights={}), category, 3, np.ones(240), PENALTIES
    )
    assert max(drowned.choice["selection"].values()) < best - (0.1 if useful else -0.05)


def test_blocks_when_they_have_weights_then_products_of_rows_are_weighted_means_of_theirs():
    rng = np.random.default_rng(2)
    numbers, widths = rng.normal(size=(6, 12)), (5, 3, 3, 1)
    rows = Rows(
        features=numbers,
        group=np.zeros(6, int),
        plain=np.ones(6, bool),
        blocks=tuple(zip(("", "side", "view", "view"), widths, strict=True)),
        kind_weights={"view": (0.5, 0.1)},
    )
    blocks = np.split(numbers, np.cumsum(widths)[:-1], axis=1)
    products = [block @ block.T / block.shape[1] for block in blocks]

    def check(rows, expected):
        for (chosen, scale), (names, side, view) in zip(rows.scales(), expected, strict=True):
            scaled = numbers * scale
            wanted = products[0] + side * products[1] + view * (products[2] + products[3])
            np.testing.assert_allclose(scaled @ scaled.T / 12, wanted, rtol=1e-12)
            assert tuple(chosen.values()) == names and list(chosen)[-1] == "view"

    # Without a weight, a number of the side branch counts as one of the encoder.
    check(rows, [((0.1,), 3 / 5, 0.1), ((0.5,), 3 / 5, 0.5)])
    both = dataclasses.replace(rows, kind_weights={"view": (0.5, 0.1), "side": (2.0, 0.0)})
    pairs = [(0.0, 0.1), (0.0, 0.5), (2.0, 0.1), (2.0, 0.5)]
    check(both, [((side, view), side, view) for side, view in pairs])
    plain = dataclasses.replace(rows, kind_weights={})
    assert [chosen for chosen, _ in plain.scales()] == [{}] and (plain.scales()[0][1] == 1).all()
