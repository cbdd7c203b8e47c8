import jax
import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.objectives.regression import (
    balance,
    chunk_deviations,
    chunk_means,
    regression,
    with_context,
)
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32

VALID = np.arange(11) < np.array([11, 7])[:, None]


def example():
    rng = np.random.default_rng(0)
    predicted, target = rng.normal(size=(2, 2, 11, 3)) * 1.5
    target[rng.random(target.shape) < 0.3] = np.nan
    weights = rng.uniform(0.5, 2, (2, 11)) * (rng.random((2, 11)) < 0.7)
    return predicted, target, weights


@pytest.mark.parametrize("loss", ["l1", "squared", "huber"])
def test_regression_when_compared_with_loops_then_equal(loss):
    predicted, target, weights = example()
    values, shares = [], []
    for b, t, f in np.ndindex(target.shape):
        if weights[b, t] and not np.isnan(target[b, t, f]):
            error = abs(predicted[b, t, f] - target[b, t, f])
            huber = error**2 / 2 if error < 1 else error - 0.5
            values.append({"l1": error, "squared": error**2, "huber": huber}[loss])
            shares.append(weights[b, t])
    found, metrics = regression(predicted, target, weights=weights, loss=loss, name="mel")
    np.testing.assert_allclose(found, np.average(values, weights=shares), **FP32)
    np.testing.assert_allclose(metrics["mel"].value(), found, **FP32)
    check_gradient(
        lambda x: regression(x, target, weights=weights, loss=loss, name="mel")[0], predicted
    )


def test_regression_when_nothing_is_known_then_zero_and_no_gradient():
    predicted, target, weights = example()

    def loss(x):
        return regression(x, target * np.nan, weights=weights, loss="l1", name="mel")[0]

    value, gradient = jax.value_and_grad(loss)(predicted)
    assert value == 0.0 and not np.asarray(gradient).any()


def test_regression_when_loss_is_unknown_then_user_error():
    predicted, target, weights = example()
    with pytest.raises(UserError, match="did you mean 'squared'"):
        regression(predicted, target, weights=weights, loss="square", name="mel")


def test_with_context_when_neighbours_are_not_real_then_nan():
    values = np.arange(22.0).reshape(2, 11, 1)
    wide = np.asarray(with_context(values, VALID, radius=2))
    assert wide.shape == (2, 11, 5)
    for b, t, i in np.ndindex(wide.shape):
        s = t + i - 2
        real = 0 <= s < 11 and VALID[b, s]
        np.testing.assert_array_equal(wide[b, t, i], values[b, s, 0] if real else np.nan)


def test_chunk_statistics_when_compared_with_loops_then_equal():
    _, values, _ = example()
    mean, real = chunk_means(values, VALID, frames=4)
    deviation = chunk_deviations(values, VALID, frames=4)
    np.testing.assert_array_equal(real, [[True, True], [True, False]])
    for b, c, f in np.ndindex(2, 2, 3):
        part = values[b, 4 * c : 4 * c + 4, f][VALID[b, 4 * c : 4 * c + 4]]
        part = part[~np.isnan(part)]
        expected = part.mean() if len(part) else np.nan
        np.testing.assert_allclose(mean[b, c, f], expected, **FP32)
        expected = part.std() if len(part) > 1 else np.nan
        np.testing.assert_allclose(deviation[b, c, f], expected, **FP32)


def test_balance_when_log_variances_are_zero_then_the_plain_sum_of_what_is_counted():
    losses, counted = np.array([2.0, 0.5, 7.0]), np.array([True, True, False])
    np.testing.assert_allclose(balance(losses, np.zeros(3), counted=counted), 2.5, **FP32)


def test_balance_when_least_then_every_term_weighs_the_same():
    values, counted, log = np.array([2.0, 0.5]), np.ones(2, bool), np.log([2.0, 0.5])
    check_gradient(lambda s: balance(values, s, counted=counted), np.array([0.3, -0.7]))
    gradient = jax.grad(lambda s: balance(values, s, counted=counted))(log)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)
