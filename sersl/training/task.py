"""What the engine trains: the interface of pretraining and fine-tuning."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
from flax import nnx

from sersl.objectives.mean import Mean
from sersl.training.ema import EmaTeacher

# Value of a setting that changes during training, given the number of updates done.
Schedule = Callable[[jax.Array], jax.Array]


class StepContext(NamedTuple):
    """What a loss may use beside parameters and batch.

    Attributes:
      teacher: EMA of a part of the parameters, or None.
      constants: arrays that no step changes.
      step: updates done, a scalar.
      key: PRNG key of this step.
    """

    teacher: dict[str, Any] | None
    constants: dict[str, Any]
    step: jax.Array
    key: jax.Array


class Task(Protocol):
    """A model and its loss on one global batch."""

    @property
    def abstract(self) -> nnx.State:
        """State of the model with shapes instead of arrays."""

    @property
    def needs(self) -> frozenset[str]:
        """What batches must hold beside audio and labels, see `sersl.data.batch`."""

    @property
    def teacher(self) -> EmaTeacher | None:
        """How an EMA teacher follows the parameters; None without a teacher."""

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Name to every setting that changes during training, for the log."""

    def make_model(self) -> nnx.Module:
        """Makes the model with its initial weights."""

    def mix_rows(self, batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
        """Combines rows of a global batch [B, ...] with each other, before it is split into parts.

        Args:
          batch: all rows, spread over the devices of the mesh.
          key: PRNG key of the step.
        """

    def loss(
        self, params: dict[str, Any], batch: dict[str, jax.Array], context: StepContext
    ) -> tuple[jax.Array, dict[str, Mean]]:
        """Computes (loss, metrics) of one global batch."""
