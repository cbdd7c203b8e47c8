"""How a run starts: its folder, its config, and the order of precedence for its state.

Own checkpoint in the workdir > `resume_from` > `init_from` (weights only) > from scratch.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from sersl.config.load import load_json, save_json, to_dict
from sersl.config.schema import FinetuneConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.core.files import find_paths
from sersl.parallel.sharding import path_name
from sersl.runs.checkpoint import Checkpoints
from sersl.runs.initial_weights import InitialWeights, flat_weights
from sersl.runs.same_run import check_data, check_processes, flat
from sersl.training.loop import state_items
from sersl.training.optimizer import Optimizer
from sersl.training.state import TrainState
from sersl.training.step import make_teacher, new_state, shardings_of
from sersl.training.task import Task

Config = TypeVar("Config", FinetuneConfig, PretrainConfig)
# Settings that may change when a run is resumed: they do not change its results, or (num_steps)
# make it longer.
MAY_CHANGE = (
    "checkpoint.",
    "mesh.",
    "data.data_dir",
    "data.threads",
    "data.processes",
    "data.prefetch",
    "train.log_every_steps",
    "train.num_steps",
    "train.on_nan",
    "train.max_skipped",
    "train.host_timeout_seconds",
    "train.profile_",
    "train.wandb",
    "encoder.remat",
    "resume_from",
)

# Settings whose default of an earlier version has another form now.
RENAMED: dict[str, tuple[list, list]] = {
    "optimizer.decay": ([[".*/(bias|scale|mask_embedding)", False], [".*", True]], [])
}

# File of a workdir whose run was stopped before its end; holds the step.
STOPPED = "stopped"

# What a run has saved once it has trained: checkpoints, and answers of a finished fold.
SAVED = ("checkpoints/[0-9]*", "folds/*/checkpoints/[0-9]*", "folds/*/best/[0-9]*", "folds/*/*.npz")


def open_workdir(
    workdir: str | Path,
    config: FinetuneConfig | PretrainConfig,
    *,
    data: Mapping[str, str],
    first: bool,
) -> Path:
    """Makes the workdir and writes the resolved config, or checks that the run is the same.

    Settings may change as long as the run has not saved anything.

    Args:
      workdir: the folder.
      config: of this start.
      data: corpus to the fingerprint of its prepared data.
      first: whether this process writes.

    Returns:
      The absolute path.

    Raises:
      UserError: the folder holds a run with other settings or data, or cannot be made; or the
        processes of this run were not started alike.
    """
    check_processes(config, data)
    workdir = Path(workdir).absolute()
    path = workdir / "config.json"
    if path.exists() and any(find_paths(workdir, pattern) for pattern in SAVED):
        try:
            found = load_json(type(config), path)
        except UserError as error:
            raise UserError(
                f"workdir {workdir} has another kind of run, or one of another version "
                f"({error}): use another workdir"
            ) from error
        old, new = (flat(to_dict(c)) for c in (found, config))
        for key in new:
            if (
                old[key] != new[key]
                and (old[key], new[key]) != RENAMED.get(key)
                and not key.startswith(MAY_CHANGE)
            ):
                raise UserError(
                    f"workdir {workdir} has a run with {key}={old[key]!r}, this one has "
                    f"{new[key]!r}: use another workdir, or the same value"
                )
        check_data(workdir, data)
    if first:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            (workdir / STOPPED).unlink(missing_ok=True)
            save_json(config, path)
        except OSError as error:
            raise UserError(f"workdir {workdir} cannot be written: {error}") from error
    return workdir


def start(
    task: Task,
    optimizer: Optimizer,
    abstract: TrainState,
    *,
    checkpoints: Checkpoints,
    keep_last: int,
    resume_from: str,
    weights: InitialWeights | None,
    say: Callable[[str], None],
) -> tuple[TrainState, int]:
    """Makes the state that a run starts from, by the order of precedence.

    Args:
      task: the task.
      optimizer: over its parameters.
      abstract: the state's shapes and shardings.
      checkpoints: of this workdir.
      keep_last: of the folder of `resume_from`, which is only read.
      resume_from: workdir of another run, or "".
      weights: to start from without a checkpoint, or None.
      say: called with lines for people.

    Returns:
      (state, updates done).

    Raises:
      UserError: see `Checkpoints.restore`; or no weight of `weights` fits.
    """
    found = checkpoints.restore(state_items(abstract))
    where = checkpoints.folder
    if found is not None:
        # Otherwise a damaged newer checkpoint would block saving at that step again.
        checkpoints.forget_after(found[0])
    elif resume_from:
        where = Path(resume_from) / "checkpoints"
        if not where.is_dir():
            raise UserError(f"resume_from={resume_from!r} has no folder checkpoints")
        other = Checkpoints(where, keep_last=keep_last, own=False)
        found = other.restore(state_items(abstract))
        other.close()
        if found is None:
            raise UserError(f"resume_from={resume_from!r} has no checkpoint yet")
    if found is not None:
        step, items = found
        say(f"resumed from {where} at step {step}")
        number = jax.jit(lambda: np.int32(step), out_shardings=abstract.step.sharding)()
        teacher = items.get("teacher")  # no item if no objective has a teacher
        return TrainState(number, items["params"], teacher, items["optimizer"]), step
    state = jax.jit(lambda: new_state(task, optimizer), out_shardings=shardings_of(abstract))()
    if weights is None:
        say("started from scratch")
        return state, 0
    params = replace_params(state.params, weights, say=say)
    make = jax.jit(make_teacher, static_argnums=0, out_shardings=shardings_of(abstract.teacher))
    teacher = make(task, params)
    return dataclasses.replace(state, params=params, teacher=teacher), 0


def replace_params(params: dict, weights: InitialWeights, *, say: Callable[[str], None]) -> dict:
    """Replaces initial parameters by given weights, each with its sharding.

    Args:
      params: sharded, stacked or not.
      weights: to start from.
      say: called with the numbers of arrays that matched, stay initial, and were not used.

    Returns:
      The parameters.

    Raises:
      UserError: an array of the same name has another shape, or none matches.
    """
    flat = flat_weights(weights, like=params)
    missing: list[str] = []
    matched: set[str] = set()

    def put(path, old):
        name = path_name(path)
        if name not in flat:
            missing.append(name)
            return old
        new = flat[name]
        if new.shape != old.shape:
            raise UserError(
                f"{weights.source}: {name} has shape {new.shape}, this model {old.shape}: "
                "use the encoder settings of that model"
            )
        matched.add(name)
        new = new.astype(old.dtype)
        return jax.make_array_from_callback(old.shape, old.sharding, lambda index: new[index])

    params = jax.tree_util.tree_map_with_path(put, params)
    if not matched:
        raise UserError(f"no weight of {weights.source} has a place in this model")
    unused = sorted(set(flat) - matched)
    say(
        f"weights from {weights.source}: {len(matched)} arrays matched, {len(missing)} stay "
        f"initial{_some(missing)}, {len(unused)} not used{_some(unused)}"
    )
    return params


def _some(names: list[str]) -> str:
    tops = sorted({name.split("/")[0] for name in names})
    return f" ({', '.join(tops)})" if tops else ""


def sizes(params: dict, mesh: Mesh) -> str:
    """Describes the number of parameters of a model, and their size on each device."""
    leaves = jax.tree.leaves(params)
    total = sum(leaf.size for leaf in leaves)
    held = sum(
        int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize for leaf in leaves
    )
    return f"{total:,} parameters, {held / 2**20:.1f} MiB of them on each of {mesh.size} devices"
