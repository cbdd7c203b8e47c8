"""Ridge regression in both forms against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from sersl.finetuning.ridge.closed_form import Regression

FORMS = pytest.mark.parametrize(("rows", "features"), [(30, 50), (90, 20)], ids=["dual", "primal"])
FLOAT32 = 1e-5  # products of features are summed in float32


def drawn(rows, features):
    rng = np.random.default_rng(rows)
    x = (rng.normal(size=(rows, features)) + 0.3).astype(np.float32)
    y = rng.normal(size=(rows, 3)) + x[:, :3]
    return x, y, rng.uniform(0.3, 3.0, rows), rng.integers(3, size=rows)


def reference(x, y, weights, penalty):
    fitted = Ridge(alpha=penalty * x.shape[1])
    return fitted.fit(x.astype(np.float64), y, sample_weight=weights)


@FORMS
def test_regression_when_solved_then_as_scikit_learn(rows, features):
    x, y, weights, _ = drawn(rows, features)
    found, expected = Regression(x, y, weights).solve(0.3), reference(x, y, weights, 0.3)
    np.testing.assert_allclose(found.kernel, expected.coef_.T, atol=FLOAT32)
    np.testing.assert_allclose(found.bias, expected.intercept_, atol=FLOAT32)


@FORMS
def test_regression_when_groups_are_left_out_then_as_fitted_without_each(rows, features):
    x, y, weights, group = drawn(rows, features)
    penalties = (0.1, 2.0)
    found = Regression(x, y, weights).left_out(group, penalties)[0]
    assert found.shape == (2, rows, 3)
    for answers, penalty in zip(found, penalties, strict=True):
        for number in range(3):
            held = group == number
            fitted = reference(x[~held], y[~held], weights[~held], penalty)
            expected = fitted.predict(x[held].astype(np.float64))
            np.testing.assert_allclose(answers[held], expected, atol=FLOAT32)


@FORMS
def test_regression_when_there_are_nuisance_directions_then_as_with_rows_of_the_mean_answer(
    rows, features
):
    x, y, weights, group = drawn(rows, features)
    nuisance = np.random.default_rng(1).normal(size=(12, features)).astype(np.float32)
    mean, answer = (np.average(values, axis=0, weights=weights) for values in (x, y))
    more_x, more_y = np.concatenate([x, mean + nuisance]), np.concatenate([y, [answer] * 12])
    more_weights = np.concatenate([weights, np.full(12, 0.7 * weights.sum() / 12)])
    regression = Regression(x, y, weights, nuisance=nuisance, nuisance_weight=0.7)
    found, expected = regression.solve(0.3), reference(more_x, more_y, more_weights, 0.3)
    np.testing.assert_allclose(found.kernel, expected.coef_.T, atol=FLOAT32)
    np.testing.assert_allclose(found.bias, expected.intercept_, atol=FLOAT32)

    ((answers,),) = regression.left_out(group, [2.0])
    fitted = np.concatenate([group != 1, np.ones(12, bool)])
    expected = reference(more_x[fitted], more_y[fitted], more_weights[fitted], 2.0)
    held = x[group == 1].astype(np.float64)
    np.testing.assert_allclose(answers[group == 1], expected.predict(held), atol=FLOAT32)


def test_regression_when_a_nuisance_direction_weighs_much_then_answers_do_not_follow_it():
    x, y, weights, _ = drawn(90, 20)
    direction = np.eye(20, dtype=np.float32)[:1]  # the first feature, which the first target needs
    nuisance = np.concatenate([direction, -direction])
    free = Regression(x, y, weights).solve(0.01).kernel[0, 0]
    found = Regression(x, y, weights, nuisance=nuisance, nuisance_weight=1e4).solve(0.01)
    assert abs(found.kernel[0, 0]) < 1e-3 < 0.5 < free


@FORMS
def test_regression_when_columns_are_scaled_then_as_on_scaled_columns(rows, features):
    x, y, weights, group = drawn(rows, features)
    scales = [np.ones(features), np.linspace(0.0, 2.0, features)]
    regression = Regression(x, y, weights, scales=scales)
    left_out = regression.left_out(group, [0.3, 2.0])
    for number, scale in enumerate(scales):
        plain, found = Regression(x * scale, y, weights), regression.solve(0.3, number)
        expected = reference(x * scale, y, weights, 0.3)
        np.testing.assert_allclose(found.kernel, expected.coef_.T * scale[:, None], atol=FLOAT32)
        np.testing.assert_allclose(found.bias, expected.intercept_, atol=FLOAT32)
        expected = plain.left_out(group, [0.3, 2.0])[0]
        np.testing.assert_allclose(left_out[number], expected, atol=FLOAT32)
