"""The turns of padded dialogues: which are real, who speaks, and what each may read."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

SAME, OTHER = 1, 2  # values of `relations`; 0 where one of the two turns is padding


class Turns(NamedTuple):
    """Dialogues with U slots each; padding is behind the last turn.

    Attributes:
      relations: int8 [G, U, U], `SAME` or `OTHER` speaker of two turns.
      real: bool [G, U].
    """

    relations: jax.Array
    real: jax.Array

    @classmethod
    def of(cls, relations: jax.Array) -> "Turns":
        """Reads int8 [G * U, U], the rows of a batch."""
        size = relations.shape[-1]
        found = relations.reshape(-1, size, size)
        return cls(found, jnp.diagonal(found, axis1=1, axis2=2) == SAME)

    def reversed(self) -> "Turns":
        """Reverses the real turns; padding stays behind them."""
        order = self.backwards
        rows = jnp.take_along_axis(self.relations, order[:, :, None], axis=1)
        return Turns(jnp.take_along_axis(rows, order[:, None, :], axis=2), self.real)

    @property
    def backwards(self) -> jax.Array:
        """Order of the slots, int32 [G, U], that reverses the real turns."""
        slots = jnp.arange(self.real.shape[1])
        last = self.real.sum(1, keepdims=True) - 1
        return jnp.where(self.real, last - slots, slots)

    def window(self, past: int, future: int) -> jax.Array:
        """Tells which turns a turn may read: bool [G, t, s], itself included."""
        slots = jnp.arange(self.real.shape[1])
        ahead = slots - slots[:, None]
        return (self.relations > 0) & (ahead >= -past) & (ahead <= future)

    def previous_of_speaker(self) -> jax.Array:
        """Finds the last turn of the same speaker before each: int32 [G, U]; -1 without one."""
        slots = jnp.arange(self.real.shape[1])
        before = (self.relations == SAME) & (slots < slots[:, None])
        return jnp.where(before, slots, -1).max(-1)
