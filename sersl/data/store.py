"""Kept outputs of a frozen encoder for one prepared corpus, read at random by row.

`sersl.runs.kept_outputs` makes them, in `<corpus>/<version>/outputs/<fingerprint>/`: record i
holds what the encoder gave for utterance i, float16 [L, F, D] (`sersl.data.batch.OutputShape`).
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource

from sersl.core.errors import UserError, first_line
from sersl.core.lengths import num_frames
from sersl.corpora.index import CorpusIndex
from sersl.corpora.sidecar import RECORDS_FILE, read_sidecar
from sersl.data.batch import OutputShape

OUTPUT_DTYPE = np.dtype("<f2")
_MIN_DEVIATION = 1e-3  # what changes less is hardly more than the rounding of float16
_LARGEST = 6e4  # a little less than the largest float16


class ViewReader(Protocol):
    """Reads what batches hold of one view, by row of a corpus; safe in many threads."""

    shape: OutputShape
    dtype: str

    def read(self, row: int) -> np.ndarray:
        """Reads [L, F', D] of an utterance; F' is 0 where it lacks this view."""
        ...


class OutputReader:
    """Reads kept outputs of one corpus by row; safe in many threads. It is a `ViewReader`.

    Attributes:
      shape: of the outputs of an utterance.
      dtype: of the outputs.
    """

    dtype = OUTPUT_DTYPE.name

    def __init__(
        self,
        index: CorpusIndex,
        folder: Path,
        *,
        expected: Mapping[str, Any],
        num_samples: np.ndarray | None = None,
    ):
        """Checks that the outputs are those that are expected; opens no record yet.

        Args:
          index: of the corpus.
          folder: with the records.
          expected: summary that the store must have.
          num_samples: int [n], lengths of what went through the encoder; None: those of the index.

        Raises:
          UserError: there is no store, or it was made from other weights, settings or records.
        """
        self._index, self._folder = index, folder
        summary = read_sidecar(folder, what=self._what(), remedy=self._remedy())
        for key, value in expected.items():
            if summary.get(key) != value:
                raise UserError(
                    f"{self._what()} in {folder} were made from something else ({key} differs): "
                    f"{self._remedy()}"
                )
        self.shape = OutputShape(**expected["shape"])
        lengths = index.column("num_samples") if num_samples is None else num_samples
        self._num_samples = lengths
        self._records: ArrayRecordDataSource | None = None
        self._lock = threading.Lock()
        # int [n] group of each row; mean and deviation of each group, float32 [G, L, F, D].
        self._groups: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def __getstate__(self):
        left_out = ("_lock", "_records")
        return {key: value for key, value in self.__dict__.items() if key not in left_out}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._records = None
        self._lock = threading.Lock()

    def read(self, row: int) -> np.ndarray:
        """Reads the outputs of an utterance.

        Args:
          row: of the index.

        Returns:
          float16 [L, F, D].

        Raises:
          UserError: they cannot be read, or have another size.
        """
        frames = num_frames(int(self._num_samples[row]))
        try:
            with self._lock:
                if self._records is None:
                    self._records = ArrayRecordDataSource(str(self._folder / RECORDS_FILE))
            content = np.frombuffer(self._records[int(row)], OUTPUT_DTYPE)
            found = content.reshape(self.shape.of(frames))
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            raise UserError(
                f"{self._what()} in {self._folder} cannot be read ({first_line(error)}): "
                f"{self._remedy()}"
            ) from error
        if self._groups is None:
            return found
        group, mean, deviation = self._groups
        own = (found - mean[group[row]]) / deviation[group[row]]
        return np.clip(own, -_LARGEST, _LARGEST).astype(OUTPUT_DTYPE)

    def standardize(self, group: np.ndarray, *, enrolled: np.ndarray | None = None) -> None:
        """Standardizes what is read from now on by all utterances of the same group.

        Each number by its mean and deviation over the utterances, or, where every frame is kept,
        over their frames.

        Args:
          group: int [n] of the corpus's rows, from 0.
          enrolled: bool [n], utterances whose mean is subtracted, without a division; None: all,
            with it.

        Raises:
          UserError: outputs cannot be read.
        """
        num = int(group.max()) + 1
        shape = (num, self.shape.layers, self.shape.vectors or 1, self.shape.width)
        count, total, squares = np.zeros(num), np.zeros(shape), np.zeros(shape)
        for row, own in enumerate(group.tolist()):
            if enrolled is not None and not enrolled[row]:
                continue
            values = self.read(row).astype(np.float64)
            # One vector of each kind, or frames of one kind.
            values = values[:, None] if self.shape.vectors else values[:, :, None]
            count[own] += values.shape[1]
            total[own] += values.sum(1)
            squares[own] += np.square(values).sum(1)
        count = np.maximum(count, 1)[:, None, None, None]
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0.0))
        deviation = np.maximum(deviation, _MIN_DEVIATION).astype(np.float32)
        if enrolled is not None:
            deviation = np.ones_like(deviation)
        self._groups = (group, mean.astype(np.float32), deviation)

    def _what(self) -> str:
        return f"encoder outputs of corpus {self._index.corpus!r}"

    def _remedy(self) -> str:
        return f"delete {self._folder} and run the same command again"
