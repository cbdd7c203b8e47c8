"""Supervised contrast: rows of the same category close, others far, over the global batch."""

import jax
import jax.numpy as jnp

from sersl.objectives.cosine import cosines
from sersl.objectives.mean import Mean
from sersl.objectives.whole_batch import need_whole_batch


def supervised_contrast(
    vectors: jax.Array, category: jax.Array, *, temperature: float
) -> tuple[jax.Array, dict[str, Mean]]:
    """Computes the supervised contrastive loss with one view of each row.

    For a row i with other rows P(i) of its category: -1/|P(i)| sum_p log softmax over all other
    labelled rows of cos(z_i, z_p) / temperature.

    Args:
      vectors: [B, W], projected embeddings of the whole batch.
      category: int32 [B]; -1 none.
      temperature: of the cosine.

    Returns:
      (mean over the rows that have another of their category, 0 if there are none, {"contrast"}).

    Raises:
      UserError: the batch comes in parts.

    Source: Khosla et al. 2020 (2004.11362), eq. 2.
    """
    need_whole_batch("heads.contrast_weight")
    logits = cosines(vectors, vectors) / temperature
    known = category >= 0
    others = known[:, None] & known[None] & ~jnp.eye(len(category), dtype=bool)
    same = others & (category[:, None] == category[None])
    logs = logits - jax.nn.logsumexp(jnp.where(others, logits, -1e30), axis=1, keepdims=True)
    count = same.sum(1)
    losses = -jnp.where(same, logs, 0.0).sum(1) / jnp.maximum(count, 1)
    mean = Mean.of(losses, count > 0)
    return mean.value(empty=0.0), {"contrast": mean}
