"""Supervised losses of fine-tuning: categories by cross-entropy, dimensions by concordance."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sersl.objectives.mean import Mean, at_least_float32, average
from sersl.objectives.whole_batch import num_parts, over_batch, over_batch_constant

# In the denominator of the concordance: two equal constants give 0 agreement, not NaN. Dimensions
# lie in 0..1 and vary by 0.01 to 0.05 (variance), so it moves a score by less than 1e-6.
_EPSILON = 1e-8
_MIDDLE = 0.5  # of the dimensions, which are stored 0..1


def cross_entropy(
    logits: jax.Array,
    category: jax.Array,
    *,
    probabilities: jax.Array | None = None,
    class_weights: jax.Array | None = None,
    label_smoothing: float = 0.0,
) -> tuple[jax.Array, dict[str, Mean]]:
    """Computes the class-weighted cross-entropy over the rows that have a label.

    A row's loss is -sum_c q_c log p_c with q = (1 - s) y + s / C, where y is the shares of the
    raters' votes or else the one-hot category, and its weight is sum_c y_c w_c; the mean divides
    by the sum of weights. Differs from torch, which also weights the smoothed share by class.

    Args:
      logits: [B, C].
      category: int32 [B]; -1 none.
      probabilities: float [B, C], rows that sum to 1, before the category; NaN none. None: only
        categories.
      class_weights: float [C]; None: all 1.
      label_smoothing: s in [0, 1).

    Returns:
      (loss, 0 where no row has a label; metrics: category_loss, and category_accuracy over the
      rows with a category, of equal weight).
    """
    logits = at_least_float32(logits)
    wanted = category_targets(
        category,
        logits.shape[-1],
        probabilities=probabilities,
        class_weights=class_weights,
        dtype=logits.dtype,
    )
    losses = -(wanted.smoothed(label_smoothing) * jax.nn.log_softmax(logits)).sum(-1)
    mean = Mean.of(losses, wanted.weights)
    return mean.value(empty=0.0), {
        "category_loss": mean,
        "category_accuracy": Mean.of(logits.argmax(-1) == category, category >= 0),
    }


class CategoryTargets(NamedTuple):
    """What is wanted of each row.

    Attributes:
      shares: float [B, C], of the categories; rows without a label are those of the first category.
      weights: float [B], 0 without a label.
    """

    shares: jax.Array
    weights: jax.Array

    def smoothed(self, share: float) -> jax.Array:
        """Spreads a share of every target over all categories: [B, C]."""
        return (1.0 - share) * self.shares + share / self.shares.shape[-1]


def category_targets(
    category: jax.Array,
    num_categories: int,
    *,
    probabilities: jax.Array | None = None,
    class_weights: jax.Array | None = None,
    dtype: jnp.dtype | type = jnp.float32,
) -> CategoryTargets:
    """Turns categories, or the shares of votes where they are known, into targets and weights.

    Args:
      category: int32 [B]; -1 none.
      num_categories: C.
      probabilities: float [B, C], before the category; NaN none. None: only categories.
      class_weights: float [C]; None: all 1.
      dtype: of the result.

    Returns:
      The targets; a row weighs sum_c y_c w_c.
    """
    labelled = category >= 0
    labels = jax.nn.one_hot(jnp.where(labelled, category, 0), num_categories, dtype=dtype)
    if probabilities is not None:
        voted = ~jnp.isnan(probabilities[:, 0])
        labels = jnp.where(voted[:, None], jnp.nan_to_num(probabilities), labels)
        labelled = labelled | voted
    weights = labelled.astype(dtype)
    if class_weights is not None:
        weights = weights * (labels * jnp.asarray(class_weights)).sum(-1)
    return CategoryTargets(labels, weights)


def concordance(
    predicted: jax.Array, target: jax.Array, *, names: Sequence[str]
) -> tuple[jax.Array, dict[str, Mean]]:
    """Computes 1 - CCC, the mean over the dimensions that have at least two labels.

    CCC is not a mean over rows: its moments are sums over the rows of the whole batch, also if the
    batch comes in parts (`sersl.objectives.whole_batch`).

    Args:
      predicted: [B, D].
      target: [B, D]; NaN none, per value.
      names: the D dimensions.

    Returns:
      (loss, 0 where no dimension has two labels; metrics: dimensions_loss, and ccc_<name>).

    Source: Lin (1989); population moments: 2 cov / (var + var' + (mean - mean')^2).
    """
    predicted = at_least_float32(predicted)
    known = ~jnp.isnan(target)
    weights = known.astype(predicted.dtype)
    num_known = over_batch_constant(weights.sum(0))
    num = jnp.maximum(num_known, 1.0)
    x = jnp.where(known, predicted, 0.0)
    y = jnp.where(known, target, 0.0)
    # Moments around a point near the means lose no digits, and all parts must take the same one.
    whole = num_parts() == 1
    near_x = jax.lax.stop_gradient(x.sum(0)) / num if whole else _MIDDLE
    near_y = y.sum(0) / num if whole else _MIDDLE
    dx, dy = (x - near_x) * weights, (y - near_y) * weights
    mean_x, mean_y = over_batch(dx.sum(0)) / num, over_batch_constant(dy.sum(0)) / num
    covariance = over_batch((dx * dy).sum(0)) / num - mean_x * mean_y
    squares = over_batch((jnp.square(dx) + jnp.square(dy)).sum(0)) / num
    spread = squares - jnp.square(mean_x) - jnp.square(mean_y)
    difference = mean_x + near_x - mean_y - near_y
    ccc = 2.0 * covariance / (spread + jnp.square(difference) + _EPSILON)
    enough = num_known >= 2
    loss = average(1.0 - ccc, enough)
    return loss, {
        "dimensions_loss": Mean.of(loss, jnp.any(enough)),
        **{f"ccc_{name}": Mean.of(ccc[i], enough[i]) for i, name in enumerate(names)},
    }
