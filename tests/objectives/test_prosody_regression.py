import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.objectives.regression import PROSODY_LOSSES, prosody_regression
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32

NAMES = ("log_f0", "voicing", "energy", "delta_log_f0", "delta_voicing", "delta_energy")


def example():
    rng = np.random.default_rng(0)
    predicted, target = rng.normal(size=(2, 3, 9, 6)) * 1.5
    target[rng.random(target.shape) < 0.3] = np.nan
    target[..., 3] = np.nan  # a feature without any target
    return predicted, target, rng.random((3, 9)) < 0.6


def reference(predicted, target, masked):
    means = {}
    for i, name in enumerate(NAMES):
        values = []
        for b, t in zip(*np.nonzero(masked), strict=True):
            if np.isnan(target[b, t, i]):
                continue
            error = abs(predicted[b, t, i] - target[b, t, i])
            huber = 0.5 * error**2 if error < 1 else error - 0.5
            values.append(huber if "log_f0" in name else error**2)
        if values:
            means[name] = np.mean(values)
    return np.mean(list(means.values())), means


def test_prosody_regression_when_compared_with_loops_then_equal():
    predicted, target, masked = example()
    loss, metrics = prosody_regression(predicted, target, weights=masked, names=NAMES)
    expected, means = reference(predicted, target, masked)
    np.testing.assert_allclose(loss, expected, **FP32)
    np.testing.assert_allclose(metrics["prosody"].value(), expected, **FP32)
    for name, mean in means.items():
        np.testing.assert_allclose(metrics[f"prosody_{name}"].value(), mean, **FP32)
    assert metrics["prosody_delta_log_f0"].weight == 0


def test_prosody_regression_when_differentiated_then_equals_central_differences():
    predicted, target, masked = example()
    check_gradient(
        lambda x: prosody_regression(x, target, weights=masked, names=NAMES)[0], predicted
    )


def test_prosody_regression_when_there_is_no_target_then_zero_and_finite_gradient():
    predicted, target, masked = example()
    target[:] = np.nan
    assert prosody_regression(predicted, target, weights=masked, names=NAMES)[0] == 0.0
    check_gradient(
        lambda x: prosody_regression(x, target, weights=masked, names=NAMES)[0], predicted
    )


def test_prosody_regression_when_feature_is_unknown_then_user_error():
    predicted, target, masked = example()
    with pytest.raises(UserError, match="did you mean 'energy'"):
        prosody_regression(predicted, target, weights=masked, names=("enrgy",))
    assert set(NAMES) == set(PROSODY_LOSSES)
