"""Checkpoints with Orbax: saving, falling back to an earlier one, and reading parameters.

A checkpoint folder `<step>/` holds one item per subtree (`params`, `teacher`, `optimizer`) and
`config`, JSON with whatever the caller adds and the shape, dtype and checksum of every array. The
checkpoint at `step` holds the state after `step` updates.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from sersl.config.schema import CheckpointConfig
from sersl.core.bounded import read_bounded
from sersl.core.errors import UserError
from sersl.core.files import parse_value
from sersl.parallel.agreement import all_agree, of_first
from sersl.runs.integrity import check_array_list, check_same, check_unchanged, checksums, describe
from sersl.runs.param_parts import SHARED, joined, shared_folder
from sersl.runs.retention import Retention

logger = logging.getLogger(__name__)

CONFIG = "config"
# How a message of TensorStore begins, which goes on with pages of settings.
_TENSORSTORE = re.compile(r"([A-Z_]+): Error (?:opening|reading) ")


class _Manager(ocp.CheckpointManager):
    """A manager that never asks whether the machine is being taken away; the loop does.

    jax answers that question once per step, so the loop would miss an answer given to Orbax.
    """

    def reached_preemption(self, step: int) -> bool:
        return False


class Checkpoints:
    """Checkpoints of one run in one folder; saving is asynchronous and atomic."""

    def __init__(
        self,
        folder: str | Path,
        *,
        keep_last: int,
        keep_best: int = 0,
        keep_every_hours: float = 0.0,
        own: bool = True,
    ):
        """Opens or makes the folder.

        Args:
          folder: e.g. `<workdir>/checkpoints`; on many hosts all must see it.
          keep_last: number of the newest to keep; others are removed once a newer one is complete.
          keep_best: number to keep besides, by the "loss" that is saved with them.
          keep_every_hours: keep one besides every so many hours; 0 for none.
          own: whether only this run writes here, and so removes unfinished ones of a killed run.
        """
        self.folder = Path(folder).absolute()
        self._losses: dict[int, float | None] = {}
        retention = Retention(
            self._loss,
            keep_last=keep_last,
            keep_best=keep_best,
            keep_every_hours=keep_every_hours,
        )
        self._manager = _Manager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=retention,
                enable_async_checkpointing=True,
                cleanup_tmp_directories=own,
            ),
        )

    @classmethod
    def of(cls, folder: str | Path, config: CheckpointConfig) -> "Checkpoints":
        """Opens or makes the folder of a run, with the settings of what to keep."""
        return cls(
            folder,
            keep_last=config.keep_last,
            keep_best=config.keep_best,
            keep_every_hours=config.keep_every_hours,
        )

    def steps(self) -> list[int]:
        """Lists the complete checkpoints, oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, items: Mapping, *, config: Mapping) -> None:
        """Starts to write a checkpoint; the arrays may be donated as soon as this returns.

        Args:
          step: updates done.
          items: name to pytree of global arrays; None values are left out.
          config: JSON-able, written beside the arrays; its "loss", if any, ranks the checkpoint.

        Raises:
          UserError: this save or the one before it could not be written (a full disk, no
            permission); earlier complete checkpoints are not changed.
        """
        items = {name: tree for name, tree in items.items() if tree is not None}
        arrays = {name: describe(tree) for name, tree in items.items()}
        arguments = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        sums = {name: checksums(tree) for name, tree in items.items()}
        arguments[CONFIG] = ocp.args.JsonSave(
            {**config, "step": step, "arrays": arrays, "checksums": sums}
        )
        self._losses[step] = config.get("loss")
        try:
            self._manager.save(step, args=ocp.args.Composite(**arguments), force=True)
        except Exception as error:
            raise self._unwritten(error) from error

    def wait(self) -> None:
        """Waits until everything started is on disk.

        Raises:
          UserError: as `save`.
        """
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            raise self._unwritten(error) from error

    def close(self) -> None:
        """Waits and releases the folder."""
        self.wait()
        self._manager.close()

    def restore(self, items: Mapping) -> tuple[int, dict] | None:
        """Reads the newest checkpoint that is whole, in the shardings asked for.

        Args:
          items: name to pytree of `jax.ShapeDtypeStruct` with shardings; None values are left out.

        Returns:
          (step, name to pytree of arrays), or None without any checkpoint. A damaged one is
          skipped with a warning.

        Raises:
          UserError: there are checkpoints but none can be read, or one holds another model.
        """
        items = {name: tree for name, tree in items.items() if tree is not None}
        left = steps = self.steps()
        # One process may miss a file or fail to read its part; all fall back together.
        while (step := of_first(max(left, default=-1))) >= 0:
            left = [earlier for earlier in left if earlier < step]
            restored, problem = self._read(step, items)
            if all_agree(problem is None):
                return step, restored
            logger.warning(
                "checkpoint %s is damaged (%s): falling back to the one before it",
                self.folder / str(step),
                problem or "see the log of another process",
            )
        if steps:
            raise UserError(
                f"none of the checkpoints {steps} in {self.folder} can be read: "
                "remove the folder to start from scratch, or restore it from a copy"
            )
        return None

    def _read(self, step: int, items: Mapping) -> tuple[dict, str | None]:
        """Reads the arrays of one checkpoint: (arrays, None), or ({}, reason) for a damaged one."""
        restored: dict[str, Any] = {}
        problems: list[str] = []
        where = self.folder / str(step)
        try:
            stored = self.read_config(step)
            check_same(stored["arrays"], items, where=f"checkpoint {where}")
        except UserError:
            raise
        except Exception as error:
            problems.append(f"{CONFIG}: {_first_line(error)}")
        # Not with the manager, which would wait here for a process that has failed to read.
        handler = ocp.StandardCheckpointHandler()
        for name, tree in items.items():
            try:
                check_array_list(where / name)
                restored[name] = handler.restore(where / name, args=ocp.args.StandardRestore(tree))
            except Exception as error:
                problems.append(f"{name}: {_first_line(error)}")
        # The sums are of all processes' parts together.
        if all_agree(not problems):
            for name, tree in restored.items():
                try:
                    check_unchanged(tree, stored["checksums"][name], item=name)
                except Exception as error:
                    problems.append(_first_line(error))
        return restored, "; ".join(problems) or None

    def forget_after(self, step: int) -> None:
        """Removes checkpoints newer than `step`, which a resumed run writes again."""
        for later in self.steps():
            if later > step:
                logger.warning("checkpoint %s is removed", self.folder / str(later))
                self._manager.delete(later)

    def read_config(self, step: int) -> dict:
        """Reads the JSON saved beside the arrays of one checkpoint.

        Raises:
          OSError: the file cannot be read.
          ValueError: it is damaged.
        """
        return _read_config(self.folder / str(step))

    def _loss(self, step: int) -> float | None:
        if step not in self._losses:
            try:
                stored = self.read_config(step)
            except (OSError, ValueError):  # damaged: not among the best
                stored = {}
            loss = stored.get("loss")
            self._losses[step] = loss if isinstance(loss, float | int) else None
        return self._losses[step]

    def _unwritten(self, error: Exception) -> UserError:
        # As listed on disk, since Orbax no longer lists those that it removes after this save.
        there = self.folder.is_dir()
        steps = sorted(ocp.utils.checkpoint_steps(self.folder)) if there else []
        kept = f"checkpoint {steps[-1]} is still valid" if steps else "there is no earlier one"
        return UserError(
            f"a checkpoint could not be written to {self.folder} ({_first_line(error)}): {kept}; "
            "make room or correct the permissions, and run the same command again"
        )


def newest_step(folder: str | Path) -> int:
    """Finds the step of the newest complete checkpoint.

    Raises:
      UserError: there is none.
    """
    folder = Path(folder)
    steps = ocp.utils.checkpoint_steps(folder) if folder.is_dir() else []
    if not steps:
        raise UserError(f"no checkpoint in {folder}: give the workdir of a run that has saved one")
    return max(steps)


def load_params(run: str | Path, item: str = "params") -> dict:
    """Reads parameters into host memory, whatever mesh they were saved from.

    Args:
      run: workdir of a pretraining run or one fold's folder; `best/` is read where there is one,
        else the newest of `checkpoints/`.
      item: "params", or "teacher".

    Returns:
      Nested dict of numpy arrays; list positions are int keys. With those that all folds share.

    Raises:
      UserError: no such checkpoint or item, or it is damaged.
    """
    run = Path(run).absolute()
    folder = run / "best" if (run / "best").is_dir() else run / "checkpoints"
    tree, stored = _load(folder, item)
    sums = stored.get(SHARED)
    if sums is None:
        return tree
    shared = shared_folder(run)
    if not shared.is_dir():
        raise UserError(
            f"{folder} needs the frozen weights in {shared}, which is missing: copy the whole "
            "workdir"
        )
    fixed, _ = _load(shared, item)
    if checksums(fixed) != sums:
        raise UserError(f"{shared} has other frozen weights than {folder} was trained with")
    return joined(fixed, tree)


def _load(folder: Path, item: str) -> tuple[dict, dict]:
    """Reads an item of the newest checkpoint of a folder, and the config beside it."""
    path = folder / str(newest_step(folder)) / item
    if not path.is_dir():
        raise UserError(f"{path.parent} has no item {item!r}")
    try:
        check_array_list(path)
        with ocp.PyTreeCheckpointer() as checkpointer:
            shapes = checkpointer.metadata(path).item_metadata.tree
            restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
            tree = _int_keys(checkpointer.restore(path, restore_args=restore_args))
        stored = _read_config(path.parent)
        check_unchanged(tree, stored["checksums"][item], item=item)
    except Exception as error:
        raise UserError(
            f"checkpoint {path.parent} is damaged ({_first_line(error)}): restore it from a copy, "
            "or remove it to use the one before it"
        ) from error
    return tree, stored


def has_item(run: str | Path, item: str) -> bool:
    """Tells whether the newest checkpoint of a run has an item.

    Args:
      run: workdir with checkpoints/.
      item: "params", "teacher" or "optimizer".

    Raises:
      UserError: there is no checkpoint.
    """
    folder = Path(run).absolute() / "checkpoints"
    return (folder / str(newest_step(folder)) / item).is_dir()


def _read_config(checkpoint: Path) -> dict:
    # Orbax writes losses that are not finite as Python does.
    content = read_bounded(checkpoint / CONFIG / "metadata")
    stored = parse_value(content, allow_infinite=True)
    if not isinstance(stored, dict):
        raise ValueError("its config is not an object")
    return stored


def _int_keys(tree):
    if isinstance(tree, Mapping):
        return {
            int(key) if isinstance(key, str) and key.isdigit() else key: _int_keys(value)
            for key, value in tree.items()
        }
    return np.asarray(tree)


def _first_line(error: Exception) -> str:
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if found := _TENSORSTORE.match(line):
        return f"arrays cannot be read, {found[1]}"
    # Such messages begin with the action and end with the reason.
    return line if len(line) < 200 else f"{line[:80]} ... {line[-120:]}"
