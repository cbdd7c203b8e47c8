"""The EMA teacher: which part of the parameters it averages, and how fast it follows them."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from sersl.config.schema import TeacherConfig
from sersl.objectives.distill import ema_decay, ema_update


@dataclass(frozen=True)
class EmaTeacher:
    """An exponential moving average of some subtrees of the parameters.

    Attributes:
      names: top-level names of these subtrees.
      config: decay at the start and at the end, and the steps between.
    """

    names: tuple[str, ...]
    config: TeacherConfig

    def part(self, tree: dict[str, Any]) -> dict[str, Any]:
        """Selects the averaged subtrees of a tree with the structure of the parameters."""
        return {name: tree[name] for name in self.names}

    def make(self, params: dict[str, Any]) -> dict[str, Any]:
        """Makes the first teacher, a copy of the student."""
        return jax.tree.map(jnp.copy, self.part(params))

    def update(
        self, teacher: dict[str, Any], params: dict[str, Any], step: jax.Array
    ) -> dict[str, Any]:
        """Moves the teacher towards the updated parameters; `step` updates were done before."""
        return ema_update(teacher, self.part(params), self.decay(step))

    def decay(self, step: jax.Array) -> jax.Array:
        """Gives the share of the teacher that stays in an update, float32 scalar in 0..1."""
        return ema_decay(step, self.config)
