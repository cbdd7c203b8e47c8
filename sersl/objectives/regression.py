"""Regression of known values of frames, chunks or utterances, and its balance over workers."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from sersl.core.errors import unknown_name
from sersl.objectives.mean import Mean, at_least_float32, average


def _huber(error: jax.Array) -> jax.Array:
    """Quadratic up to 1, linear beyond."""
    size = jnp.abs(error)
    return jnp.where(size < 1.0, 0.5 * jnp.square(error), size - 0.5)


# Losses of an error by name.
ERROR_LOSSES = {"l1": jnp.abs, "squared": jnp.square, "huber": _huber}
# Those of prosodic features (names of sersl.audio.prosody); Huber limits the weight of octave
# errors of the pitch.
PROSODY_LOSSES = {
    "log_f0": "huber",
    "voicing": "squared",
    "energy": "squared",
    "delta_log_f0": "huber",
    "delta_voicing": "squared",
    "delta_energy": "squared",
}


def regression(
    predicted: jax.Array, target: jax.Array, *, weights: jax.Array, loss: str, name: str
) -> tuple[jax.Array, dict[str, Mean]]:
    """Compares predicted with known values of frames, chunks or utterances.

    Args:
      predicted: [..., F].
      target: [..., F]; NaN where unknown. No gradient flows into it.
      weights: [...], weight of each frame, chunk or utterance; bool counts as 0 and 1.
      loss: of an error: l1, squared, huber.
      name: of the metric.

    Returns:
      (weighted mean over the known values, 0 if there are none, {name: the same}).

    Raises:
      UserError: unknown loss.

    Source: the regression workers of PASE (1904.03416), sec. 2.2.
    """
    if loss not in ERROR_LOSSES:
        raise unknown_name("loss of a worker", loss, ERROR_LOSSES)
    predicted = at_least_float32(predicted)
    target = jax.lax.stop_gradient(target)
    known = (weights != 0)[..., None] & ~jnp.isnan(target)
    error = jnp.where(known, predicted - jnp.where(known, target, 0.0), 0.0)
    mean = Mean.of(ERROR_LOSSES[loss](error), jnp.where(known, weights[..., None], 0))
    return mean.value(empty=0.0), {name: mean}


def prosody_regression(
    predicted: jax.Array, target: jax.Array, *, weights: jax.Array, names: Sequence[str]
) -> tuple[jax.Array, dict[str, Mean]]:
    """Compares predicted with measured prosody.

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
    means: dict[str, Mean] = {}
    for i, name in enumerate(names):
        if name not in PROSODY_LOSSES:
            raise unknown_name("prosodic feature", name, PROSODY_LOSSES)
        means |= regression(
            predicted[..., i, None],
            target[..., i, None],
            weights=weights,
            loss=PROSODY_LOSSES[name],
            name=f"prosody_{name}",
        )[1]
    losses = jnp.stack([mean.value(empty=0.0) for mean in means.values()])
    present = jnp.stack([mean.is_counted() for mean in means.values()])
    loss = average(losses, present)
    return loss, {"prosody": Mean.of(loss, jnp.any(present)), **means}


def with_context(values: jax.Array, valid: jax.Array, *, radius: int) -> jax.Array:
    """Concatenates each frame with its neighbours.

    Args:
      values: [B, T, F].
      valid: bool [B, T].
      radius: r, neighbours on each side.

    Returns:
      [B, T, (2 r + 1) F], the earliest neighbour first; NaN for a neighbour that is not real, so
      that a regression does not count it.

    Source: the context of PASE+ (2001.09239), sec. 3.2, with r = 7 frames of 10 ms.
    """
    num_frames = values.shape[1]
    known = jnp.where(valid[..., None], values, jnp.nan)
    padded = jnp.pad(known, ((0, 0), (radius, radius), (0, 0)), constant_values=jnp.nan)
    return jnp.concatenate([padded[:, i : i + num_frames] for i in range(2 * radius + 1)], axis=-1)


def chunk_means(values: jax.Array, valid: jax.Array, *, frames: int) -> tuple[jax.Array, jax.Array]:
    """Averages consecutive chunks of frames.

    Args:
      values: [B, T, F]; NaN where unknown.
      valid: bool [B, T].
      frames: of a chunk; an incomplete chunk at the end is left out.

    Returns:
      (mean of the real, known values [B, T // frames, F], NaN if there are none; bool
      [B, T // frames], chunks whose frames are all real).
    """
    cut, known, real = _chunks(values, valid, frames)
    num = known.sum(2)
    mean = jnp.where(known, cut, 0.0).sum(2) / jnp.maximum(num, 1)
    return jnp.where(num > 0, mean, jnp.nan), real


def chunk_deviations(values: jax.Array, valid: jax.Array, *, frames: int) -> jax.Array:
    """Computes the population standard deviation of consecutive chunks of frames.

    Args:
      values: [B, T, F]; NaN where unknown.
      valid: bool [B, T].
      frames: of a chunk.

    Returns:
      [B, T // frames, F]; NaN if fewer than two values are known.
    """
    cut, known, _ = _chunks(values, valid, frames)
    num = known.sum(2)
    mean = jnp.where(known, cut, 0.0).sum(2) / jnp.maximum(num, 1)
    centred = jnp.where(known, cut - mean[:, :, None], 0.0)
    deviation = jnp.sqrt(jnp.square(centred).sum(2) / jnp.maximum(num, 1))
    return jnp.where(num > 1, deviation, jnp.nan)


def balance(losses: jax.Array, log_variances: jax.Array, *, counted: jax.Array) -> jax.Array:
    """Adds losses, each weighted by a learned uncertainty.

    Args:
      losses: [W]; at log-variance 0 each has weight 1.
      log_variances: [W], s.
      counted: bool [W], losses with at least one value in the batch; others are left out.

    Returns:
      Scalar sum of exp(-s) L + s. Its minimum is at s = log L, where all terms have equal weight.

    Source: Kendall et al. 2018 (1705.07115), eq. 7; doubled, so that it starts as the plain sum.
    """
    each = jnp.exp(-log_variances) * losses + log_variances
    return jnp.where(counted, each, 0.0).sum()


def _chunks(
    values: jax.Array, valid: jax.Array, frames: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns values [B, C, frames, F], which are known, and which chunks are all real [B, C]."""
    rows, num_frames, width = values.shape
    num = num_frames // frames
    cut = values[:, : num * frames].reshape(rows, num, frames, width)
    real = valid[:, : num * frames].reshape(rows, num, frames)
    return cut, real[..., None] & ~jnp.isnan(cut), real.all(-1)
