"""Emotion intensity as an input of the encoder, and as a weight of the loss."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.models.layers import truncated_normal
from sersl.pretraining.masking import repeat_rows


class IntensityInput(nnx.Module):
    """A learned direction along which intensity is added to the projected features.

    Masked frames show no intensity, so that it cannot be copied into its own reconstruction. Random
    rows show none at all: the encoder must also work without annotation, as in fine-tuning and
    prediction.

    Source: EMS (2406.06646), input x + 1 s. Differs: the direction is learned, it is added after
    the projection to the encoder's width, and random rows go without.
    """

    def __init__(self, width: int, *, key: jax.Array):
        """Makes the direction; it starts about as long as a frame after its LayerNorm."""
        self.direction = nnx.Param(truncated_normal(key, (width,), std=1.0), axes=("embed",))

    def __call__(
        self,
        intensity: jax.Array,
        *,
        masked: jax.Array | None,
        clones: int,
        dropout: float,
        key: jax.Array,
    ) -> jax.Array:
        """Computes what to add to the projected features.

        Args:
          intensity: [B, T] in 0..1, NaN where unknown, which adds nothing.
          masked: bool [B * clones, T], frames that show none; None: all show theirs.
          clones: copies of each row, side by side.
          dropout: fraction of the rows of the batch that show none, in all copies.
          key: PRNG key of these rows.

        Returns:
          float32 [B * clones, T, D].
        """
        shown = jax.random.bernoulli(key, 1.0 - dropout, (intensity.shape[0], 1))
        shown = shown & ~jnp.isnan(intensity)
        intensity, shown = (repeat_rows(x, clones) for x in (intensity, shown))
        if masked is not None:
            shown = shown & ~masked
        return jnp.where(shown, intensity, 0.0)[..., None] * self.direction[...]


def frame_weights(
    valid: jax.Array, intensity: jax.Array | None, *, loss_weight: float
) -> jax.Array:
    """Computes the weight of each frame in a loss from its intensity.

    Args:
      valid: bool [B, T].
      intensity: [B, T] in 0..1; NaN where unknown, which counts as the row's mean. None where
        `loss_weight` is 0.
      loss_weight: a in 0..1: 0 weighs all frames alike, 1 in proportion to intensity.

    Returns:
      float32 [B, T]: 1 - a + a * intensity / (mean over the row's known real frames), 0 at padding;
      the mean over a row's real frames is 1.
    """
    weights = valid.astype(jnp.float32)
    if loss_weight == 0.0:
        return weights
    if intensity is None:
        raise ValueError("knowledge.loss_weight above 0 needs the intensity of the batch")
    known = valid & ~jnp.isnan(intensity)
    num_known = jnp.maximum(known.sum(1, keepdims=True), 1)
    mean = jnp.where(known, intensity, 0.0).sum(1, keepdims=True) / num_known
    # In a row without intensity, or of intensity 0, all frames weigh the same.
    relative = jnp.where(known & (mean > 0), intensity / jnp.where(mean > 0, mean, 1.0), 1.0)
    return weights * (1.0 - loss_weight + loss_weight * relative)
