"""Regression of the emotion intensity of frames."""

import jax
import jax.numpy as jnp

from sersl.objectives.mean import Mean, at_least_float32


def intensity_regression(
    predicted: jax.Array, target: jax.Array, *, weights: jax.Array
) -> tuple[jax.Array, dict[str, Mean]]:
    """Compares predicted with annotated intensity by absolute error.

    Args:
      predicted: [B, T].
      target: [B, T] in 0..1; NaN where unknown.
      weights: [B, T], weight of each frame, 0 if it does not count.

    Returns:
      (weighted mean of |predicted - target| over known frames, metrics: intensity).

    Source: EMS (2406.06646), L1 reconstruction of the intensity. Differs: one scalar per frame,
    which EMS repeats over all feature dimensions.
    """
    known = ~jnp.isnan(target)
    error = at_least_float32(predicted) - jnp.where(known, target, 0.0)
    mean = Mean.of(jnp.abs(error), jnp.where(known, weights, 0.0))
    return mean.value(empty=0.0), {"intensity": mean}
