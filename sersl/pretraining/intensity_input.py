"""How frame intensity enters training beside masking: as an input, and as a weight of the loss."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.models.layers import truncated_normal


class IntensityInput(nnx.Module):
    """Adds intensity, along one learned direction, to the frames an encoder reads.

    Hidden frames show none, so that it cannot be copied into its own reconstruction. Whole rows
    show none at random: the encoder must also work where nobody has annotated anything, as in
    fine-tuning and prediction.

    Source: EMS (2406.06646), input x + 1 s. Differs: the direction is learned, it is added after
    the projection to the encoder's width, and rows go without.
    """

    def __init__(self, width: int, *, key: jax.Array):
        """Makes the direction; it starts about as long as a frame after its LayerNorm."""
        self.direction = nnx.Param(truncated_normal(key, (width,), std=1.0), axes=("embed",))

    def __call__(
        self,
        x: jax.Array,
        intensity: jax.Array,
        *,
        masked: jax.Array,
        dropout: float,
        key: jax.Array,
    ) -> jax.Array:
        """Adds what may be seen of the intensity.

        Args:
          x: [B, T, D].
          intensity: [B, T] in 0..1, NaN where unknown, which adds nothing.
          masked: bool [B, T], frames that show none.
          dropout: share of the rows that show none.
          key: PRNG key of those rows.

        Returns:
          Like x.
        """
        shown = jax.random.bernoulli(key, 1.0 - dropout, (x.shape[0], 1))
        seen = shown & ~masked & ~jnp.isnan(intensity)
        added = jnp.where(seen, intensity, 0.0)[..., None] * self.direction[...]
        return x + added.astype(x.dtype)


def frame_weights(
    valid: jax.Array, intensity: jax.Array | None, *, loss_weight: float
) -> jax.Array:
    """Says what the loss of each frame counts.

    Args:
      valid: bool [B, T].
      intensity: [B, T] in 0..1, NaN where unknown (counts as the row's mean); None where
        `loss_weight` is 0.
      loss_weight: a in 0..1: 0 counts all alike, 1 in proportion to intensity.

    Returns:
      float32 [B, T]: 1 - a + a * intensity / (mean over the row's known real frames), 0 at padding;
      the mean over a row's real frames is 1.
    """
    weights = valid.astype(jnp.float32)
    if loss_weight == 0.0:
        return weights
    known = valid & ~jnp.isnan(intensity)
    num_known = jnp.maximum(known.sum(1, keepdims=True), 1)
    mean = jnp.where(known, intensity, 0.0).sum(1, keepdims=True) / num_known
    # A row without any intensity, or all 0, counts all its frames alike.
    relative = jnp.where(known & (mean > 0), intensity / jnp.where(mean > 0, mean, 1.0), 1.0)
    return weights * (1.0 - loss_weight + loss_weight * relative)
