import jax
import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.objectives.reconstruct import predict_ahead, reconstruct
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32

B, T, F = 3, 8, 4


def example():
    rng = np.random.default_rng(0)
    valid = np.arange(T) < np.array([8, 5, 0])[:, None]
    return rng.normal(size=(B, T, F)), rng.normal(size=(B, T, F)), valid


def test_reconstruct_when_compared_with_numpy_then_mean_error_at_the_altered_positions():
    predicted, target, valid = example()
    altered = (np.random.default_rng(1).random((B, T, F)) < 0.4) & valid[..., None]
    loss, metrics = reconstruct(predicted, target, weights=altered, name="reconstruction")
    expected = np.abs(predicted - target)[altered].mean()
    np.testing.assert_allclose(loss, expected, **FP32)
    np.testing.assert_allclose(metrics["reconstruction"].value(), expected, **FP32)
    loss, _ = reconstruct(predicted, target, weights=valid[..., None], name="npc")
    np.testing.assert_allclose(loss, np.abs(predicted - target)[valid].mean(), **FP32)


@pytest.mark.parametrize("frames", [1, 5])
def test_predict_ahead_when_compared_with_loops_then_equal(frames):
    predicted, target, valid = example()
    weights = valid * np.random.default_rng(2).random((B, T))
    total = weight = 0.0
    for b in range(B):
        for t in range(T - frames):
            error = np.abs(predicted[b, t] - target[b, t + frames]).mean()
            total += weights[b, t + frames] * error
            weight += weights[b, t + frames]
    loss, metrics = predict_ahead(predicted, target, weights=weights, frames=frames)
    np.testing.assert_allclose(loss, total / weight, **FP32)
    np.testing.assert_allclose(metrics["apc"].value(), total / weight, **FP32)


def test_reconstruct_and_predict_ahead_when_differentiated_then_equal_central_differences():
    predicted, target, valid = example()
    check_gradient(
        lambda x: reconstruct(x, target, weights=valid[..., None], name="npc")[0], predicted
    )
    check_gradient(lambda x: predict_ahead(x, target, weights=valid, frames=2)[0], predicted)
    gradient = jax.grad(
        lambda x: reconstruct(predicted, x, weights=valid[..., None], name="npc")[0]
    )(target)
    assert not np.asarray(gradient).any()


def test_reconstruct_and_predict_ahead_when_nothing_counts_then_zero_and_finite_gradient():
    predicted, target, valid = example()
    losses = (
        lambda x: reconstruct(x, target, weights=np.zeros((B, T, 1)), name="npc")[0],
        lambda x: predict_ahead(x, target, weights=valid, frames=T)[0],
        lambda x: predict_ahead(x, target, weights=valid, frames=T + 3)[0],
    )
    for loss in losses:
        value, gradient = jax.value_and_grad(loss)(predicted)
        assert value == 0.0 and not np.asarray(gradient).any()


def test_predict_ahead_when_not_ahead_then_user_error():
    predicted, target, valid = example()
    with pytest.raises(UserError, match="frames"):
        predict_ahead(predicted, target, weights=valid, frames=0)
