"""Anchor: keep the layers of a continued encoder near those that it started from."""

import jax
import jax.numpy as jnp

from sersl.objectives.mean import Mean, at_least_float32

_LEAST = 1e-5  # added to the variance of a frame, as in LayerNorm


def anchor(
    states: jax.Array, targets: jax.Array, *, weights: jax.Array
) -> tuple[jax.Array, dict[str, Mean]]:
    """Measures the distance of every layer to the same layer of a frozen start.

    The squared error of a frame is divided by the variance of the target over its channels, so that
    layers of different scale count the same: 1 is as far as the mean of the frame.

    Args:
      states: [L + 1, B, T, D] of the student.
      targets: [L + 1, B, T, D] of the start; no gradient flows into them.
      weights: [B, T], weight of each frame, 0 at padding; bool counts as 0 and 1.

    Returns:
      (mean over layers and frames, {"anchor": the same}).

    Source: the L2 penalty towards pretrained features of DELTA (1901.09229), here per frame and
    without attention.
    """
    states = at_least_float32(states)
    targets = jax.lax.stop_gradient(at_least_float32(targets))
    error = jnp.square(states - targets).mean(-1) / (targets.var(-1) + _LEAST)
    mean = Mean.of(error.mean(0), weights)
    return mean.value(empty=0.0), {"anchor": mean}
