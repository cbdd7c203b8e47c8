import jax
import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.objectives.cpc import draw_from_pool, negative_pool, predictive_coding
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32

B, T, K, W, N = 4, 9, 3, 5, 6
KEY = jax.random.key(0)


def example():
    rng = np.random.default_rng(0)
    valid = np.arange(T) < np.array([9, 6, 1, 0])[:, None]
    speaker = np.array([7, -1, 7, -1])
    weights = rng.random((B, T))
    return rng.normal(size=(B, T, K, W)), rng.normal(size=(B, T, W)), valid, speaker, weights


def reference(predicted, targets, valid, weights, drawn):
    flat = targets.reshape(-1, W)
    steps, correct = [], []
    for k in range(1, K + 1):
        losses, counts = [], []
        for b, t in zip(*np.nonzero(valid), strict=True):
            if t + k >= T or not valid[b, t + k]:
                continue
            others = [i for i in drawn[b] if i != b * T + t + k]
            if not others:
                continue
            positive = predicted[b, t, k - 1] @ targets[b, t + k] / W
            negatives = flat[others] @ predicted[b, t, k - 1] / W
            losses.append(np.log(np.exp([positive, *negatives]).sum()) - positive)
            counts.append(weights[b, t])
            correct.append(positive > negatives.max())
        if counts:
            steps.append(np.average(losses, weights=counts))
    return np.mean(steps), np.mean(correct)


@pytest.mark.parametrize("negatives", ["utterance", "speaker"])
def test_predictive_coding_when_compared_with_loops_then_equal(negatives):
    predicted, targets, valid, speaker, weights = example()
    pool = negative_pool(speaker, negatives=negatives)
    drawn = np.asarray(draw_from_pool(valid, pool, num_negatives=N, key=KEY))
    loss, metrics = predictive_coding(
        predicted, targets, valid=valid, weights=weights, pool=pool, num_negatives=N, key=KEY
    )
    expected, accuracy = reference(predicted, targets, valid, weights, drawn)
    np.testing.assert_allclose(loss, expected, **FP32)
    np.testing.assert_allclose(metrics["cpc"].value(), expected, **FP32)
    np.testing.assert_allclose(metrics["cpc_accuracy"].value(), accuracy, **FP32)


def test_draw_from_pool_when_drawn_then_real_frames_of_the_right_rows_evenly():
    _, _, valid, speaker, _ = example()
    for negatives, frames in (
        ("utterance", [set(range(9)), set(range(9, 15)), {18}]),
        ("speaker", [{*range(9), 18}, set(range(9, 15)), {*range(9), 18}]),
    ):
        pool = negative_pool(speaker, negatives=negatives)
        drawn = np.asarray(draw_from_pool(valid, pool, num_negatives=5000, key=KEY))
        for row, expected in enumerate(frames):
            assert set(drawn[row]) == expected
            counts = np.bincount(drawn[row], minlength=B * T)[list(expected)]
            share = 5000 / len(expected)
            assert np.abs(counts - share).max() <= 4 * np.sqrt(share) * (len(expected) > 1)


def test_predictive_coding_when_differentiated_then_equals_central_differences():
    predicted, targets, valid, speaker, weights = example()
    pool = negative_pool(speaker, negatives="speaker")

    def loss(x):
        return predictive_coding(
            x[: predicted.size].reshape(predicted.shape),
            x[predicted.size :].reshape(targets.shape),
            valid=valid,
            weights=weights,
            pool=pool,
            num_negatives=N,
            key=KEY,
        )[0]

    check_gradient(loss, np.concatenate([predicted.ravel(), targets.ravel()]), num_values=60)


def test_predictive_coding_when_padding_holds_anything_then_nothing_changes():
    predicted, targets, valid, speaker, _ = example()

    def loss(p, z):
        pool = negative_pool(speaker, negatives="speaker")
        return predictive_coding(p, z, valid=valid, pool=pool, num_negatives=N, key=KEY)[0]

    noisy = targets + 9.0 * ~valid[..., None]
    np.testing.assert_array_equal(loss(predicted, noisy), loss(predicted, targets))


def test_predictive_coding_when_there_is_one_frame_or_none_then_zero_and_finite_gradient():
    predicted, targets, *_ = example()
    for num_real in (0, 1, 2):
        valid = np.broadcast_to(np.arange(T) < num_real, (B, T))
        pool = negative_pool(-np.ones(B, int), negatives="speaker")

        def loss(p, valid=valid, pool=pool):
            return predictive_coding(p, targets, valid=valid, pool=pool, num_negatives=1, key=KEY)[
                0
            ]

        value, gradient = jax.value_and_grad(loss)(predicted)
        assert np.isfinite(value) and np.isfinite(gradient).all()
        assert (value == 0.0) or num_real == 2


def test_negative_pool_when_the_word_is_unknown_then_user_error():
    with pytest.raises(UserError, match="speakers"):
        negative_pool(np.zeros(2, int), negatives="speakers")
    predicted, targets, valid, *_ = example()
    with pytest.raises(UserError, match="num_negatives"):
        predictive_coding(
            predicted, targets, valid=valid, pool=np.eye(B, dtype=bool), num_negatives=0, key=KEY
        )
