"""Two networks that choose for each other the rows whose labels are likely to be right."""

import jax
import jax.numpy as jnp

from sersl.objectives.mean import at_least_float32
from sersl.objectives.whole_batch import need_whole_batch


def kept_share(progress: jax.Array, *, noise: float, ramp: float) -> jax.Array:
    """Computes the share of labelled rows that are kept: from 1 down to 1 - noise.

    Args:
      progress: share of the steps that are done, a scalar.
      noise: share of wrong labels.
      ramp: share of the steps after which it is reached.

    Source: Han et al. 2018 (1804.06872), algorithm 1, with R(T) = 1 - min(T / T_k noise, noise).
    """
    return 1.0 - noise * jnp.minimum(progress / ramp, 1.0)


def small_losses(scores: jax.Array, category: jax.Array, share: jax.Array) -> jax.Array:
    """Chooses the labelled rows of smallest cross-entropy over the whole batch.

    Args:
      scores: [B, C], logarithms of probabilities up to a constant of the row.
      category: int32 [B]; -1 none.
      share: of the labelled rows, rounded up to whole rows.

    Returns:
      bool [B], without gradient.

    Raises:
      UserError: the batch comes in parts.

    Source: Han et al. 2018 (1804.06872), algorithm 1.
    """
    need_whole_batch("co_teaching.noise")
    logs = jax.nn.log_softmax(at_least_float32(scores))
    labelled = category >= 0
    own = jnp.take_along_axis(logs, jnp.maximum(category, 0)[:, None], axis=-1)[:, 0]
    losses = jax.lax.stop_gradient(jnp.where(labelled, -own, jnp.inf))
    rank = jnp.argsort(jnp.argsort(losses, stable=True), stable=True)
    # Without the tolerance 0.8 of 10 rows may become 9 by rounding.
    number = jnp.ceil(share * labelled.sum() - 1e-3)
    return labelled & (rank < number)
