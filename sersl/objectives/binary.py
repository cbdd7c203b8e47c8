"""Binary cross-entropy of categories of which several may apply."""

import jax
import jax.numpy as jnp

from sersl.objectives.mean import Mean, at_least_float32


def binary_cross_entropy(
    logits: jax.Array,
    target: jax.Array,
    *,
    positive_weights: jax.Array | None = None,
    label_smoothing: float = 0.0,
) -> tuple[jax.Array, dict[str, Mean]]:
    """Computes the binary cross-entropy over the known labels, each category on its own.

    Of a label y it is -(w q log p + (1 - q) log(1 - p)) with q = (1 - s) y + s / 2, as torch's
    `BCEWithLogitsLoss` with `pos_weight` of smoothed labels; the mean is over all known labels.

    Args:
      logits: [B, C].
      target: float [B, C], 1 applies, 0 does not; NaN not known, per value. Shares between 0 and 1
        are labels too.
      positive_weights: w, float [C]; None: all 1.
      label_smoothing: s in [0, 1).

    Returns:
      (loss, 0 where nothing is known; metrics: category_loss, and category_accuracy, the share of
      known labels on whose side of one half the probability is).
    """
    logits = at_least_float32(logits)
    known = ~jnp.isnan(target)
    label = jnp.where(known, target, 0.0).astype(logits.dtype)
    smooth = (1.0 - label_smoothing) * label + label_smoothing / 2
    positive = -jax.nn.log_sigmoid(logits)
    if positive_weights is not None:
        positive = positive * jnp.asarray(positive_weights)
    losses = smooth * positive - (1.0 - smooth) * jax.nn.log_sigmoid(-logits)
    mean = Mean.of(losses, known)
    return mean.value(empty=0.0), {
        "category_loss": mean,
        "category_accuracy": Mean.of((logits > 0) == (label > 0.5), known),
    }
