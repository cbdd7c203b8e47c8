"""What models read beside audio: rows of tables, or vectors that come with a recording."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import jax.numpy as jnp
import numpy as np

from sersl.core.errors import UserError
from sersl.corpora.index import CorpusIndex
from sersl.data.view_tables import LARGEST, ViewTable
from sersl.models.fusion.view_parts import ViewInput
from sersl.release.architecture import Architecture
from sersl.release.predict.with_views import WithViews

Tables = Mapping[str, str | Path]  # file of each view by name
NO_TABLES: Tables = MappingProxyType({})
_log = logging.getLogger(__name__)


class GivenTables:
    """The tables of a model.

    A recording that no table lists, and that comes without vectors, lacks the view.

    Attributes:
      widths: numbers in a vector of each view that is a table, by name.
    """

    def __init__(self, architecture: Architecture, paths: Tables):
        """Reads the tables.

        Args:
          architecture: of the model.
          paths: file of each view by name; a view without a file is missing in every recording
            that comes without vectors.

        Raises:
          UserError: a name that no view has, or a table that is damaged or of another width.
        """
        self._views = {view.name: view for view in architecture.views if view.kind == "table"}
        self.widths = {name: view.width for name, view in self._views.items()}
        self._tables: dict[str, ViewTable] = {}
        for name, path in paths.items():
            table = ViewTable(path, name=self._known(name))
            self._check_size(name, f"table {path}", width=table.width, most=table.most)
            self._tables[name] = table
        missing = [name for name in self._views if name not in self._tables]
        if missing:
            _log.warning(
                "this model was trained with the tables of %s, which are missing here: it answers "
                "from the rest; give each as --table NAME=FILE, or to `sersl serve` as a field of "
                "the form with the file",
                ", ".join(missing),
            )

    def identities(self) -> list[str]:
        """Describes the tables by name and digest, for results."""
        return [f"{name}: {table.identity}" for name, table in self._tables.items()]

    def check(self, index: CorpusIndex) -> None:
        """Raises UserError where a table lacks an utterance of a corpus."""
        for table in self._tables.values():
            table.reader(index, mean=True)

    def checked(self, vectors: Mapping[str, object]) -> dict[str, np.ndarray]:
        """Checks the vectors that come with a recording.

        Args:
          vectors: by name, numbers [D] or [n, D].

        Returns:
          By name, float32 [n, D].

        Raises:
          UserError: an unknown view, another width, too many, or a number that is not finite.
        """
        found = {}
        for name, given in vectors.items():
            self._known(name)
            try:
                rows = np.asarray(given, np.float32)
            except (TypeError, ValueError):
                rows = np.zeros((), np.float32)
            if rows.ndim == 1:
                rows = rows[None] if rows.size else rows.reshape(0, self.widths[name])
            if rows.ndim != 2 or not (np.abs(rows) <= LARGEST).all():
                raise UserError(
                    f"view {name!r} is not a list of {self.widths[name]} finite numbers, nor a "
                    "list of such lists: give the vectors as the table for training has them"
                )
            what = f"the recording's {len(rows)} x {rows.shape[1]} numbers"
            self._check_size(name, what, width=rows.shape[1], most=len(rows))
            found[name] = rows
        return found

    def inputs(
        self, recordings: Sequence[WithViews], indices: Sequence[int], *, rows: int
    ) -> dict[str, ViewInput]:
        """Finds the vectors of recordings.

        Args:
          recordings: of several batches; empty: none has vectors.
          indices: of the recordings of this batch.
          rows: B, of which the last ones may be padding.

        Returns:
          Name of each view that is a table to its input.
        """
        batch = [recordings[i] for i in indices] if recordings else []
        given = [self.checked(one.vectors) for one in batch]
        found = {}
        for name, view in self._views.items():
            outputs = np.zeros((rows, 1, view.num_vectors, view.width), np.float32)
            valid = np.zeros((rows, view.num_vectors), bool)
            for row, (recording, own) in enumerate(zip(batch, given, strict=True)):
                vectors = own[name] if name in own else self._row(name, recording)
                if vectors is None or not len(vectors):
                    continue
                if view.num_vectors == 1:
                    vectors = vectors.mean(0, keepdims=True)
                outputs[row, 0, : len(vectors)], valid[row, : len(vectors)] = vectors, True
            found[name] = ViewInput(jnp.asarray(outputs), jnp.asarray(valid))
        return found

    def _row(self, name: str, recording: WithViews) -> np.ndarray | None:
        table = self._tables.get(name)
        if table is None or not recording.name:
            return None
        found = table.vectors(recording.name, recording.corpus)
        if found is None:
            found = table.vectors(Path(recording.name).stem, recording.corpus)
        return found

    def _known(self, name: str) -> str:
        if name not in self._views:
            known = ", ".join(self._views) or "none"
            raise UserError(
                f"this model has no view {name!r:.60} that is a table (it has: {known}): leave it "
                "out, or name one of these"
            )
        return name

    def _check_size(self, name: str, what: str, *, width: int, most: int) -> None:
        view = self._views[name]
        if width != view.width or (view.num_vectors > 1 and most > view.num_vectors):
            raise UserError(
                f"{what} of view {name!r} has up to {most} vectors of {width} numbers, and the "
                f"model was trained with up to {view.num_vectors} of {view.width}: make it as the "
                "one for training"
            )
