"""Reconstruction of input features of masked, altered or later frames."""

import jax
import jax.numpy as jnp

from sersl.core.errors import UserError
from sersl.objectives.mean import Mean, at_least_float32


def reconstruct(
    predicted: jax.Array, target: jax.Array, *, weights: jax.Array, name: str
) -> tuple[jax.Array, dict[str, Mean]]:
    """Compares features with the original ones by absolute error.

    Args:
      predicted: [B, T, F].
      target: [B, T, F], unaltered; no gradient flows into it.
      weights: [B, T, F] or [B, T, 1], weight of each position: where features were masked or
        altered (MockingJay, TERA), or real (NPC); 0 at padding.
      name: of the metric.

    Returns:
      (weighted mean of |predicted - target| over positions, metrics: <name>).

    Source: MockingJay (1910.12638), sec. 2.2; TERA (2007.06028), sec. 3.3; NPC (2011.00406), eq. 1.
    """
    target = jax.lax.stop_gradient(at_least_float32(target))
    mean = Mean.of(jnp.abs(at_least_float32(predicted) - target), weights)
    return mean.value(empty=0.0), {name: mean}


def predict_ahead(
    predicted: jax.Array, target: jax.Array, *, weights: jax.Array, frames: int
) -> tuple[jax.Array, dict[str, Mean]]:
    """Compares the prediction of a later frame with that frame by absolute error.

    Args:
      predicted: [B, T, F]; frame t predicts frame t + frames.
      target: [B, T, F]; no gradient flows into it.
      weights: [B, T], weight of each predicted frame; 0 at padding.
      frames: distance, 1 or more.

    Returns:
      (weighted mean of |predicted - target| over channels and predicted frames, 0 if every
      utterance is too short, metrics: apc).

    Raises:
      UserError: fewer than one frame ahead.

    Source: APC (1904.03240), eq. 1.
    """
    if frames < 1:
        raise UserError(f"objectives.apc.frames is {frames}: predict 1 frame or more ahead")
    target = jax.lax.stop_gradient(at_least_float32(target))[:, frames:]
    predicted = at_least_float32(predicted)[:, : target.shape[1]]
    mean = Mean.of(jnp.abs(predicted - target), weights[:, frames:, None])
    return mean.value(empty=0.0), {"apc": mean}
