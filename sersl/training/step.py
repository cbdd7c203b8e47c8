"""One training step as a pure function, and the shapes and shardings of what it takes."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.core.lengths import SAMPLE_RATE
from sersl.data.batch import (
    KNOWN_DIMENSIONS,
    NO_VIEWS,
    SECONDS,
    LabelSizes,
    OutputShape,
    ViewShape,
    batch_arrays,
)
from sersl.data.buckets import Bucket
from sersl.objectives.mean import Mean
from sersl.parallel.random import run_key
from sersl.parallel.sharding import (
    batch_sharding,
    check_rows,
    like_params,
    logical_axes,
    param_shardings,
)
from sersl.training.accumulate import loss_and_gradient
from sersl.training.optimizer import NEVER, Optimizer
from sersl.training.state import TrainState
from sersl.training.task import StepContext, Task

Batch = dict[str, jax.Array]
Step = Callable[[TrainState, Batch, dict[str, Any]], tuple[TrainState, dict[str, Mean]]]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The arguments of a compiled step beside the state.

    Attributes:
      mesh: the mesh.
      buckets: batch shapes; one step is compiled for each.
      needs: what batches hold beside audio and labels.
      labels: numbers of categories and dimensions.
      outputs: shape of the kept outputs of an utterance, where batches hold those.
      views: shapes of the views that batches hold, by name.
      constants: arrays, or their shapes, that no step changes; without a sharding, every device
        holds them whole.
    """

    mesh: Mesh
    buckets: Sequence[Bucket]
    needs: frozenset[str]
    labels: LabelSizes = KNOWN_DIMENSIONS
    outputs: OutputShape | None = None
    views: Mapping[str, ViewShape] = field(default_factory=dict)
    constants: Any = None

    def batch(self, bucket: Bucket) -> dict[str, jax.ShapeDtypeStruct]:
        """Gives the shapes of a global batch of one bucket, rows over the mesh."""
        rows = batch_sharding(self.mesh)
        return {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=rows)
            for name, leaf in example_batch(
                bucket,
                needs=self.needs,
                labels=self.labels,
                outputs=self.outputs,
                views=self.views,
            ).items()
        }


def example_batch(
    bucket: Bucket,
    *,
    needs: frozenset[str],
    labels: LabelSizes = KNOWN_DIMENSIONS,
    outputs: OutputShape | None = None,
    views: Mapping[str, ViewShape] = NO_VIEWS,
) -> dict[str, jax.ShapeDtypeStruct]:
    """Gives the shapes of a global batch of one bucket."""
    arrays = batch_arrays(
        needs,
        rows=bucket.rows,
        num_samples=bucket.num_samples,
        labels=labels,
        outputs=outputs,
        views=views,
    )
    return {name: jax.ShapeDtypeStruct(one.shape, one.dtype) for name, one in arrays.items()}


def make_step(task: Task, optimizer: Optimizer, *, seed: int, accumulate_steps: int = 1) -> Step:
    """Builds the update.

    No gradient is computed for parameters that never train.

    Args:
      task: with the loss.
      optimizer: over the task's parameters.
      seed: of the run; the randomness of a step is a function of (seed, step).
      accumulate_steps: parts of the batch, processed one after the other; only the activations of
        one are in memory. See `loss_and_gradient`.

    Returns:
      step(state, batch, constants) -> (state, {name: Mean}).
    """

    def loss_of(state, constants, params, batch, key):
        params = jax.tree.map(
            lambda p, start: jax.lax.stop_gradient(p) if start == NEVER else p,
            params,
            optimizer.starts,
        )
        return task.loss(params, batch, StepContext(state.teacher, constants, state.step, key))

    def step(state: TrainState, batch: Batch, constants: dict) -> tuple[TrainState, dict]:
        key = jax.random.fold_in(run_key(seed, "step"), state.step)
        batch = task.mix_rows(batch, key)
        (loss, metrics), grads = loss_and_gradient(
            functools.partial(loss_of, state, constants),
            state.params,
            batch,
            key,
            num_parts=accumulate_steps,
        )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        teacher = state.teacher
        if task.teacher is not None:
            teacher = task.teacher.update(teacher, params, state.step)
        schedules = {name: schedule(state.step) for name, schedule in task.schedules.items()}
        schedules["learning_rate"] = optimizer.learning_rate(state.opt_state)
        metrics = {
            "loss": Mean.of(loss),  # unless the task logs none because no row counted
            **metrics,
            "gradient_norm": Mean.of(optimizer.gradient_norm(grads, state.opt_state)),
            "audio_seconds": Mean.of(_audio_seconds(batch)),
            **{name: Mean.of(value) for name, value in schedules.items()},
        }
        return TrainState(state.step + 1, params, teacher, opt_state), metrics

    return step


def _audio_seconds(batch: Batch) -> jax.Array:
    """Sums up the real audio that a global batch is of, s."""
    return batch[SECONDS].sum() if SECONDS in batch else batch["valid"].sum() / SAMPLE_RATE


def abstract_state(task: Task, optimizer: Optimizer, mesh: Mesh) -> tuple[TrainState, list[str]]:
    """Lays out the train state on a mesh without making an array: shapes, then shardings.

    Args:
      task: the task.
      optimizer: over its parameters.
      mesh: where the state will live.

    Returns:
      (TrainState of `jax.ShapeDtypeStruct` with shardings, sentences about dimensions that stay
      whole because the mesh does not divide them).
    """
    shapes = jax.eval_shape(lambda: new_state(task, optimizer))
    shardings, notes = param_shardings(shapes.params, logical_axes(task.abstract), mesh)
    whole = TrainState(
        NamedSharding(mesh, P()),
        shardings,
        None if task.teacher is None else task.teacher.part(shardings),
        like_params(shapes.opt_state, shapes.params, shardings, mesh),
    )
    placed = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        whole,
    )
    return placed, notes


def param_shapes(task: Task) -> dict[str, Any]:
    """Lays out the parameters of a task: nested dict of `jax.ShapeDtypeStruct`."""
    return nnx.to_pure_dict(task.abstract)


def new_state(task: Task, optimizer: Optimizer) -> TrainState:
    """Makes the state at step 0; run it under `jax.jit` with out_shardings."""
    params = nnx.to_pure_dict(nnx.split(task.make_model())[1])
    teacher = make_teacher(task, params)
    return TrainState(jnp.zeros([], jnp.int32), params, teacher, optimizer.init(params))


def make_teacher(task: Task, params: dict[str, Any]) -> dict[str, Any] | None:
    """Makes the first teacher from the student; None for a task without one."""
    return None if task.teacher is None else task.teacher.make(params)


def shardings_of(tree):
    """Reads the shardings off arrays or shapes."""
    return jax.tree.map(lambda leaf: leaf.sharding, tree)


def trace_steps(step: Step, state: TrainState, layout: Layout) -> list[jax.stages.Traced]:
    """Traces one step per batch shape, its arguments laid out on the mesh.

    Args:
      step: from `make_step`.
      state: abstract, with shardings.
      layout: of the other arguments.

    Returns:
      One traced step per bucket.

    Raises:
      UserError: the rows of a bucket do not divide over the mesh.
    """
    whole = NamedSharding(layout.mesh, P())
    jitted = jax.jit(step, donate_argnums=0, out_shardings=(shardings_of(state), whole))
    constants = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", whole)
        ),
        layout.constants or {},
    )
    for bucket in layout.buckets:
        check_rows(bucket.rows, layout.mesh)
    return [jitted.trace(state, layout.batch(bucket), constants) for bucket in layout.buckets]
