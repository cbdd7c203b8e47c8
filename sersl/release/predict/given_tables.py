"""Tables of vectors that a prediction reads beside audio, for models with such views."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import jax.numpy as jnp
import numpy as np

from sersl.core.errors import UserError
from sersl.data.view_tables import ViewTable
from sersl.models.fusion.view_parts import ViewInput
from sersl.release.architecture import Architecture
from sersl.release.predict.windows import Source

Tables = Mapping[str, str | Path]  # file of each view by name
NO_TABLES: Tables = MappingProxyType({})
_log = logging.getLogger(__name__)


class GivenTables:
    """The tables of a model; a recording is found by its path, or by its file name without suffix.

    A recording that no table lists, and audio in memory, lack the view.
    """

    def __init__(self, architecture: Architecture, paths: Tables):
        """Reads the tables.

        Args:
          architecture: of the model.
          paths: file of each view by name; a view without a file is missing in every recording.

        Raises:
          UserError: a name that no view has, or a table that is damaged or of another width.
        """
        self._views = {view.name: view for view in architecture.views if view.kind == "table"}
        self._tables: dict[str, ViewTable] = {}
        for name, path in paths.items():
            if name not in self._views:
                known = ", ".join(self._views) or "none"
                raise UserError(
                    f"this model has no view {name!r} that is a table (it has: {known}): leave "
                    "the table out, or name one of these"
                )
            table, view = ViewTable(path, name=name), self._views[name]
            if table.width != view.width or (
                view.num_vectors > 1 and table.most > view.num_vectors
            ):
                raise UserError(
                    f"table {path} of view {name!r} has up to {table.most} vectors of "
                    f"{table.width} numbers, and the model was trained with up to "
                    f"{view.num_vectors} of {view.width}: make it as the one for training"
                )
            self._tables[name] = table
        missing = [name for name in self._views if name not in self._tables]
        if missing:
            _log.warning(
                "this model was trained with the tables of %s, which are missing here: it answers "
                "from the rest; give each as --table NAME=FILE",
                ", ".join(missing),
            )

    def inputs(self, names: Sequence[str], *, rows: int) -> dict[str, ViewInput]:
        """Finds the vectors of recordings.

        Args:
          names: of the recordings, "" for audio in memory.
          rows: B, of which the last ones may be padding.

        Returns:
          Name of each view with a table to its input.
        """
        found = {}
        for name, table in self._tables.items():
            view = self._views[name]
            outputs = np.zeros((rows, 1, view.num_vectors, view.width), np.float32)
            valid = np.zeros((rows, view.num_vectors), bool)
            for row, recording in enumerate(names):
                own = _vectors(table, recording)
                if own is None or not len(own):
                    continue
                if view.num_vectors == 1:
                    own = own.mean(0, keepdims=True)
                outputs[row, 0, : len(own)], valid[row, : len(own)] = own, True
            found[name] = ViewInput(jnp.asarray(outputs), jnp.asarray(valid))
        return found


def _vectors(table: ViewTable, recording: str) -> np.ndarray | None:
    found = table.vectors(recording)
    return table.vectors(Path(recording).stem) if found is None else found


def recording_name(source: Source) -> str:
    """Names a recording in tables: its path as given, or "" for audio in memory."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else ""
