"""Updates that are not finite: kept out of the state on the device, counted on the host."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sersl.config.schema import TrainConfig
from sersl.core.errors import UserError
from sersl.objectives.mean import Mean

_WATCHED = ("loss", "gradient_norm")


def without_bad_updates(step: Callable) -> Callable:
    """Makes a training step that leaves the state alone where its loss or gradient is not finite.

    Args:
      step: as from `make_step`.

    Returns:
      A step with the same inputs and outputs. A step left out still counts, so that the batches
      go on; parameters, teacher and optimizer stay what they were, its count of updates included.
    """

    def guarded(state, batch, constants):
        new, metrics = step(state, batch, constants)
        finite = jnp.bool_(True)
        for name in _WATCHED:
            mean: Mean = metrics[name]
            finite &= jnp.isfinite(mean.total) & jnp.isfinite(mean.weight)
        kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
        return type(state)(new.step, kept.params, kept.teacher, kept.opt_state), metrics

    return guarded


class BadUpdates:
    """Counts updates that are not finite and says when there are too many."""

    def __init__(self, *, skip: bool, max_in_a_row: int):
        """Starts at none.

        Args:
          skip: whether the step leaves them out, see `without_bad_updates`.
          max_in_a_row: how many may follow each other; more stop the run.
        """
        self._skip, self._most = skip, max_in_a_row
        self._in_a_row = 0
        self.total = 0

    @classmethod
    def of(cls, train: TrainConfig) -> "BadUpdates":
        """Counts as the settings ask for."""
        return cls(skip=train.on_nan == "skip", max_in_a_row=train.max_skipped)

    def check(self, step: int, values: dict[str, float]) -> bool:
        """Looks at the values of a step.

        Args:
          step: updates done.
          values: name to value: gradient_norm and, unless nothing counted in it, loss.

        Returns:
          True where the update was finite; False where it was left out.

        Raises:
          UserError: it was not finite and the run is to stop.
        """
        if all(np.isfinite(values[name]) for name in _WATCHED if name in values):
            self._in_a_row = 0
            return True
        self._in_a_row += 1
        self.total += 1
        if self._skip and self._in_a_row <= self._most:
            return False
        bad = ", ".join(sorted(name for name, value in values.items() if not np.isfinite(value)))
        row = f"{self._in_a_row} updates in a row were left out, " if self._skip else ""
        raise UserError(
            f"training has diverged at step {step} ({row}not finite: {bad}): "
            "lower optimizer.learning_rate or optimizer.clip_norm in another workdir, where "
            "pretraining goes on from the last checkpoint with --config.resume_from=WORKDIR"
        )
