"""The compiled steps of a run: one per batch shape, ahead of time, so the loop cannot recompile."""

import concurrent.futures
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from sersl.config.schema import TrainConfig
from sersl.objectives.mean import Mean
from sersl.parallel.sharding import global_arrays
from sersl.training.finite import without_bad_updates
from sersl.training.optimizer import Optimizer
from sersl.training.state import TrainState
from sersl.training.step import Layout, Step, make_step, trace_steps
from sersl.training.task import Task
from sersl.training.utilization import flops_per_step, peak_flops


@dataclass(frozen=True, kw_only=True)
class Program:
    """What a loop runs.

    Attributes:
      compiled: samples of a row to compiled step.
      rows: samples of a row to rows of the global batch.
      constants: arrays given to every step.
      mesh: the mesh.
      flops: samples of a row to floating point operations of the model in one step; empty: unknown.
      peak_flops: of all devices together, per second; None: unknown.
    """

    compiled: Mapping[int, Callable[..., tuple[TrainState, dict[str, Mean]]]]
    rows: Mapping[int, int]
    constants: dict[str, Any]
    mesh: Mesh
    flops: Mapping[int, float] = field(default_factory=dict)
    peak_flops: float | None = None

    def __call__(
        self, state: TrainState, host_batch: dict[str, np.ndarray]
    ) -> tuple[TrainState, dict[str, Mean]]:
        """Dispatches one step.

        Args:
          state: donated.
          host_batch: this process's rows of the global batch, by name.

        Returns:
          (state after the step, its metrics).
        """
        num_samples = host_batch["valid"].shape[1]
        batch = global_arrays(host_batch, self.mesh, rows=self.rows[num_samples])
        return self.compiled[num_samples](state, batch, self.constants)


def build_program(
    task: Task,
    optimizer: Optimizer,
    state: TrainState,
    layout: Layout,
    *,
    train: TrainConfig,
    say: Callable[[str], None],
    plain: Task | None = None,
) -> Program:
    """Compiles the steps of a run.

    Args:
      task: with the loss.
      optimizer: over its parameters.
      state: abstract, with shardings.
      layout: of the other arguments; its constants are arrays.
      train: settings.
      say: called with lines for people.
      plain: the same task with a model that recomputes nothing, whose operations are counted for
        the utilisation of the devices; None: they are not counted.

    Returns:
      The program.

    Raises:
      UserError: an unknown setting, or rows that do not divide over the mesh.
    """

    def step_of(one: Task) -> Step:
        return make_step(one, optimizer, seed=train.seed, accumulate_steps=train.accumulate_steps)

    step = step_of(task)
    peak = None if plain is None else peak_flops(layout.mesh.devices.flat)
    return Program(
        compiled=compile_steps(
            without_bad_updates(step) if train.on_nan == "skip" else step, state, layout, say=say
        ),
        rows={bucket.num_samples: bucket.rows for bucket in layout.buckets},
        constants=layout.constants or {},
        mesh=layout.mesh,
        flops=flops_per_step(step_of(plain), state, layout) if plain and peak else {},
        peak_flops=peak,
    )


def compile_steps(
    step: Step, state: TrainState, layout: Layout, *, say: Callable[[str], None]
) -> dict[int, jax.stages.Compiled]:
    """Compiles one step per batch shape.

    Args:
      step: from `make_step`.
      state: abstract, with shardings.
      layout: of the other arguments.
      say: called with a line per compiled step.

    Returns:
      Samples of a row to compiled step.

    Raises:
      UserError: the rows of a bucket do not divide over the mesh.
    """
    lowered = [one.lower() for one in trace_steps(step, state, layout)]
    say(f"compiling the step for {len(lowered)} batch shape{'s' * (len(lowered) > 1)}")
    begin = time.perf_counter()
    # XLA compiles outside Python's lock: two shapes take little longer than one.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        compiled = list(pool.map(lambda one: one.compile(), lowered))
    say(f"compiled in {time.perf_counter() - begin:.1f} s")
    for bucket, one in zip(layout.buckets, compiled, strict=True):
        memory = one.memory_analysis()
        say(
            f"  {bucket.rows} rows x {bucket.seconds:.2f} s: per device "
            f"{memory.argument_size_in_bytes / 2**20:.1f} MiB of state and batch, "
            f"{memory.temp_size_in_bytes / 2**20:.1f} MiB in between"
        )
    return {b.num_samples: one for b, one in zip(layout.buckets, compiled, strict=True)}
