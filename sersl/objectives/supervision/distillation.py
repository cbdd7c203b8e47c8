"""Losses against a teacher's answers: of one utterance, and between the utterances of a batch."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sersl.objectives.cosine import cosines
from sersl.objectives.mean import Mean, at_least_float32
from sersl.objectives.whole_batch import need_whole_batch


class Parts(NamedTuple):
    """The divergence of a row, in two parts.

    Attributes:
      target: [B], between the probabilities of the target category and of all others together.
      other: [B], between the probabilities of the others, given that it is one of them.
    """

    target: jax.Array
    other: jax.Array


def divergence_from(scores: jax.Array, teacher: jax.Array, *, temperature: float) -> jax.Array:
    """Computes T^2 KL(teacher, student) of softmax(scores / T) for each row.

    Args:
      scores: [B, C], logarithms of probabilities up to a constant of the row.
      teacher: [B, C], as `scores`; NaN where there is none.
      temperature: T.

    Returns:
      [B], 0 where there is no teacher.

    Source: Hinton et al. 2015 (1503.02531), sec. 2; born-again networks, Furlanello et al. 2018
    (1805.04770), with T = 1.
    """
    student, wanted = _logs(scores, teacher, temperature)
    return temperature**2 * (jnp.exp(wanted) * (wanted - student)).sum(-1)


def decoupled(
    scores: jax.Array, teacher: jax.Array, category: jax.Array, *, temperature: float
) -> Parts:
    """Splits T^2 KL(teacher, student) of each row at the target category.

    With the probability p of the target, the divergence is `target` + (1 - p) `other`, where p is
    the teacher's.

    Args:
      scores: [B, C], logarithms of probabilities up to a constant of the row.
      teacher: [B, C], as `scores`; NaN where there is none.
      category: int32 [B], the target; -1 none.
      temperature: T.

    Source: Zhao et al. 2022 (2203.08679), eq. 5 to 7; for speech emotion in DKDFMH (2303.05134).
    """
    student, wanted = _logs(scores, teacher, temperature)
    own = jax.nn.one_hot(jnp.maximum(category, 0), scores.shape[-1], dtype=bool)

    def split(logs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        rest = jax.nn.logsumexp(logs, axis=-1, where=~own)
        target = jnp.where(own, logs, 0.0).sum(-1)
        return target, rest, logs - rest[:, None]

    (p, rest, others), (q, student_rest, student_others) = split(wanted), split(student)
    target = jnp.exp(p) * (p - q) + jnp.exp(rest) * (rest - student_rest)
    gaps = jnp.where(own, 0.0, jnp.exp(others) * (others - student_others))
    square = temperature**2
    return Parts(square * target, square * gaps.sum(-1))


def relation_distance(student: jax.Array, teacher: jax.Array, known: jax.Array) -> Mean:
    """Compares the cosine similarities between the utterances of a batch.

    Args:
      student: [B, U].
      teacher: [B, V], of the same rows.
      known: bool [B], rows that have a teacher.

    Returns:
      Mean of the squared difference over all pairs of different rows.

    Source: similarity-preserving distillation, Tung & Mori 2019 (1907.09682), eq. 2 to 4; differs:
    cosines, where each row of the matrix of products is normalized there.
    """
    need_whole_batch("distill.kind='cubic'")
    shown = (jnp.where(known[:, None], x, 0.0) for x in (student, teacher))
    ours, theirs = (cosines(x, x) for x in shown)
    pairs = known[:, None] & known & ~jnp.eye(len(known), dtype=bool)
    return Mean.of(jnp.square(ours - jax.lax.stop_gradient(theirs)), pairs)


def corrected_labels(
    category: jax.Array,
    teacher: jax.Array,
    *,
    confidence: float,
    noisy: bool,
) -> jax.Array:
    """Takes the teacher's category where there is none, or where the teacher contradicts it.

    Args:
      category: int32 [B]; -1 none.
      teacher: [B, C], logarithms of probabilities; NaN where there is none.
      confidence: least probability of the teacher's category.
      noisy: whether categories that are there are replaced too.

    Returns:
      int32 [B].
    """
    known = ~jnp.isnan(teacher[:, 0])
    logs = jax.nn.log_softmax(jnp.where(known[:, None], at_least_float32(teacher), 0.0))
    sure = known & (logs.max(-1) >= jnp.log(jnp.maximum(confidence, 1e-30)))
    return jnp.where(
        sure & (noisy | (category < 0)), logs.argmax(-1).astype(category.dtype), category
    )


def _logs(scores: jax.Array, teacher: jax.Array, temperature: float) -> tuple[jax.Array, jax.Array]:
    """Computes logarithms of both softened probabilities, equal where there is no teacher."""
    student = jax.nn.log_softmax(at_least_float32(scores) / temperature)
    known = ~jnp.isnan(teacher[:, :1])
    safe = jnp.where(known, at_least_float32(teacher), 0.0)
    wanted = jax.nn.log_softmax(safe / temperature)
    return student, jax.lax.stop_gradient(jnp.where(known, wanted, student))
