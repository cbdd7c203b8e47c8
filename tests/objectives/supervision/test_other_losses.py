"""Supervised contrast, transcription, gradient reversal and domain shift against references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp, softmax

from sersl.core.errors import UserError
from sersl.objectives.supervision import domain_shift
from sersl.objectives.supervision.adversary import reversal_scale, reverse_gradient
from sersl.objectives.supervision.domain_shift import Sides
from sersl.objectives.supervision.supervised_contrast import supervised_contrast
from sersl.objectives.supervision.transcription import transcription
from sersl.objectives.whole_batch import collecting
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(10, 3))
SIDES = Sides(np.arange(10) < 4, (np.arange(10) >= 4) & (np.arange(10) < 9))  # one row of neither


def test_contrast_when_compared_with_loops_then_equal():
    category = np.array([0, 1, 0, 2, -1, 1, 0, -1, 3, 1])
    z = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    losses = []
    for i, own in enumerate(category):
        others = [j for j in range(10) if j != i and category[j] >= 0]
        same = [j for j in others if category[j] == own]
        if own >= 0 and same:
            whole = logsumexp([z[i] @ z[j] / 0.2 for j in others])
            losses.append(-np.mean([z[i] @ z[j] / 0.2 - whole for j in same]))
    loss, metrics = supervised_contrast(VECTORS, category, temperature=0.2)
    np.testing.assert_allclose(loss, np.mean(losses), **FP32)
    np.testing.assert_allclose(metrics["contrast"].weight, len(losses))
    check_gradient(lambda x: supervised_contrast(x, category, temperature=0.2)[0], VECTORS)


def test_contrast_when_the_batch_comes_in_parts_then_user_error():
    with collecting(2), pytest.raises(UserError, match="accumulate_steps to 1"):
        supervised_contrast(VECTORS, np.zeros(10, int), temperature=0.1)


def test_transcription_when_compared_with_torch_then_equal():
    logits = RNG.normal(size=(4, 12, 5))
    lengths = np.array([12, 9, 3, 10])
    characters = np.full((4, 4), -1)
    for row, text in enumerate([[1, 2, 2], [4, 3, 1, 2], [2, 2, 1], []]):
        characters[row, : len(text)] = text
    valid = np.arange(12) < lengths[:, None]
    loss, metrics = transcription(logits, valid, characters)
    # The third row needs four frames and has three, the last one has no transcript.
    expected = torch.nn.functional.ctc_loss(
        torch.log_softmax(torch.tensor(logits[:2]), 2).transpose(0, 1),
        torch.tensor(np.maximum(characters[:2], 0)),
        torch.tensor(lengths[:2]),
        torch.tensor([3, 4]),
    )
    np.testing.assert_allclose(loss, expected, **FP32)
    np.testing.assert_allclose(metrics["transcripts_too_long"].value(), 1 / 3, **FP32)
    changed = np.where(valid[..., None], logits, 50.0)
    np.testing.assert_allclose(transcription(changed, valid, characters)[0], loss, **FP32)


def test_reversal_when_differentiated_then_minus_the_scale():
    x = jnp.array([1.0, -2.0])
    np.testing.assert_array_equal(reverse_gradient(x, jnp.float32(0.3)), x)
    gradient = jax.grad(lambda x: jnp.square(reverse_gradient(x, jnp.float32(0.3))).sum())(x)
    np.testing.assert_allclose(gradient, -0.3 * 2 * x, **FP32)
    scales = [reversal_scale(jnp.float32(p)) for p in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(scales, 2 / (1 + np.exp(-10 * np.array([0, 0.5, 1]))) - 1, **FP32)


def test_mean_discrepancy_when_compared_with_loops_then_equal():
    squares = np.square(VECTORS[:, None] - VECTORS).sum(-1)
    counted = np.arange(9)
    width = squares[np.ix_(counted, counted)].sum() / (9 * 8)
    kernel = np.mean([np.exp(-squares / (f * width)) for f in (0.25, 0.5, 1, 2, 4)], axis=0)
    s, t = np.flatnonzero(SIDES.source), np.flatnonzero(SIDES.target)
    expected = (
        kernel[np.ix_(s, s)].mean() + kernel[np.ix_(t, t)].mean() - 2 * kernel[np.ix_(s, t)].mean()
    )
    np.testing.assert_allclose(domain_shift.mean_discrepancy(VECTORS, SIDES)[0], expected, **FP32)


def test_covariance_distance_when_compared_with_numpy_then_equal():
    difference = np.cov(VECTORS[SIDES.source].T) - np.cov(VECTORS[SIDES.target].T)
    loss, _ = domain_shift.covariance_distance(VECTORS, SIDES)
    np.testing.assert_allclose(loss, np.square(difference).sum() / (4 * 9), **FP32)
    check_gradient(lambda x: domain_shift.covariance_distance(x, SIDES)[0], VECTORS)


def test_margin_disparity_when_compared_with_loops_then_equal():
    adversary, scores = RNG.normal(size=(10, 4)), RNG.normal(size=(10, 4))
    own = softmax(adversary, axis=1)[np.arange(10), scores.argmax(1)]
    expected = -4 * np.log(own)[SIDES.source].mean() - np.log(1 - own)[SIDES.target].mean()
    loss, metrics = domain_shift.margin_disparity(
        jnp.asarray(adversary), jnp.asarray(scores), SIDES, margin=4.0
    )
    np.testing.assert_allclose(loss, expected, **FP32)
    np.testing.assert_allclose(metrics["domain_loss"].value(), expected, **FP32)
    check_gradient(
        lambda x: domain_shift.margin_disparity(x, scores, SIDES, margin=4.0)[0], adversary
    )


def test_transport_when_the_entropy_is_small_then_the_cost_of_the_best_assignment():
    x = RNG.normal(size=(8, 2))
    sides = Sides(np.arange(8) < 4, np.arange(8) >= 4)
    cost = np.square(x[:4, None] - x[None, 4:]).sum(-1)
    rows, columns = linear_sum_assignment(cost)
    expected = cost[rows, columns].mean() / cost.mean()
    loss, _ = domain_shift.transport_cost(x, sides, entropy=0.005, iterations=2000)
    np.testing.assert_allclose(loss, expected, rtol=1e-2)


def test_sinkhorn_when_it_has_converged_then_the_plan_has_the_wanted_margins():
    first, second = np.array([0.5, 0.5, 0.0]), np.array([0.2, 0.3, 0.5])
    plan = np.asarray(domain_shift.sinkhorn(RNG.uniform(size=(3, 3)), first, second, 0.1, 200))
    np.testing.assert_allclose(plan.sum(1), first, atol=1e-5)
    np.testing.assert_allclose(plan.sum(0), second, atol=1e-5)


def test_information_maximization_when_compared_with_numpy_then_equal():
    scores = 3 * RNG.normal(size=(7, 4))
    rows = np.arange(7) != 2
    p = softmax(scores, axis=1)[rows]
    entropy = -(p * np.log(p)).sum(1).mean()
    mean = p.mean(0)
    sure = p.max(1) >= 0.6
    expected = entropy + (mean * np.log(mean)).sum() - np.log(p.max(1)[sure]).mean()
    loss, metrics = domain_shift.information_maximization(scores, rows, confidence=0.6)
    np.testing.assert_allclose(loss, expected, **FP32)
    np.testing.assert_allclose(metrics["pseudo_labelled"].value(), sure.mean(), **FP32)


@pytest.mark.parametrize("num_rows", [0, 2])
def test_information_maximization_when_a_probability_is_zero_or_no_row_counts_then_finite(num_rows):
    scores = np.array([[200.0, 0.0, -200.0], [0.0, 200.0, -200.0]], np.float32)

    def loss(x):
        rows = np.arange(2) < num_rows
        return domain_shift.information_maximization(x, rows, confidence=0.5)[0]

    value, gradient = jax.value_and_grad(loss)(scores)
    np.testing.assert_allclose(value, 0.0 if num_rows == 0 else -np.log(2), **FP32)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "loss_of",
    [
        domain_shift.mean_discrepancy,
        domain_shift.covariance_distance,
        lambda x, sides: domain_shift.transport_cost(x, sides, entropy=0.1, iterations=5),
    ],
)
def test_distance_when_a_side_is_empty_then_zero_and_a_finite_gradient(loss_of):
    sides = Sides(SIDES.source, np.zeros(10, bool))
    value, gradient = jax.value_and_grad(lambda x: loss_of(x, sides)[0])(VECTORS)
    assert value == 0.0
    assert not np.asarray(gradient).any()


def test_distance_when_other_rows_change_then_it_stays():
    changed = VECTORS.copy()
    changed[9] = 100.0
    for loss_of in (domain_shift.mean_discrepancy, domain_shift.covariance_distance):
        found, expected = loss_of(changed, SIDES)[0], loss_of(VECTORS, SIDES)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
