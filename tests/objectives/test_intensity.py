import numpy as np

from sersl.objectives.intensity import intensity_regression
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32


def example():
    rng = np.random.default_rng(0)
    target = rng.random((3, 7))
    target[0, :2] = np.nan
    weights = rng.random((3, 7)) * (rng.random((3, 7)) < 0.6)
    return rng.normal(size=(3, 7)), target, weights


def test_intensity_regression_when_compared_with_numpy_then_the_weighted_error_of_known_frames():
    predicted, target, weights = example()
    loss, metrics = intensity_regression(predicted, target, weights=weights)
    total = count = 0.0
    for row in range(3):
        for t in range(7):
            if weights[row, t] and not np.isnan(target[row, t]):
                total += weights[row, t] * abs(predicted[row, t] - target[row, t])
                count += weights[row, t]
    np.testing.assert_allclose(loss, total / count, **FP32)
    np.testing.assert_allclose(metrics["intensity"].weight, count, **FP32)


def test_intensity_regression_when_differentiated_then_the_gradient_of_its_values():
    predicted, target, weights = example()
    check_gradient(lambda x: intensity_regression(x, target, weights=weights)[0], predicted)


def test_intensity_regression_when_nothing_is_known_then_is_zero():
    predicted, target, weights = example()
    loss, metrics = intensity_regression(predicted, np.full_like(target, np.nan), weights=weights)
    assert loss == 0.0 and metrics["intensity"].weight == 0.0
