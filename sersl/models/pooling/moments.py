"""Weighted moments over the frames of an utterance, whole and around each frame."""

import jax
import jax.numpy as jnp

# Frames that a local vector looks at: 25 on each side, about one second.
LOCAL_FRAMES = 51
MIN_VARIANCE = 1e-5  # under the root of the deviation, whose gradient is infinite at 0


def whole_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Averages values [B, T, H, d] by weights [B, T, K, H] to [B, K, H, d], 0 without weight."""
    return jnp.einsum("btkh,bthd->bkhd", _shares(weights), values)


def whole_deviation(values: jax.Array, weights: jax.Array, mean: jax.Array) -> jax.Array:
    """Computes standard deviations.

    Args:
      values: [B, T, H, d].
      weights: [B, T, K, H].
      mean: [B, K, H, d], from `whole_mean`.

    Returns:
      [B, K, H, d], at least MIN_VARIANCE^1/2.
    """
    # Around the mean, not as a difference of squares, which loses digits.
    centred = values[:, :, None] - mean[:, None]
    variance = jnp.einsum("btkh,btkhd->bkhd", _shares(weights), jnp.square(centred))
    return jnp.sqrt(variance + MIN_VARIANCE)


def local_moments(
    values: jax.Array, weights: jax.Array, *, deviation: bool
) -> tuple[jax.Array, ...]:
    """Computes mean, and the standard deviation if asked for, over the 51 frames around each frame.

    Args:
      values: [B, T, H, d].
      weights: [B, T, K, H].
      deviation: whether to compute it.

    Returns:
      One or two arrays [B, T, K, H, d].
    """
    near = _near(values.shape[1])
    total = jnp.einsum("ts,bskh->btkh", near, weights)[..., None]
    total = jnp.where(total > 0, total, 1.0)

    def average(x: jax.Array) -> jax.Array:
        return jnp.einsum("ts,bskhd->btkhd", near, weights[..., None] * x[:, :, None]) / total

    mean = average(values)
    if not deviation:
        return (mean,)
    variance = average(jnp.square(values)) - jnp.square(mean)
    return mean, jnp.sqrt(jnp.maximum(variance, 0.0) + MIN_VARIANCE)


def whole_maximum(values: jax.Array, valid: jax.Array) -> jax.Array:
    """Takes the maximum of values [..., B, T, D] over valid [B, T] frames; 0 where none is."""
    real = valid[..., None]
    largest = jnp.where(real, values, -jnp.inf).max(-2)
    return jnp.where(valid.any(-1)[..., None], largest, 0.0)


def local_maximum(values: jax.Array, valid: jax.Array) -> jax.Array:
    """Takes the maximum over the valid [B, T] ones of the 51 frames around each: [B, T, D]."""
    side = LOCAL_FRAMES // 2
    shown = jnp.where(valid[..., None], values, -jnp.inf)
    largest = jax.lax.reduce_window(
        shown,
        -jnp.inf,
        jax.lax.max,
        (1, LOCAL_FRAMES, 1),
        (1, 1, 1),
        ((0, 0), (side, side), (0, 0)),
    )
    return jnp.where(jnp.isfinite(largest), largest, 0.0)


def correlations(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Computes the correlation of every pair of channels over time.

    Args:
      values: [B, T, D].
      weights: [B, T].

    Returns:
      [B, D (D - 1) / 2], the strictly upper triangle of the correlation matrix, row by row.

    Source: Stafylakis et al. 2021 (2104.02571), sec. 3, with the weights of Kakouros et al. 2023
    (2211.01756), eq. 1-4.
    """
    share = _shares(weights)
    mean = jnp.einsum("bt,btd->bd", share, values)
    centred = values - mean[:, None]
    covariance = jnp.einsum("btd,bte->bde", share[..., None] * centred, centred)
    variance = jnp.einsum("bt,btd->bd", share, jnp.square(centred))
    scale = jax.lax.rsqrt(variance + MIN_VARIANCE)
    rows, columns = jnp.triu_indices(values.shape[-1], 1)
    return (covariance * scale[:, :, None] * scale[:, None])[:, rows, columns]


def exponential_weights(scores: jax.Array, valid: jax.Array) -> jax.Array:
    """Computes exp(score - largest score) of real frames.

    Args:
      scores: [B, T, ...].
      valid: bool [B, T].

    Returns:
      [B, T, ...], 0 at padding; `whole_mean` divides by the sum, which makes a softmax.
    """
    real = valid.reshape(*valid.shape, *(1,) * (scores.ndim - 2))
    # The largest is subtracted against overflow; a row without real frames has none.
    largest = jnp.where(real, scores, -jnp.inf).max(1, keepdims=True)
    largest = jax.lax.stop_gradient(jnp.where(jnp.isfinite(largest), largest, 0.0))
    return jnp.where(real, jnp.exp(jnp.where(real, scores, 0.0) - largest), 0.0)


def _shares(weights: jax.Array) -> jax.Array:
    """Divides weights [B, T, ...] by their sum over frames; zeros where it is 0."""
    total = weights.sum(1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1.0)


def _near(num_frames: int) -> jax.Array:
    """float32 [T, T], 1 for pairs of frames at most 25 apart."""
    frames = jnp.arange(num_frames)
    distance = jnp.abs(frames[:, None] - frames)
    return (distance <= LOCAL_FRAMES // 2).astype(jnp.float32)
