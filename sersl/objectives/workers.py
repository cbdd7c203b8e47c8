"""Regression of the prosody of masked frames."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from sersl.core.errors import unknown_name
from sersl.objectives.mean import Mean, at_least_float32, average


def _squared(error: jax.Array) -> jax.Array:
    return jnp.square(error)


def _huber(error: jax.Array) -> jax.Array:
    """Quadratic up to 1, linear beyond, to limit the weight of octave errors of the pitch."""
    size = jnp.abs(error)
    return jnp.where(size < 1.0, 0.5 * jnp.square(error), size - 0.5)


# Loss of each prosodic feature (names of sersl.audio.prosody).
PROSODY_LOSSES = {
    "log_f0": _huber,
    "voicing": _squared,
    "energy": _squared,
    "delta_log_f0": _huber,
    "delta_voicing": _squared,
    "delta_energy": _squared,
}


def prosody_regression(
    predicted: jax.Array, target: jax.Array, *, weights: jax.Array, names: Sequence[str]
) -> tuple[jax.Array, dict[str, Mean]]:
    """Compares predicted with measured prosody at masked frames.

    Args:
      predicted: [B, T, P].
      target: [B, T, P]; NaN where undefined, such as the pitch of unvoiced frames.
      weights: [B, T], weight of each frame, 0 if it was not masked; bool counts as 0 and 1.
      names: the P features, keys of PROSODY_LOSSES.

    Returns:
      (mean over features with a target of the mean over their targets, metrics: prosody and
      prosody_<name> for each).

    Raises:
      UserError: an unknown feature.
    """
    predicted = at_least_float32(predicted)
    means = {}
    for i, name in enumerate(names):
        if name not in PROSODY_LOSSES:
            raise unknown_name("prosodic feature", name, PROSODY_LOSSES)
        known = (weights != 0) & ~jnp.isnan(target[..., i])
        # Errors of undefined targets are 0 before the loss, so that no NaN enters a gradient.
        error = jnp.where(known, predicted[..., i] - jnp.where(known, target[..., i], 0.0), 0.0)
        means[f"prosody_{name}"] = Mean.of(
            PROSODY_LOSSES[name](error), jnp.where(known, weights, 0)
        )
    losses = jnp.stack([mean.value(empty=0.0) for mean in means.values()])
    present = jnp.stack([mean.is_counted() for mean in means.values()])
    loss = average(losses, present)
    return loss, {"prosody": Mean.of(loss, jnp.any(present)), **means}
