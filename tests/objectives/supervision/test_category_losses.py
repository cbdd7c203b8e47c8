"""Losses of categories against NumPy, SciPy and torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import digamma, softmax

from sersl.config.schema import HeadsConfig
from sersl.objectives.supervision.category_losses import (
    CATEGORY_LOSSES,
    CategoryLabels,
    CategoryScores,
    dirichlet_divergence,
)
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(9, 4))
CATEGORY = np.array([0, 3, -1, 2, 1, 1, -1, 0, 2])
WEIGHTS = np.array([0.5, 1.0, 2.0, 1.5])
KNOWN = CATEGORY >= 0


def loss_of(name, scores=SCORES, *, probabilities=None, by_annotator=None, step=0, **settings):
    heads = HeadsConfig(category_loss=name, **settings)
    labels = CategoryLabels(CATEGORY, probabilities, WEIGHTS, by_annotator)
    given = CategoryScores(scores, step=step)
    if by_annotator is not None:
        given = CategoryScores(jnp.mean(scores, 1), scores, step)
    return CATEGORY_LOSSES[name].compute(given, labels, heads)


def weighted(losses):
    weights = WEIGHTS[CATEGORY[KNOWN]]
    return (losses[KNOWN] * weights).sum() / weights.sum()


def test_focal_when_compared_with_numpy_then_equal():
    p = softmax(SCORES, axis=1)
    q = 0.9 * np.eye(4)[CATEGORY] + 0.1 / 4
    losses = -(q * (1 - p) ** 1.5 * np.log(p)).sum(1)
    loss, metrics = loss_of("focal", focal_gamma=1.5)
    np.testing.assert_allclose(loss, weighted(losses), **FP32)
    hits = (SCORES.argmax(1) == CATEGORY)[KNOWN].mean()
    np.testing.assert_allclose(metrics["category_accuracy"].value(), hits, **FP32)
    check_gradient(lambda x: loss_of("focal", x, focal_gamma=1.5)[0], SCORES)


def test_focal_when_gamma_is_zero_then_cross_entropy():
    expected = loss_of("cross_entropy")[0]
    np.testing.assert_allclose(loss_of("focal", focal_gamma=0.0)[0], expected, **FP32)


def test_focal_when_a_row_is_certain_then_the_gradient_is_finite():
    scores = np.where(np.eye(4)[CATEGORY] > 0, 80.0, -80.0).astype(np.float32)
    gradient = jax.grad(lambda x: loss_of("focal", x, focal_gamma=0.5)[0])(scores)
    assert np.isfinite(gradient).all()


def test_votes_when_compared_with_torch_then_the_divergence():
    votes = RNG.dirichlet(np.ones(4), 9)
    votes[[1, 2, 4]] = np.nan  # 1 and 4 have a category, 2 has nothing
    target = np.where(np.isnan(votes), np.eye(4)[CATEGORY], votes)
    rows = KNOWN | ~np.isnan(votes[:, 0])
    each = torch.nn.functional.kl_div(
        torch.log_softmax(torch.tensor(SCORES), 1), torch.tensor(target), reduction="none"
    ).sum(1)
    weights = (target @ WEIGHTS)[rows]
    expected = (each.numpy()[rows] * weights).sum() / weights.sum()
    loss = loss_of("votes", probabilities=votes, label_smoothing=0.0)[0]
    np.testing.assert_allclose(loss, expected, **FP32)
    perfect = np.log(np.maximum(np.where(rows[:, None], target, 0.25), 1e-12))
    loss = loss_of("votes", perfect, probabilities=votes, label_smoothing=0.0)[0]
    np.testing.assert_allclose(loss, 0.0, atol=1e-5)


def test_dirichlet_divergence_when_estimated_by_sampling_then_equal():
    alpha = np.array([2.0, 0.7, 3.5])
    samples = RNG.dirichlet(alpha, 200_000)
    logs = scipy.stats.dirichlet.logpdf(samples.T, alpha)
    expected = logs.mean() - scipy.stats.dirichlet.logpdf(np.ones(3) / 3, np.ones(3))
    np.testing.assert_allclose(dirichlet_divergence(alpha), expected, atol=0.02)
    np.testing.assert_allclose(dirichlet_divergence(np.ones(3)), 0.0, **FP32)


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (50, 0.25), (1000, 1.0)])
def test_evidential_when_compared_with_numpy_then_equal_at_every_step(step, share):
    alpha = np.exp(SCORES)
    y = np.eye(4)[CATEGORY]
    fit = (y * (digamma(alpha.sum(1, keepdims=True)) - digamma(alpha))).sum(1)
    penalty = np.array([float(dirichlet_divergence(row)) for row in y + (1 - y) * alpha])
    loss, metrics = loss_of("evidential", step=step, evidence_steps=200, evidence_weight=0.8)
    np.testing.assert_allclose(loss, weighted(fit + 0.8 * share * penalty), **FP32)
    vacuity = 4 / alpha.sum(1)[KNOWN]
    np.testing.assert_allclose(metrics["vacuity"].value(), vacuity.mean(), **FP32)


def test_evidential_when_differentiated_then_equals_central_differences():
    check_gradient(lambda x: loss_of("evidential", x, step=100)[0], SCORES)


def test_prototypes_when_compared_with_numpy_then_cross_entropy_and_pull():
    squares = RNG.uniform(0, 4, (9, 4))
    scores = -squares / 0.2
    losses = -np.log(softmax(scores, axis=1))[np.arange(9), CATEGORY]
    own = squares[np.arange(9), CATEGORY]
    settings = {"temperature": 0.2, "prototype_pull": 0.3, "label_smoothing": 0.0}
    loss, metrics = loss_of("prototypes", scores, **settings)
    np.testing.assert_allclose(loss, weighted(losses) + 0.3 * weighted(own), **FP32)
    np.testing.assert_allclose(metrics["prototype_distance"].value(), weighted(own), **FP32)
    check_gradient(lambda x: loss_of("prototypes", x, **settings)[0], scores)


def test_prototypes_when_targets_are_refined_then_their_share_is_the_similarity():
    scores = -RNG.uniform(0, 4, (9, 4)) / 0.2
    onehot = np.eye(4)[CATEGORY]
    target = 0.7 * onehot + 0.3 * softmax(scores, axis=1)
    losses = -(target * np.log(softmax(scores, axis=1))).sum(1)[KNOWN]
    weights = (target @ WEIGHTS)[KNOWN]
    loss, _ = loss_of(
        "prototypes",
        scores,
        temperature=0.2,
        prototype_pull=0.0,
        label_smoothing=0.0,
        prototype_refinement=0.3,
    )
    np.testing.assert_allclose(loss, (losses * weights).sum() / weights.sum(), **FP32)


def test_annotators_when_compared_with_torch_then_each_over_its_own_rows():
    logits = RNG.normal(size=(9, 3, 4))
    chosen = RNG.integers(-1, 4, (9, 3))
    loss, metrics = loss_of("annotators", logits, by_annotator=chosen, label_smoothing=0.0)
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(logits).reshape(-1, 4),
        torch.tensor(chosen).reshape(-1),
        weight=torch.tensor(WEIGHTS),
        ignore_index=-1,
    )
    np.testing.assert_allclose(loss, expected, **FP32)
    known = chosen >= 0
    hits = (logits.argmax(-1) == chosen)[known].mean()
    np.testing.assert_allclose(metrics["annotator_accuracy"].value(), hits, **FP32)


@pytest.mark.parametrize("name", CATEGORY_LOSSES)
def test_category_loss_when_no_row_has_a_label_then_zero_and_no_gradient(name):
    heads = HeadsConfig(category_loss=name)
    nothing = np.full(3, -1)

    def loss(x):
        labels = CategoryLabels(nothing, by_annotator=np.full((3, 2), -1))
        given = CategoryScores(x.mean(1), x, 10)
        return CATEGORY_LOSSES[name].compute(given, labels, heads)[0]

    value, gradient = jax.value_and_grad(loss)(np.ones((3, 2, 4), np.float32))
    assert value == 0.0
    assert not np.asarray(gradient).any()
