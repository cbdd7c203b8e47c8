"""Local and global mutual information: classify pairs as of the same utterance or not."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sersl.core.errors import UserError
from sersl.objectives.mean import Mean, at_least_float32


class Pairs(NamedTuple):
    """Anchors, and the frames that they are paired with; of chunks, the first frames.

    Attributes:
      anchor: int32 [B, A].
      positive: int32 [B, A], other frames of the same row.
      other: int32 [B], the row of another utterance; undefined for rows that are not counted.
      negative: int32 [B, A], frames of that row.
      counted: bool [B], rows with a positive and with another utterance in the batch.
    """

    anchor: jax.Array
    positive: jax.Array
    other: jax.Array
    negative: jax.Array
    counted: jax.Array


def draw_pairs(
    valid: jax.Array,
    identity: jax.Array,
    *,
    anchors: jax.Array | None = None,
    chunk: int = 1,
    key: jax.Array,
) -> Pairs:
    """Draws a positive from the same row and a negative from another utterance, per anchor.

    Args:
      valid: bool [B, T], real frames, which come first.
      identity: int32 [B], equal for crops of the same utterance, such as `utterance_index`; these
        are not negatives of each other. Negative for padding.
      anchors: int32 [B, A], frames of each row; None: one is drawn per row.
      chunk: number of frames from each draw on that must be real.
      key: PRNG key.

    Returns:
      Pairs; draws are uniform and with replacement, and a positive is never its own anchor.

    Raises:
      UserError: the batch has one row.

    Source: PASE (1904.03416), sec. 2.2.
    """
    num_rows = valid.shape[0]
    if num_rows < 2:
        raise UserError(
            "the batch has one row, and mutual information needs a second utterance to compare "
            "with: raise data.seconds_per_batch or lower data.max_seconds"
        )
    keys = jax.random.split(key, 4)
    starts = valid.sum(1) - chunk + 1  # number of positions where a chunk fits
    real = identity >= 0
    allowed = (identity[:, None] != identity[None, :]) & ((starts > 0) & real)[None, :]
    other = jnp.argmax(
        jnp.where(allowed, jax.random.uniform(keys[0], (num_rows, num_rows)), -1.0), axis=1
    ).astype(jnp.int32)
    if anchors is None:
        anchors = _below(starts[:, None], jax.random.uniform(keys[3], (num_rows, 1)))
    # One of the others: a draw from its own position on is moved by one.
    positive = _below(starts[:, None] - 1, jax.random.uniform(keys[1], anchors.shape))
    positive = positive + (positive >= anchors)
    return Pairs(
        anchors,
        positive,
        other,
        _below(starts[other][:, None], jax.random.uniform(keys[2], anchors.shape)),
        (starts > 1) & real & allowed.any(1),
    )


def take_chunks(hidden: jax.Array, first: jax.Array, *, chunk: int) -> jax.Array:
    """Averages one chunk of frames of each row of [B, T, D], from frames `first` [B] on: [B, D]."""
    frames = jnp.arange(hidden.shape[1])
    inside = (frames >= first[:, None]) & (frames < first[:, None] + chunk)
    return jnp.einsum("bt,btd->bd", inside.astype(jnp.float32), at_least_float32(hidden)) / chunk


def discriminate(
    positive: jax.Array, negative: jax.Array, *, counted: jax.Array, name: str
) -> tuple[jax.Array, dict[str, Mean]]:
    """Computes the binary cross-entropy of a discriminator.

    Args:
      positive: logits [...] of anchors paired with their own utterance.
      negative: logits [...] of the same anchors paired with another utterance.
      counted: bool, of a shape that broadcasts to theirs.
      name: of the metrics.

    Returns:
      (mean over anchors of -log s(positive) - log(1 - s(negative)), which is 2 log 2 at chance;
      metrics: <name>, <name>_accuracy over both kinds).

    Source: PASE (1904.03416), eq. 1.
    """
    positive, negative = at_least_float32(positive), at_least_float32(negative)
    mean = Mean.of(jax.nn.softplus(-positive) + jax.nn.softplus(negative), counted)
    right = 0.5 * ((positive > 0).astype(jnp.float32) + (negative < 0))
    return mean.value(empty=0.0), {name: mean, f"{name}_accuracy": Mean.of(right, counted)}


def _below(limit: jax.Array, uniform: jax.Array) -> jax.Array:
    """Maps uniform numbers in [0, 1) to ints in 0..limit - 1, or 0 if the limit is below 1."""
    limit = jnp.maximum(limit, 1)
    # A draw just below 1 may round up to the bound.
    return jnp.minimum((uniform * limit).astype(jnp.int32), limit - 1).astype(jnp.int32)
