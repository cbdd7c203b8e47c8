"""A context network that runs on the present frames only, to save computation."""

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
