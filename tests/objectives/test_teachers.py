import jax
import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.objectives.teachers import check_frames, hierarchical, layer_regression
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32

WEIGHTS = np.array([[1.0, 0.0, 2.0, 0.5], [1.0, 1.0, 0.0, 0.0]])


def arrays(number):
    return np.random.default_rng(number).normal(size=(2, 4, 6))


def test_layer_regression_when_compared_with_loops_then_equal():
    a, b = arrays(0), arrays(1)
    values, cosines, weights = [], [], []
    for i in zip(*np.nonzero(WEIGHTS), strict=True):
        cosine = a[i] @ b[i] / np.linalg.norm(a[i]) / np.linalg.norm(b[i])
        values.append(np.abs(a[i] - b[i]).mean() + 0.5 * np.log1p(np.exp(-cosine)))
        cosines.append(cosine)
        weights.append(WEIGHTS[i])
    loss, metrics = layer_regression(a, b, weights=WEIGHTS, cosine_weight=0.5, name="layer4")
    np.testing.assert_allclose(loss, np.average(values, weights=weights), **FP32)
    np.testing.assert_allclose(
        metrics["layer4_cosine"].value(), np.average(cosines, weights=weights), **FP32
    )
    check_gradient(
        lambda x: layer_regression(x, b, weights=WEIGHTS, cosine_weight=0.5, name="x")[0], a
    )


def test_layer_regression_when_differentiated_by_the_target_then_no_gradient():
    a, b = arrays(0), arrays(1)
    gradient = jax.grad(
        lambda x: layer_regression(a, x, weights=WEIGHTS, cosine_weight=0.5, name="x")[0]
    )(b)
    assert not np.asarray(gradient).any()


def test_hierarchical_when_compared_with_loops_then_equal():
    low, high, cross, middle, last = (arrays(i) for i in range(5))
    valid = np.arange(4) < np.array([4, 2])[:, None]
    masked_low = np.array([[True, False, True, False], [True, True, True, True]])
    masked_high = np.array([[False, True, True, True], [False, True, True, True]])

    def mse(a, b, where):
        return np.mean([np.mean((a[i] - b[i]) ** 2) for i in zip(*np.nonzero(where), strict=True)])

    def loss(x):
        return hierarchical(
            x[0], x[1], x[2], middle=middle, last=last, masked_low=masked_low,
            masked_high=masked_high, valid=valid, shares=(1.0, 0.1, 2.0),
        )  # fmt: skip

    found, metrics = loss((low, high, cross))
    parts = {
        "vesper_low": mse(low, middle, masked_low & valid),
        "vesper_high": mse(high, last, masked_high & valid),
        "vesper_cross": mse(cross, middle, valid),
    }
    for name, value in parts.items():
        np.testing.assert_allclose(metrics[name].value(), value, **FP32)
    expected = np.dot(list(parts.values()), [1.0, 0.1, 2.0])
    np.testing.assert_allclose(found, expected, **FP32)
    check_gradient(lambda x: loss(x)[0], np.stack([low, high, cross]))


def test_check_frames_when_the_frame_rate_is_another_then_user_error():
    check_frames(50, 50, name="a")
    with pytest.raises(UserError, match="has 100 frames where the student has 50"):
        check_frames(50, 100, name="a")
