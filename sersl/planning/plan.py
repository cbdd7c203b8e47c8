"""A plan: the real training step compiled for hardware that need not be present, and its costs."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from sersl.config.schema import MeshConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.data.buckets import Bucket, choose_buckets
from sersl.models.attention import chosen
from sersl.parallel.flops import count_flops
from sersl.parallel.mesh import make_mesh
from sersl.parallel.random import run_key
from sersl.parallel.sharding import bytes_per_device, logical_axes
from sersl.planning.compilation import Compiled, compile_ahead
from sersl.planning.replicated import Whole, left_whole
from sersl.planning.topology import Topology
from sersl.pretraining.task import PretrainTask
from sersl.pretraining.trained_weights import optimizer_of
from sersl.training.state import TrainState
from sersl.training.step import (
    Layout,
    abstract_state,
    example_batch,
    make_step,
    param_shapes,
    shardings_of,
    trace_steps,
)
from sersl.training.task import StepContext

MOST_ROWS = 65_536  # per device


class Memory(NamedTuple):
    """Bytes of one device, by kind.

    Attributes:
      params: float32 parameters.
      optimizer: moments.
      teacher: exponential moving average of the parameters.
      batch: input of a step.
      activations: kept by the forward pass for the backward pass, as traced; the compiler may keep
        less.
      temporaries: the rest of the peak: gradients, gathered parameters, buffers of a layer.
    """

    params: int
    optimizer: int
    teacher: int
    batch: int
    activations: int
    temporaries: int


class Plan(NamedTuple):
    """The costs of a run on a topology.

    Attributes:
      config: of the run, with the batch that was planned.
      topology: the devices.
      mesh_sizes: devices along each axis.
      bucket: the batch shape of the longest utterances.
      attention: implementation that the step uses, and why it is not the platform's default, if so.
      num_params: values in the parameters, by top-level name.
      memory: of one device.
      compiled: costs that the compiler reports.
      whole: parameters that are replicated and could be sharded.
      model_flops: FLOPs of a step that the model requires, over all devices.
      hardware_flops: FLOPs of a step including recomputation, over all devices.
    """

    config: PretrainConfig
    topology: Topology
    mesh_sizes: dict[str, int]
    bucket: Bucket
    attention: tuple[str, str]
    num_params: dict[str, int]
    memory: Memory
    compiled: Compiled
    whole: list[Whole]
    model_flops: float
    hardware_flops: float

    @property
    def num_devices(self) -> int:
        """Devices of the topology."""
        return math.prod(self.mesh_sizes.values())

    @property
    def rows_per_device(self) -> int:
        """Rows of the batch on one device; devices along the tensor axis share them."""
        return self.bucket.rows // (self.mesh_sizes["data"] * self.mesh_sizes["fsdp"])


def make_plan(
    config: PretrainConfig, topology: Topology, *, rows_per_device: int | None = None
) -> Plan:
    """Compiles the training step of a config for a topology.

    Args:
      config: of the run; no corpus is needed, the batch is that of the longest bucket.
      topology: the devices.
      rows_per_device: rows of the batch on each device (each group along the tensor axis); None:
        according to `data.seconds_per_batch`.

    Returns:
      The plan, also if the step does not fit.

    Raises:
      UserError: a setting, the mesh or the batch does not work with the topology.
    """
    mesh = make_mesh(config.mesh, topology.devices)
    bucket = longest_bucket(config, mesh, rows_per_device=rows_per_device)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data, seconds_per_batch=bucket.rows * bucket.seconds, row_multiple=bucket.rows
        ),
    )
    with jax.set_mesh(mesh):
        task, state, traced = _trace(config, mesh, bucket)
        compiled = compile_ahead(traced.lower(), topology, mesh)
        hardware = count_flops(traced.jaxpr)
        attention = chosen(config.encoder)
        # What the model requires: no recomputation, no frames padded to blocks.
        plain = dataclasses.replace(config.encoder, remat="none", attention="xla")
        model = hardware
        if plain != dataclasses.replace(config.encoder, attention=attention[0]):
            asked = dataclasses.replace(config, encoder=plain)
            model = count_flops(_trace(asked, mesh, bucket)[2].jaxpr)
        kept = kept_per_row(task, state, bucket) * bucket.rows / _num_row_holders(mesh)
    kept /= config.train.accumulate_steps
    shapes = param_shapes(task)
    return Plan(
        config=config,
        topology=topology,
        mesh_sizes=dict(mesh.shape),
        bucket=bucket,
        attention=attention,
        num_params={name: _num_values(part) for name, part in shapes.items()},
        memory=_memory(state, bucket, task, mesh, compiled, kept),
        compiled=compiled,
        whole=left_whole(shapes, logical_axes(task.abstract), shardings_of(state.params), mesh),
        model_flops=model,
        hardware_flops=hardware,
    )


def longest_bucket(config: PretrainConfig, mesh: Mesh, *, rows_per_device: int | None) -> Bucket:
    """Computes the batch shape of the longest utterances.

    Args:
      config: with `data.max_seconds` and `data.seconds_per_batch`.
      mesh: over whose data and fsdp axes the rows are sharded.
      rows_per_device: rows of each shard; None: as many as `data.seconds_per_batch` allows.

    Raises:
      UserError: there are too few or too many rows.
    """
    longest = round(config.data.max_seconds * SAMPLE_RATE)
    own = rows_per_device is not None
    (bucket,) = choose_buckets(
        np.array([longest]),
        num_buckets=1,
        max_samples=longest,
        seconds_per_batch=config.data.max_seconds + 1 if own else config.data.seconds_per_batch,
        row_multiple=1 if own else config.data.row_multiple,
    )
    if rows_per_device is None:
        return bucket
    parts = config.train.accumulate_steps
    if not 1 <= rows_per_device <= MOST_ROWS or rows_per_device % parts:
        raise UserError(
            f"--rows_per_device {rows_per_device} is not a multiple of "
            f"train.accumulate_steps={parts} between 1 and {MOST_ROWS:,}: use another number"
        )
    return dataclasses.replace(bucket, rows=rows_per_device * _num_row_holders(mesh))


def _trace(config: PretrainConfig, mesh: Mesh, bucket: Bucket):
    """Traces the step of `sersl pretrain`: (task, abstract state, traced step)."""
    task, optimizer, state = _prepare(config, mesh)
    step = make_step(
        task,
        optimizer,
        seed=config.train.seed,
        accumulate_steps=config.train.accumulate_steps,
    )
    (traced,) = trace_steps(step, state, Layout(mesh=mesh, buckets=[bucket], needs=task.needs))
    return task, state, traced


def _prepare(config: PretrainConfig, mesh: Mesh):
    """Builds the task, the optimizer and the abstract state."""
    if config.frozen_teachers:
        raise UserError(
            "a plan does not include frozen_teachers, whose sizes are in their folders: plan "
            "without them, with --config.frozen_teachers=()"
        )
    if config.kept_teachers:
        raise UserError(
            "a plan does not include kept_teachers, whose sizes are in their folders: plan without "
            "them and without objectives.statistics, with --config.kept_teachers=()"
        )
    task = PretrainTask(config)
    optimizer = optimizer_of(config, task)
    return task, optimizer, abstract_state(task, optimizer, mesh)[0]


def traced_per_row(config: PretrainConfig, topology: Topology, bucket: Bucket) -> float:
    """Counts the bytes that a step keeps per row of a device, without compiling.

    Args:
      config: of the run. With accumulation, only one part of the batch is kept at a time.
      topology: the devices.
      bucket: for the length of a row.
    """
    mesh = make_mesh(config.mesh, topology.devices)
    with jax.set_mesh(mesh):
        task, _, state = _prepare(config, mesh)
        return kept_per_row(task, state, bucket) / config.train.accumulate_steps


def kept_per_row(task: PretrainTask, state: TrainState, bucket: Bucket) -> float:
    """Counts the bytes that the forward pass of one row keeps for the backward pass.

    They depend on the platform, so the mesh of the plan must be set. They are half of the
    difference between four rows and two, which excludes parameters and codebooks.

    Args:
      task: of the run.
      state: abstract.
      bucket: for the length of a row.
    """

    params, teacher = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (state.params, state.teacher)
    )

    def backward(params, teacher, batch):
        batch = task.mix_rows(batch, run_key(0, "step"))

        def loss(params):
            context = StepContext(teacher, {}, jnp.int32(0), run_key(0, "step"))
            return task.loss(params, batch, context)[0]

        return jax.vjp(loss, params)[1]

    # A few rows do not divide over all devices of the plan.
    mesh = jax.sharding.get_mesh()
    one_device = None if mesh.empty else make_mesh(MeshConfig(), [mesh.devices.flat[0]])

    def kept(rows: int) -> int:
        batch = example_batch(Bucket(bucket.num_samples, rows), needs=task.needs)
        with jax.set_mesh(one_device):
            residuals = jax.eval_shape(backward, params, teacher, batch)
        return _num_bytes(residuals)

    return kept(4) / 2 - kept(2) / 2


def _memory(state, bucket, task, mesh: Mesh, compiled: Compiled, kept: float) -> Memory:
    def held(tree: Any) -> int:
        return bytes_per_device(tree, shardings_of(tree))

    batch = _num_bytes(example_batch(bucket, needs=task.needs)) // _num_row_holders(mesh)
    fixed = held(state.params) + held(state.opt_state) + held(state.teacher) + batch
    rest = max(compiled.peak_bytes - fixed, 0)
    return Memory(
        params=held(state.params),
        optimizer=held(state.opt_state),
        teacher=held(state.teacher),
        batch=batch,
        activations=min(int(kept), rest),
        temporaries=rest - min(int(kept), rest),
    )


def _num_row_holders(mesh: Mesh) -> int:
    return mesh.shape["data"] * mesh.shape["fsdp"]


def _num_bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _num_values(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
