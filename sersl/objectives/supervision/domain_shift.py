"""Distances between the vectors of labelled source rows and of unlabelled target rows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sersl.objectives.mean import Mean, at_least_float32
from sersl.objectives.whole_batch import need_whole_batch, over_batch, over_batch_constant

_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernels, times the mean squared distance
_FAR = 1e30


class Sides(NamedTuple):
    """Which rows are of which side.

    Attributes:
      source: bool [B].
      target: bool [B].
    """

    source: jax.Array
    target: jax.Array


def mean_discrepancy(vectors: jax.Array, sides: Sides) -> tuple[jax.Array, dict[str, Mean]]:
    """Computes the squared maximum mean discrepancy with five Gaussian kernels, averaged.

    The widths are 1/4 to 4 times the mean squared distance of the rows, which gets no gradient.

    Args:
      vectors: [B, W] of the whole batch.
      sides: of the rows.

    Returns:
      (biased estimate, 0 where a side is empty, {"domain_loss"}).

    Raises:
      UserError: the batch comes in parts.

    Source: Gretton et al. 2012, eq. 5; several kernels as in DAN (1502.02791), eq. 3.
    """
    need_whole_batch("domain.kind='mmd'")
    squares = _squared_distances(vectors, vectors)
    counted = (sides.source | sides.target).astype(squares.dtype)
    pairs = counted[:, None] * counted
    # Without the diagonal, which is 0.
    mean = (squares * pairs).sum() / jnp.maximum(pairs.sum() - counted.sum(), 1.0)
    width = jax.lax.stop_gradient(jnp.maximum(mean, 1e-12))
    kernel = sum(jnp.exp(-squares / (factor * width)) for factor in _WIDTHS) / len(_WIDTHS)
    signed = _share(sides.source) - _share(sides.target)
    return _loss(signed @ kernel @ signed, sides)


def covariance_distance(vectors: jax.Array, sides: Sides) -> tuple[jax.Array, dict[str, Mean]]:
    """Computes the squared Frobenius distance of the two covariances over 4 W^2.

    Args:
      vectors: [B, W]; the batch may come in parts.
      sides: of the rows.

    Returns:
      (distance, 0 where a side has fewer than two rows, {"domain_loss"}).

    Source: Deep CORAL (1607.01719), eq. 1-3.
    """
    vectors = at_least_float32(vectors)
    found = []
    enough = jnp.array(True)
    for side in sides:
        weights = side.astype(vectors.dtype)
        num = over_batch_constant(weights.sum())
        enough &= num >= 2
        total = over_batch(weights @ vectors)
        products = over_batch((weights[:, None] * vectors).T @ vectors)
        mean_product = jnp.outer(total, total) / jnp.maximum(num, 1.0)
        found.append((products - mean_product) / jnp.maximum(num - 1.0, 1.0))
    distance = jnp.square(found[0] - found[1]).sum() / (4.0 * vectors.shape[-1] ** 2)
    loss = jnp.where(enough, distance, 0.0)
    return loss, {"domain_loss": Mean.of(loss, enough)}


def transport_cost(
    vectors: jax.Array, sides: Sides, *, entropy: float, iterations: int
) -> tuple[jax.Array, dict[str, Mean]]:
    """Computes the cost of moving source rows onto target rows by the entropic optimal plan.

    Costs are squared distances over their mean, which gets no gradient; nor does the plan.

    Args:
      vectors: [B, W] of the whole batch.
      sides: of the rows, of equal weight within each side.
      entropy: weight of the plan's entropy.
      iterations: of Sinkhorn's algorithm.

    Returns:
      (sum of plan times cost, 0 where a side is empty, {"domain_loss"}).

    Raises:
      UserError: the batch comes in parts.

    Source: Cuturi 2013 (1306.0895), algorithm 1, in logarithms; for adaptation DeepJDOT
    (1803.10081).
    """
    need_whole_batch("domain.kind='ot'")
    squares = _squared_distances(vectors, vectors)
    first, second = _share(sides.source), _share(sides.target)
    pairs = first[:, None] * second
    scale = jax.lax.stop_gradient(jnp.maximum((pairs * squares).sum(), 1e-12))
    plan = sinkhorn(jax.lax.stop_gradient(squares) / scale, first, second, entropy, iterations)
    return _loss((plan * squares).sum() / scale, sides)


def sinkhorn(
    cost: jax.Array, first: jax.Array, second: jax.Array, entropy: float, iterations: int
) -> jax.Array:
    """Computes the entropic optimal plan between two distributions.

    Args:
      cost: [M, N].
      first: [M], sums to 1.
      second: [N], sums to 1.
      entropy: weight of the plan's entropy.
      iterations: of rows and columns in turn.

    Returns:
      [M, N], whose columns sum to `second`; rows sum to `first` in the limit.
    """
    log_first, log_second = (jnp.where(w > 0, jnp.log(jnp.maximum(w, 1e-30)), -_FAR)
                             for w in (first, second))  # fmt: skip
    kernel = -cost / entropy

    def update(_, duals):
        f, g = duals
        f = log_first - jax.nn.logsumexp(kernel + g[None], axis=1)
        f = jnp.where(first > 0, f, -_FAR)
        g = log_second - jax.nn.logsumexp(kernel + f[:, None], axis=0)
        return f, jnp.where(second > 0, g, -_FAR)

    start = (jnp.zeros_like(first), jnp.where(second > 0, 0.0, -_FAR))
    f, g = jax.lax.fori_loop(0, iterations, update, start)
    return jnp.where(first[:, None] * second > 0, jnp.exp(f[:, None] + g[None] + kernel), 0.0)


def information_maximization(
    scores: jax.Array, rows: jax.Array, *, confidence: float
) -> tuple[jax.Array, dict[str, Mean]]:
    """Makes predictions sure of single rows and spread over all, with sure ones as pseudo-labels.

    Args:
      scores: [B, C]; the batch may come in parts.
      rows: bool [B], the unlabelled rows.
      confidence: least probability of a prediction that becomes a label.

    Returns:
      (mean entropy of the rows - entropy of their mean + mean cross-entropy of the pseudo-labels,
      {"domain_loss", "pseudo_labelled": fraction of the rows}).

    Source: SHOT (2002.08546), eq. 3; differs: pseudo-labels are the model's own sure predictions
    (FixMatch, 2001.07685, eq. 4), not those of nearest centroids.
    """
    logs = jax.nn.log_softmax(at_least_float32(scores))
    probabilities = jnp.exp(logs)
    weights = rows.astype(logs.dtype)
    num = over_batch_constant(weights.sum())
    mean = over_batch(weights @ probabilities) / jnp.maximum(num, 1.0)
    # 0 log 0 = 0, without its infinite gradient: no row is counted, or a probability underflows.
    spread = -(mean * jnp.log(jnp.maximum(mean, 1e-30))).sum()
    sure = Mean.of(-(probabilities * logs).sum(-1), rows)
    label = jax.lax.stop_gradient(probabilities.argmax(-1))
    chosen = rows & (jax.lax.stop_gradient(probabilities.max(-1)) >= confidence)
    own = Mean.of(-jnp.take_along_axis(logs, label[:, None], axis=1)[:, 0], chosen)
    loss = sure.value(empty=0.0) + own.value(empty=0.0) - spread
    return loss, {
        "domain_loss": Mean.of(loss, num > 0),
        "pseudo_labelled": Mean.of(chosen, rows),
    }


def margin_disparity(
    adversary: jax.Array, scores: jax.Array, sides: Sides, *, margin: float
) -> tuple[jax.Array, dict[str, Mean]]:
    """Computes what an adversary minimizes that agrees with a classifier on the source side only.

    With the classifier's category c of each row: margin times the mean of -log p_c over source
    rows, plus the mean of -log(1 - p_c) over target rows. Features that get the reversed gradient
    make the two sides alike for it (margin disparity discrepancy).

    Args:
      adversary: [B, C], logits; the batch may come in parts.
      scores: [B, C] of the classifier, without gradient.
      sides: of the rows.
      margin: weight of the source side, gamma.

    Returns:
      (loss, 0 where a side is empty, {"domain_loss"}).

    Source: Zhang et al. 2019 (1904.05801), eq. 28 to 30; in CTL-MTNet (2207.10644).
    """
    logs = jax.nn.log_softmax(at_least_float32(adversary))
    own = jax.nn.one_hot(scores.argmax(-1), scores.shape[-1], dtype=bool)
    agree = Mean.of(-jnp.where(own, logs, 0.0).sum(-1), sides.source)
    differ = Mean.of(-jax.nn.logsumexp(logs, axis=-1, where=~own), sides.target)
    both = agree.is_counted() & differ.is_counted()
    total = margin * agree.value(empty=0.0) + differ.value(empty=0.0)
    loss = jnp.where(both, total, 0.0)
    return loss, {"domain_loss": Mean.of(loss, both)}


def _squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    x, y = at_least_float32(x), at_least_float32(y)
    product = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.square(x).sum(-1)[:, None] + jnp.square(y).sum(-1) - 2.0 * product
    return jnp.maximum(squares, 0.0)


def _share(side: jax.Array) -> jax.Array:
    weights = side.astype(jnp.float32)
    return weights / jnp.maximum(weights.sum(), 1.0)


def _loss(value: jax.Array, sides: Sides) -> tuple[jax.Array, dict[str, Mean]]:
    both = sides.source.any() & sides.target.any()
    loss = jnp.where(both, value, 0.0)
    return loss, {"domain_loss": Mean.of(loss, both)}
