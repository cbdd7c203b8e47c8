"""Alteration of features as in MockingJay and TERA: zeros, other frames, a zeroed band, noise."""

import jax
import jax.numpy as jnp

from sersl.config.schema import AlterationConfig
from sersl.core.errors import UserError
from sersl.models.frontend import band_mask


def alter_features(
    features: jax.Array,
    *,
    valid: jax.Array,
    masked: jax.Array,
    config: AlterationConfig,
    num_mels: int,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Alters the features of masked frames and, if configured, a band and the magnitude.

    One draw per row decides for all masked frames: zeros, frames of the same row at a random
    distance (wrapping around its ends), or no change. A band of mel filters is zeroed in every
    frame. Noise is added to all frames of a row and does not add positions to predict.

    Args:
      features: [B, T, F], normalised, so that 0 is the mean; F a multiple of `num_mels`.
      valid: bool [B, T], real frames, which come first.
      masked: bool [B, T], frames to alter.
      config: shares of rows, widest band and standard deviation of the noise.
      num_mels: number of filters of each window of a frame.
      key: PRNG key.

    Returns:
      (altered features, 0 at padding; bool [B, T, F], positions to predict: all features of masked
      frames, altered or not, and the zeroed band of the others).

    Raises:
      UserError: shares that add up to more than 1, or features that are not mel filters.

    Source: MockingJay (1910.12638), sec. 2.2; TERA (2007.06028), sec. 3.2.
    """
    if config.zero_share + config.swap_share > 1.0:
        raise UserError(
            f"alteration.zero_share={config.zero_share:g} and alteration.swap_share="
            f"{config.swap_share:g} add up to more than 1: lower one of them"
        )
    if features.shape[-1] % num_mels:
        raise UserError(
            "masking.replace 'features' alters log-mel features: set frontend.kind to 'log_mel' or "
            "masking.replace to 'embedding'"
        )
    num_rows = len(features)
    keys = jax.random.split(key, 5)
    dice = jax.random.uniform(keys[0], (num_rows, 1, 1))
    # All frames of a row come from the same distance, never 0, so that their order stays.
    num_real = valid.sum(1)[:, None]
    others = jnp.maximum(num_real - 1, 1)
    distance = 1 + (jax.random.uniform(keys[1], (num_rows, 1)) * others).astype(jnp.int32)
    distance = jnp.minimum(distance, others)
    source = (jnp.arange(features.shape[1]) + distance) % jnp.maximum(num_real, 1)
    swapped = jnp.take_along_axis(features, source[..., None], axis=1)
    instead = jnp.where(dice < config.zero_share, 0.0, swapped)
    hidden = masked[..., None] & (dice < config.zero_share + config.swap_share)
    altered = jnp.where(hidden, instead, features)
    sought = jnp.broadcast_to(masked[..., None], features.shape)
    widest = round(config.band_share * num_mels)
    if widest:
        band = band_mask(num_rows, num_mels=num_mels, width=widest, key=keys[2])
        # The same filters in all windows of a frame.
        band = jnp.tile(band, (1, features.shape[-1] // num_mels))[:, None, :]
        altered = jnp.where(band, 0.0, altered)
        sought = sought | band
    if config.noise_share:
        noisy = jax.random.uniform(keys[3], (num_rows, 1, 1)) < config.noise_share
        noise = config.noise_std * jax.random.normal(keys[4], features.shape, jnp.float32)
        altered = altered + jnp.where(noisy, noise, 0.0)
    real = valid[..., None]
    return jnp.where(real, altered, 0.0), sought & real
