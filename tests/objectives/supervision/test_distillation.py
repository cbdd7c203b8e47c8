"""Losses against a teacher: against plain NumPy and the authors' formula in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import torch

from sersl.objectives.supervision import distillation
from tests.tolerances import FP32

B, C, T = 6, 5, 3.0
rng = np.random.default_rng(0)
STUDENT = rng.normal(size=(B, C)).astype(np.float32)
TEACHER = np.where(np.arange(B)[:, None] == 2, np.nan, 2 * rng.normal(size=(B, C))).astype(
    np.float32
)
CATEGORY = np.array([0, 4, 1, 3, 2, 2], np.int32)
KNOWN = ~np.isnan(TEACHER[:, 0])


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_divergence_when_a_row_has_no_teacher_then_zero_and_numpy_for_the_others():
    found = distillation.divergence_from(STUDENT, TEACHER, temperature=T)
    p, q = softmax(TEACHER / T), softmax(STUDENT / T)
    wanted = T**2 * (p * np.log(p / q)).sum(-1)
    np.testing.assert_allclose(found[KNOWN], wanted[KNOWN], **FP32)
    assert found[2] == 0
    same = distillation.divergence_from(STUDENT, STUDENT + 7.0, temperature=T)
    np.testing.assert_allclose(same, 0.0, atol=1e-5)


def of_authors(student, teacher, category, alpha, beta, temperature):
    """The loss of Zhao et al.'s mdistiller, which divides by the number of rows."""
    own = torch.nn.functional.one_hot(category, student.shape[1]).bool()
    p = torch.softmax(student / temperature, 1)
    q = torch.softmax(teacher / temperature, 1)

    def halves(x):
        return torch.stack([(x * own).sum(1), (x * ~own).sum(1)], 1)

    kl = torch.nn.functional.kl_div
    target = kl(halves(p).log(), halves(q), reduction="sum")
    log_others = torch.log_softmax(student / temperature - 1000.0 * own, 1)
    others = torch.softmax(teacher / temperature - 1000.0 * own, 1)
    rest = kl(log_others, others, reduction="sum")
    return (alpha * target + beta * rest) * temperature**2 / len(student)


def test_decoupled_when_weighted_then_that_of_the_authors_with_its_gradient():
    rows = np.flatnonzero(KNOWN)
    student = torch.tensor(STUDENT[rows], requires_grad=True)
    wanted = of_authors(
        student, torch.tensor(TEACHER[rows]), torch.tensor(CATEGORY[rows]).long(), 1.0, 8.0, T
    )
    wanted.backward()

    def loss(scores):
        parts = distillation.decoupled(scores, TEACHER, CATEGORY, temperature=T)
        return jnp.where(KNOWN, parts.target + 8.0 * parts.other, 0.0).sum() / len(rows)

    found, gradient = jax.value_and_grad(loss)(STUDENT)
    np.testing.assert_allclose(found, wanted.item(), rtol=1e-5)
    np.testing.assert_allclose(gradient[rows], student.grad.numpy(), rtol=1e-4, atol=1e-6)
    assert np.isfinite(gradient).all() and not np.abs(gradient[2]).any()


def test_decoupled_when_joined_then_the_whole_divergence():
    parts = distillation.decoupled(STUDENT, TEACHER, CATEGORY, temperature=T)
    p = softmax(TEACHER / T)[np.arange(B), CATEGORY]
    whole = distillation.divergence_from(STUDENT, TEACHER, temperature=T)
    joined = parts.target + (1 - p) * parts.other
    np.testing.assert_allclose(joined[KNOWN], whole[KNOWN], rtol=1e-5)


def test_relations_when_widths_differ_then_cosines_of_pairs_as_numpy():
    student, teacher = rng.normal(size=(B, 3)), rng.normal(size=(B, 8))
    known = np.arange(B) != 4
    found = distillation.relation_distance(
        jnp.asarray(student, jnp.float32), jnp.asarray(teacher, jnp.float32), jnp.asarray(known)
    )

    def cosines(x):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        return unit @ unit.T

    squares = (cosines(student[known]) - cosines(teacher[known])) ** 2
    n = known.sum()
    np.testing.assert_allclose(found.value(), squares.sum() / (n * n - n), **FP32)


def test_labels_when_the_teacher_is_sure_then_missing_ones_and_noisy_ones_are_its():
    sure = np.log(softmax(8.0 * np.eye(C)[[0, 1, 2, 3, 4, 0]])).astype(np.float32)
    sure[5] = np.log(1 / C)  # not sure
    sure[4] = np.nan  # no teacher
    given = np.array([-1, 3, 2, -1, 1, -1], np.int32)
    missing = distillation.corrected_labels(given, sure, confidence=0.9, noisy=False)
    np.testing.assert_array_equal(missing, [0, 3, 2, 3, 1, -1])
    noisy = distillation.corrected_labels(given, sure, confidence=0.9, noisy=True)
    np.testing.assert_array_equal(noisy, [0, 1, 2, 3, 1, -1])
