"""Losses of categories by name: arrays in, (loss, means) out.

The head of a loss (`sersl.models.category_heads`) gives scores whose softmax is the probability of
each category: logits; for "evidential" the logarithms of the parameters of a Dirichlet
distribution; for "prototypes" -d^2 / temperature; for "ordinal" the logarithms of probabilities;
for "annotators" and "listeners" the logarithm of the mean probability.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln, xlogy

from sersl.config.schema import HeadsConfig
from sersl.objectives.mean import Mean, at_least_float32
from sersl.objectives.supervised import CategoryTargets, category_targets, cross_entropy

Found = tuple[jax.Array, dict[str, Mean]]


class CategoryScores(NamedTuple):
    """What a head gives.

    Attributes:
      scores: [B, C], logarithms of probabilities up to a constant of the row.
      by_annotator: [B, A, C], logits of every annotator, or None.
      step: updates done, a scalar.
    """

    scores: jax.Array
    by_annotator: jax.Array | None = None
    step: jax.Array | int = 0


class CategoryLabels(NamedTuple):
    """What is known of each row.

    Attributes:
      category: int32 [B]; -1 none.
      probabilities: float [B, C], shares of the raters' votes, before the category; NaN none. None:
        only categories.
      class_weights: float [C], or None: all 1.
      by_annotator: int32 [B, A], the category that each annotator chose; -1 none. None: unknown.
    """

    category: jax.Array
    probabilities: jax.Array | None = None
    class_weights: jax.Array | None = None
    by_annotator: jax.Array | None = None


def softmax_cross_entropy(
    given: CategoryScores, labels: CategoryLabels, heads: HeadsConfig
) -> Found:
    """Computes `cross_entropy` with the weights and the smoothing of the settings."""
    return cross_entropy(
        given.scores,
        labels.category,
        probabilities=labels.probabilities,
        class_weights=labels.class_weights,
        label_smoothing=heads.label_smoothing,
    )


def focal(given: CategoryScores, labels: CategoryLabels, heads: HeadsConfig) -> Found:
    """Computes -sum_c q_c (1 - p_c)^gamma log p_c, where q is the smoothed target.

    Source: Lin et al. 2017 (1708.02002), eq. 4, with class weights as its alpha (eq. 5).
    """
    logs = jax.nn.log_softmax(at_least_float32(given.scores))
    wanted = _targets(logs, labels)
    # 1 - p as -expm1(log p) keeps its digits near p = 1; the power has no gradient at 0.
    rest = jnp.maximum(-jnp.expm1(logs), 1e-7)
    losses = -(wanted.smoothed(heads.label_smoothing) * rest**heads.focal_gamma * logs).sum(-1)
    return _mean(losses, wanted, logs, labels)


def divergence(given: CategoryScores, labels: CategoryLabels, heads: HeadsConfig) -> Found:
    """Computes KL(shares of the votes, probabilities); a row without votes has its category.

    Its gradient is that of the cross-entropy with the same targets; it is 0 where both agree.
    """
    logs = jax.nn.log_softmax(at_least_float32(given.scores))
    wanted = _targets(logs, labels)
    target = wanted.smoothed(heads.label_smoothing)
    losses = (xlogy(target, target) - target * logs).sum(-1)
    return _mean(losses, wanted, logs, labels)


def evidential(given: CategoryScores, labels: CategoryLabels, heads: HeadsConfig) -> Found:
    """Computes the loss of a Dirichlet distribution over the probabilities.

    With alpha = exp(scores) and S their sum: sum_c y_c (psi(S) - psi(alpha_c)), plus, with a weight
    that rises linearly to `heads.evidence_weight` over `heads.evidence_steps` steps,
    KL(Dir(y + (1 - y) alpha), Dir(1)), which removes evidence for wrong categories.

    Source: Sensoy et al. 2018 (1806.01768), eq. 4 and the annealed KL of sec. 4; as used for
    speech emotion in audEERING's SER-UQ.
    """
    scores = at_least_float32(given.scores)
    wanted = _targets(scores, labels)
    alpha = jnp.exp(scores)
    total = alpha.sum(-1, keepdims=True)
    fit = (wanted.shares * (digamma(total) - digamma(alpha))).sum(-1)
    penalty = dirichlet_divergence(wanted.shares + (1.0 - wanted.shares) * alpha)
    share = jnp.minimum(1.0, given.step / max(heads.evidence_steps, 1))
    losses = fit + heads.evidence_weight * share * penalty
    loss, metrics = _mean(losses, wanted, scores, labels)
    vacuity = alpha.shape[-1] / total[:, 0]
    return loss, metrics | {"vacuity": Mean.of(vacuity, wanted.weights != 0)}


def dirichlet_divergence(alpha: jax.Array) -> jax.Array:
    """Computes KL(Dir(alpha), Dir(1)) over the last dimension: [..., C] to [...]."""
    num = alpha.shape[-1]
    total = alpha.sum(-1, keepdims=True)
    constant = gammaln(total[..., 0]) - math.lgamma(num) - gammaln(alpha).sum(-1)
    return constant + ((alpha - 1.0) * (digamma(alpha) - digamma(total))).sum(-1)


def prototypes(given: CategoryScores, labels: CategoryLabels, heads: HeadsConfig) -> Found:
    """Computes the cross-entropy of distances to prototypes, and pulls rows to their own.

    Scores are -d^2 / temperature. The pull is `heads.prototype_pull` times the mean of the squared
    distance to the row's own prototype, without which open space is not kept open.

    Source: distances as in Snell et al. 2017 (1703.05175), eq. 2; learned prototypes and the pull
    as in Yang et al. 2018 (1805.03438), eq. 6 and 9. With `heads.prototype_refinement` r the target
    is (1 - r) label + r softmax(scores), without gradient, which lets ambiguous utterances keep two
    categories: targets refined by prototypes as in PiCO (2201.08984), eq. 7, at every step.
    """
    wanted = _targets(at_least_float32(given.scores), labels)
    share = heads.prototype_refinement
    if share:
        near = jax.lax.stop_gradient(jax.nn.softmax(at_least_float32(given.scores)))
        refined = (1.0 - share) * wanted.shares + share * near
        refined = jnp.where(wanted.weights[:, None] != 0, refined, jnp.nan)
        loss, metrics = softmax_cross_entropy(given, labels._replace(probabilities=refined), heads)
    else:
        loss, metrics = softmax_cross_entropy(given, labels, heads)
    squares = -heads.temperature * (wanted.shares * given.scores).sum(-1)
    mean = Mean.of(squares, wanted.weights)
    pull = heads.prototype_pull * mean.value(empty=0.0)
    return loss + pull, metrics | {"prototype_distance": mean}


def annotators(given: CategoryScores, labels: CategoryLabels, heads: HeadsConfig) -> Found:
    """Computes the cross-entropy of every annotator's own scores over the rows that they labelled.

    Source: one output per annotator on shared layers, Davani et al. 2022 (2110.05719), sec. 3.2,
    and Tavernor et al. 2024 for emotion; the probabilities of the model are the mean over all.
    """
    if given.by_annotator is None or labels.by_annotator is None:
        raise ValueError("there are no annotators")
    num = given.by_annotator.shape[-1]
    flat = labels.by_annotator.reshape(-1)
    loss, metrics = cross_entropy(
        given.by_annotator.reshape(-1, num),
        flat,
        class_weights=labels.class_weights,
        label_smoothing=heads.label_smoothing,
    )
    hits = Mean.of(given.scores.argmax(-1) == labels.category, labels.category >= 0)
    return loss, {
        "category_loss": metrics["category_loss"],
        "annotator_accuracy": metrics["category_accuracy"],
        "category_accuracy": hits,
    }


class CategoryLoss(NamedTuple):
    """A loss and what it needs.

    Attributes:
      compute: given scores, labels and settings, the loss and its metrics.
      needs: labels beside categories that the data must have: "votes", "annotators" or "".
    """

    compute: Callable[[CategoryScores, CategoryLabels, HeadsConfig], Found]
    needs: Literal["", "votes", "annotators"] = ""


CATEGORY_LOSSES: dict[str, CategoryLoss] = {
    "cross_entropy": CategoryLoss(softmax_cross_entropy),
    "focal": CategoryLoss(focal),
    "votes": CategoryLoss(divergence, needs="votes"),
    "annotators": CategoryLoss(annotators, needs="annotators"),
    "listeners": CategoryLoss(annotators, needs="annotators"),
    "evidential": CategoryLoss(evidential),
    "prototypes": CategoryLoss(prototypes),
    # The head makes probabilities of ordered thresholds; their negative logarithm is the loss.
    "ordinal": CategoryLoss(softmax_cross_entropy),
}


def _targets(scores: jax.Array, labels: CategoryLabels) -> CategoryTargets:
    return category_targets(
        labels.category,
        scores.shape[-1],
        probabilities=labels.probabilities,
        class_weights=labels.class_weights,
        dtype=scores.dtype,
    )


def _mean(
    losses: jax.Array, wanted: CategoryTargets, scores: jax.Array, labels: CategoryLabels
) -> Found:
    mean = Mean.of(losses, wanted.weights)
    hits = Mean.of(scores.argmax(-1) == labels.category, labels.category >= 0)
    return mean.value(empty=0.0), {"category_loss": mean, "category_accuracy": hits}
