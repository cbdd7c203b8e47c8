"""Updates that are not finite: skipped on the device, counted on the host."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sersl.config.schema import TrainConfig
from sersl.core.errors import UserError
from sersl.objectives.mean import Mean

_WATCHED = ("loss", "gradient_norm")


def without_bad_updates(step: Callable) -> Callable:
    """Makes a training step that skips an update whose loss or gradient is not finite.

    Args:
      step: as from `make_step`.

    Returns:
      A step with the same inputs and outputs. A skipped step still counts, so the next batch
      follows; parameters, teacher and optimizer state, with its count of updates, do not change.
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
    """Counts updates that are not finite, and raises an error when there are too many."""

    def __init__(self, *, skip: bool, max_in_a_row: int):
        """Starts at 0.

        Args:
          skip: whether the step skips such updates, see `without_bad_updates`.
          max_in_a_row: largest number of skipped updates in a row.
        """
        self._skip, self._most = skip, max_in_a_row
        self._in_a_row = 0
        self.total = 0

    @classmethod
    def of(cls, train: TrainConfig) -> "BadUpdates":
        """Reads the settings."""
        return cls(skip=train.on_nan == "skip", max_in_a_row=train.max_skipped)

    def check(self, step: int, values: dict[str, float]) -> bool:
        """Checks the values of a step.

        Args:
          step: updates done.
          values: name to value: gradient_norm and, unless nothing counted in it, loss.

        Returns:
          True if the update was finite, False if it was skipped.

        Raises:
          UserError: the update was not finite and the run must stop.
        """
        if all(np.isfinite(values[name]) for name in _WATCHED if name in values):
            self._in_a_row = 0
            return True
        self._in_a_row += 1
        self.total += 1
        if self._skip and self._in_a_row <= self._most:
            return False
        bad = ", ".join(sorted(name for name, value in values.items() if not np.isfinite(value)))
        row = f"{self._in_a_row} updates in a row were skipped, " if self._skip else ""
        raise UserError(
            f"training has diverged at step {step} ({row}not finite: {bad}): "
            "lower optimizer.learning_rate or optimizer.clip_norm in another workdir; pretraining "
            "continues there from the last checkpoint with --config.resume_from=WORKDIR"
        )
