"""A context network that is given only the frames that are there, in as few columns as needed."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def on_present(
    network: Callable, x: jax.Array, present: jax.Array, *, most: int, key: jax.Array | None
) -> jax.Array:
    """Runs a context network on the frames that are present, side by side.

    What the network says of them is what it says with the others left out of attention, at the cost
    of `most` frames instead of T.

    Args:
      network: network(x, valid, key=key) -> [L + 1, B, M, D], which knows no positions itself.
      x: [B, T, D].
      present: bool [B, T], the frames to look at.
      most: frames of a row that are present at most; those beyond are lost.
      key: PRNG key of dropout; None: none.

    Returns:
      [L + 1, B, T, D]; frames that are not present hold finite numbers without meaning.
    """
    order = jnp.argsort(~present, axis=1, stable=True)[:, :most]
    kept = jnp.take_along_axis(x, order[..., None], axis=1)
    states = network(kept, jnp.take_along_axis(present, order, axis=1), key=key)
    back = jnp.clip(jnp.cumsum(present, axis=1) - 1, 0, most - 1)
    return jnp.take_along_axis(states, back[None, ..., None], axis=2)
