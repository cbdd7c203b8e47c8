"""Utterance mixing: adds another utterance to a part of the student's input, not to its targets."""

import jax
import jax.numpy as jnp

from sersl.config.schema import MixingConfig
from sersl.parallel.rows import take_rows

_LEAST_ENERGY = 1e-10  # mean square of a row; a row below it is silent and not mixed


def mix_utterances(
    waveform: jax.Array, valid: jax.Array, *, config: MixingConfig, key: jax.Array
) -> jax.Array:
    """Adds a segment of another row of the batch to some rows.

    A row is mixed with the configured probability. The length of the segment is between one sample
    and `max_share` of the row. Its positions in both rows are random. It is scaled so that the
    row's mean energy is a random number of decibels above that of the other row. A batch of one
    row is returned as it is.

    Args:
      waveform: [B, N], 16 kHz, all rows of the global batch.
      valid: bool [B, N], real samples, which come first.
      config: probability, longest share and range of decibels.
      key: PRNG key.

    Returns:
      [B, N]; not clipped to [-1, 1].

    Source: WavLM (2110.13900), sec. 3.2 and algorithm 1, utterance mixing.
    """
    num_rows, num_samples = waveform.shape
    if num_rows == 1 or config.probability == 0.0:
        return waveform
    draws = jax.random.uniform(key, (6, num_rows))
    rows = jnp.arange(num_rows)
    other = (rows + 1 + (draws[0] * (num_rows - 1)).astype(jnp.int32)) % num_rows
    other = jnp.where(other == rows, (rows + 1) % num_rows, other)  # if a draw rounds up to 1
    lengths = valid.sum(1)
    # No longer than either row, so that the segment is real audio of both.
    longest = jnp.minimum((config.max_share * lengths).astype(jnp.int32), lengths[other])
    length = jnp.minimum((draws[1] * longest).astype(jnp.int32) + 1, longest)
    start = (draws[2] * (lengths - length + 1)).astype(jnp.int32)
    from_ = (draws[3] * (lengths[other] - length + 1)).astype(jnp.int32)
    energy = jnp.square(jnp.where(valid, waveform, 0.0)).sum(1) / jnp.maximum(lengths, 1)
    span = config.highest_db - config.lowest_db
    ratio = 10.0 ** ((config.lowest_db + span * draws[4]) / 10.0)
    scale = jnp.sqrt(energy / (ratio * jnp.maximum(energy[other], _LEAST_ENERGY)))
    audible = (energy > _LEAST_ENERGY) & (energy[other] > _LEAST_ENERGY)
    mixed = (draws[5] < config.probability) & audible
    at = jnp.arange(num_samples)
    inside = (at >= start[:, None]) & (at < (start + length)[:, None]) & mixed[:, None]
    where = jnp.clip(at + (from_ - start)[:, None], 0, num_samples - 1)
    added = jnp.take_along_axis(take_rows(waveform, other), where, axis=1) * scale[:, None]
    return waveform + jnp.where(inside, added, 0.0)
