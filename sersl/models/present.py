"""Fewer frames than there are, to save computation."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


def on_present(
    network: Callable[..., jax.Array],
    x: jax.Array,
    present: jax.Array,
    *,
    most: int,
    key: jax.Array | None,
) -> jax.Array:
    """Runs a context network on the present frames, packed to the front of each row.

    The outputs are those with the other frames masked from attention, at the cost of `most` frames
    instead of T.

    Args:
      network: network(x, valid, key=key) -> [L + 1, B, M, D], which must not use positions.
      x: [B, T, D].
      present: bool [B, T], the frames to keep.
      most: the largest number of present frames of a row; more are dropped.
      key: PRNG key of dropout; None: none.

    Returns:
      [L + 1, B, T, D], finite but undefined at frames that are not present.
    """
    order = jnp.argsort(~present, axis=1, stable=True)[:, :most]
    kept = jnp.take_along_axis(x, order[..., None], axis=1)
    states = network(kept, jnp.take_along_axis(present, order, axis=1), key=key)
    back = jnp.clip(jnp.cumsum(present, axis=1) - 1, 0, most - 1)
    return jnp.take_along_axis(states, back[None, ..., None], axis=2)


def draw_frames(
    states: jax.Array, valid: jax.Array, *, share: float, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Draws a share of the real frames of each row without replacement, in their order.

    Args:
      states: [L, B, T, D].
      valid: bool [B, T], real frames, which come first.
      share: of the real frames, rounded up.
      key: PRNG key.

    Returns:
      ([L, B, M, D], bool [B, M]) with M = ceil(share T).
    """
    num_frames = valid.shape[1]
    most = math.ceil(share * num_frames)
    draws = jnp.where(valid, jax.random.uniform(key, valid.shape), 2.0)
    counts = jnp.ceil(share * valid.sum(1)).astype(jnp.int32)
    # The frames with the lowest draws, back in their order.
    rank = jnp.argsort(jnp.argsort(draws, axis=1), axis=1)
    chosen = jnp.where(
        rank < jnp.minimum(counts, most)[:, None], jnp.arange(num_frames), num_frames
    )
    drawn = jnp.sort(chosen, axis=1)[:, :most]
    index = jnp.minimum(drawn, num_frames - 1)
    kept = jnp.take_along_axis(states, index[None, ..., None], axis=2)
    return kept, drawn < num_frames
