"""The train state: everything that a training step reads and writes, as one pytree."""

import dataclasses
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The state after `step` updates.

    Attributes:
      step: int32 scalar, updates done.
      params: nested dict of fp32 arrays, `nnx.to_pure_dict` of the model.
      teacher: EMA of a part of `params`, fp32; None when no objective needs one.
      opt_state: optax state.
    """

    step: Any
    params: Any
    teacher: Any
    opt_state: Any
