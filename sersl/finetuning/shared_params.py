"""Parameters that no fold changes, such as a frozen encoder, saved once for all folds."""

import contextlib
from pathlib import Path
from typing import Any

import jax

from sersl.core.errors import UserError
from sersl.runs.checkpoint import Checkpoints
from sersl.runs.integrity import checksums
from sersl.runs.param_parts import part_of
from sersl.training.optimizer import NEVER


class SharedParams:
    """The parameters of encoders that never train, in one folder beside those of the folds."""

    def __init__(self, folder: Path, starts: dict[str, Any]):
        """Finds which parameters they are; writes nothing yet.

        Args:
          folder: gets a checkpoint; see `sersl.runs.param_parts.shared_folder`.
          starts: int per parameter, the step from which it trains, or `NEVER`.
        """
        self._folder = folder
        # Others that never train, such as moments of the training side, differ between folds.
        fixed = jax.tree_util.tree_map_with_path(
            lambda path, start: start == NEVER and _of_encoder(path), starts
        )
        self._fixed, self._own = fixed, jax.tree.map(lambda one: not one, fixed)
        self._sums: dict[str, int] = {}
        self.any = any(jax.tree.leaves(fixed))

    def own_part(self, params: dict[str, Any]) -> dict[str, Any]:
        """Takes the parameters that every fold saves."""
        return part_of(params, self._own)

    def keep(self, params: dict[str, Any]) -> dict[str, int]:
        """Saves the shared parameters, unless they are there; all processes must call this.

        Args:
          params: all parameters, on the mesh.

        Returns:
          Path to checksum of each array.

        Raises:
          UserError: other values were saved before, or they cannot be written.
        """
        if self._sums:
            return self._sums
        fixed = part_of(params, self._fixed)
        sums = checksums(fixed)
        with contextlib.closing(Checkpoints(self._folder, keep_last=1)) as checkpoints:
            steps = checkpoints.steps()
            if not steps:
                checkpoints.save(0, {"params": fixed}, config={})
                checkpoints.wait()
            elif self._saved(checkpoints, steps[-1]) != sums:
                raise UserError(
                    f"the frozen weights in {self._folder} are damaged, or other than those of "
                    "init_from: restore both as they were when the run began, or give another "
                    "workdir"
                )
        self._sums = sums
        return sums

    @staticmethod
    def _saved(checkpoints: Checkpoints, step: int) -> Any:
        try:
            return checkpoints.read_config(step)["checksums"]["params"]
        except (OSError, ValueError, KeyError):
            return None


def _of_encoder(path: tuple[Any, ...]) -> bool:
    """Tells whether a parameter is of the main encoder, or of that of a further view."""
    names = [entry.key for entry in path]
    return names[0] == "encoder" or (names[:2] == ["fusion", "views"] and names[3] == "encoder")
