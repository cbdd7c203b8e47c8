"""One training step as a pure function, and the compiled steps that a loop holds."""

import concurrent.futures
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.core.lengths import SAMPLE_RATE
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
from sersl.training.optimizer import NEVER
from sersl.training.state import TrainState


def make_step(
    task,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    starts=None,
    accumulate_steps: int = 1,
) -> Callable:
    """Builds the update.

    Args:
      task: `PretrainTask` or `FinetuneTask`.
      optimizer: over the task's parameters.
      seed: of the run; the randomness of a step is a function of (seed, step).
      starts: int per parameter, see `make_optimizer`; no gradient is computed for those that
        never train.
      accumulate_steps: parts in which the batch is gone through, one after the other, so that
        activations of one part are kept at a time; see `loss_and_gradient`.

    Returns:
      step(state, batch, constants) -> (state, {name: Mean}).
    """

    def loss_of(state, constants, params, batch, key):
        if starts is not None:
            params = jax.tree.map(
                lambda p, start: jax.lax.stop_gradient(p) if start == NEVER else p, params, starts
            )
        return task.loss(
            params, state.teacher, batch, constants=constants, step=state.step, key=key
        )

    def step(state: TrainState, batch: dict, constants: dict) -> tuple[TrainState, dict]:
        key = jax.random.fold_in(run_key(seed, "step"), state.step)
        (loss, metrics), grads = loss_and_gradient(
            functools.partial(loss_of, state, constants),
            state.params,
            batch,
            key,
            num_parts=accumulate_steps,
        )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        teacher = task.update_teacher(state.teacher, params, state.step)
        metrics = {
            "loss": Mean.of(loss),
            **metrics,
            "gradient_norm": Mean.of(optax.global_norm(grads)),
            "audio_seconds": Mean.of(batch["valid"].sum() / SAMPLE_RATE),
        }
        return TrainState(state.step + 1, params, teacher, opt_state), metrics

    return step


def abstract_state(task, optimizer: optax.GradientTransformation, mesh: Mesh):
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
        task.teacher_part(shardings),
        like_params(shapes.opt_state, shapes.params, shardings, mesh),
    )
    placed = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        whole,
    )
    return placed, notes


def param_shapes(task) -> dict:
    """Lays out the parameters of a task: nested dict of `jax.ShapeDtypeStruct`."""
    return nnx.to_pure_dict(task.abstract)


def new_state(task, optimizer: optax.GradientTransformation) -> TrainState:
    """Makes the state before the first update; run it under `jax.jit` with out_shardings.

    Args:
      task: the task.
      optimizer: over its parameters.

    Returns:
      The state at step 0, teacher None where the task has none.
    """
    params = nnx.to_pure_dict(nnx.split(task.make_model())[1])
    return TrainState(
        jnp.zeros([], jnp.int32), params, task.make_teacher(params), optimizer.init(params)
    )


def shardings_of(tree):
    """Reads the shardings off arrays or shapes."""
    return jax.tree.map(lambda leaf: leaf.sharding, tree)


def trace_steps(
    step: Callable,
    state: TrainState,
    *,
    buckets: Sequence[Bucket],
    example: Callable[[Bucket], dict],
    constants: dict,
    mesh: Mesh,
) -> list[jax.stages.Traced]:
    """Traces one step per batch shape, its arguments laid out on the mesh.

    Args:
      step: from `make_step`.
      state: abstract, with shardings.
      buckets: batch shapes.
      example: gives the arrays' shapes of a global batch of a bucket, {name: ShapeDtypeStruct}.
      constants: arrays that no step changes; those without a sharding, every device holds whole.
      mesh: the mesh.

    Returns:
      One traced step per bucket.

    Raises:
      UserError: the rows of a bucket do not divide over the mesh.
    """
    rows, whole = batch_sharding(mesh), NamedSharding(mesh, P())
    jitted = jax.jit(step, donate_argnums=0, out_shardings=(shardings_of(state), whole))
    fixed = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", whole)
        ),
        constants,
    )
    traced = []
    for bucket in buckets:
        check_rows(bucket.rows, mesh)
        batch = {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=rows)
            for name, leaf in example(bucket).items()
        }
        traced.append(jitted.trace(state, batch, fixed))
    return traced


def compile_steps(
    step: Callable,
    state: TrainState,
    *,
    buckets: Sequence[Bucket],
    example: Callable[[Bucket], dict],
    constants: dict,
    mesh: Mesh,
    report: Callable[[str], None],
) -> dict[int, Any]:
    """Compiles one step per batch shape, ahead of time: the loop cannot recompile.

    Args:
      step: from `make_step`.
      state: abstract, with shardings.
      buckets: batch shapes.
      example: gives the arrays' shapes of a global batch of a bucket, {name: ShapeDtypeStruct}.
      constants: arrays that no step changes; those without a sharding, every device holds whole.
      mesh: the mesh.
      report: told one line per compiled step.

    Returns:
      Samples of a row to compiled step.

    Raises:
      UserError: the rows of a bucket do not divide over the mesh.
    """
    traced = trace_steps(
        step, state, buckets=buckets, example=example, constants=constants, mesh=mesh
    )
    lowered = [one.lower() for one in traced]
    report(f"compiling the step for {len(lowered)} batch shape{'s' * (len(lowered) > 1)}")
    begin = time.perf_counter()
    # XLA compiles outside Python's lock: two shapes take little longer than one.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        compiled = list(pool.map(lambda one: one.compile(), lowered))
    report(f"compiled in {time.perf_counter() - begin:.1f} s")
    for bucket, one in zip(buckets, compiled, strict=True):
        memory = one.memory_analysis()
        report(
            f"  {bucket.rows} rows x {bucket.seconds:.2f} s: per device "
            f"{memory.argument_size_in_bytes / 2**20:.1f} MiB of state and batch, "
            f"{memory.temp_size_in_bytes / 2**20:.1f} MiB in between"
        )
    return {b.num_samples: one for b, one in zip(buckets, compiled, strict=True)}
