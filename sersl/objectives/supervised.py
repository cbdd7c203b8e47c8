"""Supervised losses of fine-tuning: categories by cross-entropy, dimensions by concordance."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from sersl.objectives.mean import Mean, at_least_float32

# In the denominator of the concordance: two equal constants give 0 agreement, not NaN. Dimensions
# lie in 0..1 and vary by 0.01 to 0.05 (variance), so it moves a score by less than 1e-6.
_EPSILON = 1e-8


def cross_entropy(
    logits: jax.Array,
    category: jax.Array,
    *,
    class_weights: jax.Array | None = None,
    label_smoothing: float = 0.0,
) -> tuple[jax.Array, dict[str, Mean]]:
    """Computes the class-weighted cross-entropy over the rows that have a category.

    A row's loss is -sum_c q_c log p_c with q = (1 - s) onehot + s / C, and its weight that of its
    category; the mean divides by the sum of weights. Differs from torch, which also weights the
    smoothed share by class.

    Args:
      logits: [B, C].
      category: int32 [B]; -1 none.
      class_weights: float [C]; None: all 1.
      label_smoothing: s in [0, 1).

    Returns:
      (loss, 0 where no row has a category; metrics: category_loss, and category_accuracy over
      rows of equal weight).
    """
    logits = at_least_float32(logits)
    known = category >= 0
    num_categories = logits.shape[-1]
    label = jnp.where(known, category, 0)
    onehot = jax.nn.one_hot(label, num_categories, dtype=logits.dtype)
    target = (1.0 - label_smoothing) * onehot + label_smoothing / num_categories
    losses = -(target * jax.nn.log_softmax(logits)).sum(-1)
    weights = known.astype(logits.dtype)
    if class_weights is not None:
        weights = weights * jnp.asarray(class_weights)[label]
    mean = Mean.of(losses, weights)
    return mean.value(empty=0.0), {
        "category_loss": mean,
        "category_accuracy": Mean.of(logits.argmax(-1) == label, known),
    }


def concordance(
    predicted: jax.Array, target: jax.Array, *, names: Sequence[str]
) -> tuple[jax.Array, dict[str, Mean]]:
    """Computes 1 - CCC, the mean over the dimensions that have at least two labels.

    The batch must be the global one: CCC is no mean over rows, so parts of a batch cannot be
    averaged.

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
    num = jnp.maximum(weights.sum(0), 1.0)
    x = jnp.where(known, predicted, 0.0)
    y = jnp.where(known, target, 0.0)
    mean_x, mean_y = x.sum(0) / num, y.sum(0) / num
    dx, dy = (x - mean_x) * weights, (y - mean_y) * weights
    covariance = (dx * dy).sum(0) / num
    spread = (jnp.square(dx) + jnp.square(dy)).sum(0) / num
    ccc = 2.0 * covariance / (spread + jnp.square(mean_x - mean_y) + _EPSILON)
    enough = known.sum(0) >= 2
    overall = Mean.of(1.0 - ccc, enough)
    loss = overall.value(empty=0.0)
    return loss, {
        "dimensions_loss": Mean.of(loss, jnp.any(enough)),
        **{f"ccc_{name}": Mean.of(ccc[i], enough[i]) for i, name in enumerate(names)},
    }
