"""The loss of two heads that choose rows for each other."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sersl.config.schema import FinetuneConfig, HeadsConfig
from sersl.objectives.supervision.category_losses import CategoryLabels, CategoryScores, Found
from sersl.objectives.supervision.co_teaching import kept_share, small_losses

Loss = Callable[[CategoryScores, CategoryLabels, HeadsConfig], Found]


def co_taught(
    compute: Loss,
    given: CategoryScores,
    peer: jax.Array,
    labels: CategoryLabels,
    config: FinetuneConfig,
    *,
    progress: jax.Array,
) -> Found:
    """Adds the losses of both heads, each on the rows of small loss of the other.

    Args:
      compute: the loss of one head.
      given: scores of the head that is released.
      peer: [B, C], scores of the other head.
      labels: of the rows.
      config: of the run.
      progress: share of the steps that are done, a scalar.

    Returns:
      (loss, metrics of the released head on the rows that it learns, and peer_loss).

    Source: Han et al. 2018 (1804.06872), algorithm 1. Differs: two heads, which share encoder and
    pooling, in place of two networks.
    """
    share = kept_share(progress, noise=config.co_teaching.noise, ramp=config.co_teaching.ramp)

    def on_rows_of(scores: jax.Array) -> CategoryLabels:
        kept = small_losses(scores, labels.category, share)
        return labels._replace(category=jnp.where(kept, labels.category, -1))

    loss, metrics = compute(given, on_rows_of(peer), config.heads)
    other = given._replace(scores=peer)
    peer_loss, found = compute(other, on_rows_of(given.scores), config.heads)
    return loss + peer_loss, {**metrics, "peer_loss": found["category_loss"]}
