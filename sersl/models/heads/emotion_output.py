"""The outputs of an emotion model, and probabilities from its logits."""

from typing import NamedTuple

import jax


class EmotionOutput(NamedTuple):
    """Outputs of a model for a batch, all float32.

    Attributes:
      category: [B, C] scores, whose softmax is the probability of each category; C = 0 for a model
        without categories.
      dimensions: [B, D], in 0..1 where `heads.bounded`, in the order of the model's dimensions.
      embedding: [B, E], the pooled vector, input of the heads or of the context before them; of
        several views with a fusion.
      frames: [B, T, C] logits of the same head for the second around each frame; 0 at padding;
        T = 0 where the pooling gives no vector per frame, and with a fusion.
      by_annotator: [B, A, C] logits of each annotator, or None.
      evidence: [B, D, 3] of a normal-inverse-gamma distribution of each dimension, or None.
      shared: [B, U], what the output layer of the first head reads, for other losses.
      by_view: [B, E'] of the main encoder and of each further view, or None.
      views_present: bool [B, V], which of them a row has, or None.
      states: [B, T, D'] frames that were pooled, before a projection; None where vectors are kept.
      inner: [E + 1, B, D], standardized mean over time of the layers that `training_heads` reads
        and of the last one; None without such heads.
    """

    category: jax.Array
    dimensions: jax.Array
    embedding: jax.Array
    frames: jax.Array
    by_annotator: jax.Array | None = None
    evidence: jax.Array | None = None
    shared: jax.Array | None = None
    states: jax.Array | None = None
    inner: jax.Array | None = None
    by_view: tuple[jax.Array, ...] | None = None
    views_present: jax.Array | None = None


def probabilities(logits: jax.Array, *, multi: bool) -> jax.Array:
    """Turns logits [..., C] into probabilities: of one category, or of each where several apply."""
    return jax.nn.sigmoid(logits) if multi else jax.nn.softmax(logits, axis=-1)
