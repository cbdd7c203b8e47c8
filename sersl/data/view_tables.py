"""Tables of vectors by utterance_id, from NumPy or Parquet files, as views of prepared corpora.

One vector for each utterance, or several such as the states of its tokens. An utterance without
vectors (an empty list or null in Parquet, a length of 0 in NumPy) lacks the view; an utterance
that the table does not list is an error.

- Parquet: columns `utterance_id` and `vectors`, a list of numbers or a list of such lists;
  optionally `corpus`.
- NPZ: arrays `utterance_id` [n] and `vectors` [n, D]; or `vectors` [sum of lengths, D] with
  `lengths` [n]; optionally `corpus` [n].
"""

import hashlib
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sersl.core.errors import UserError, first_line
from sersl.corpora.index import CorpusIndex
from sersl.data.batch import OutputShape

SUFFIXES = (".parquet", ".npz")
_ID, _VECTORS, _LENGTHS, _CORPUS = "utterance_id", "vectors", "lengths", "corpus"
LARGEST = 1e9  # of a value


class ViewTable:
    """The vectors of a table, in memory.

    Attributes:
      width: D.
      most: largest number of vectors of an utterance.
      identity: digest of ids, lengths and values.
    """

    def __init__(self, path: str | Path, *, name: str):
        """Reads and checks a table.

        Args:
          path: of the file.
          name: of the view, for messages.

        Raises:
          UserError: no such file, a column is missing, an id occurs twice, or a value is not a
            finite number.
        """
        self._what = f"table {path} of view {name!r}"
        path = Path(path)
        if not path.is_file():
            raise UserError(f"{self._what} does not exist: give a file in fusion.views")
        columns = self._parquet(path) if path.suffix == ".parquet" else self._npz(path)
        ids, corpora, lengths, vectors = columns
        self._check(ids, corpora, lengths, vectors)
        self.width, self.most = vectors.shape[1], max(1, int(lengths.max(initial=0)))
        self._vectors = vectors
        ends = np.cumsum(lengths)
        keys = zip(corpora, ids, strict=True)
        self._range = {
            key: (int(end - length), int(end))
            for key, end, length in zip(keys, ends, lengths, strict=True)
        }
        # Where nobody names a corpus, an id that only one of them has is enough.
        alone = Counter(ids)
        self._range = {
            ("", key[1]): place for key, place in self._range.items() if alone[key[1]] == 1
        } | self._range
        digest = hashlib.sha256("\n".join([*corpora, *ids]).encode())
        digest.update(np.ascontiguousarray(lengths, "<i8").tobytes())
        digest.update(np.ascontiguousarray(vectors).tobytes())
        self.identity = digest.hexdigest()

    def vectors(self, utterance_id: str, corpus: str = "") -> np.ndarray | None:
        """Finds the vectors of an utterance.

        Args:
          utterance_id: as in the table.
          corpus: "" finds an id that only one corpus of the table has.

        Returns:
          float32 [n, D]; None where it is not in the table.
        """
        for key in ((corpus, utterance_id), ("", utterance_id)):
            if key in self._range:
                start, end = self._range[key]
                return self._vectors[start:end]
        return None

    def reader(self, index: CorpusIndex, *, mean: bool) -> "TableReader":
        """Finds the vectors of all utterances of a corpus.

        Args:
          index: of the corpus.
          mean: whether the mean takes the place of several vectors.

        Raises:
          UserError: an utterance is not in the table.
        """
        rows = []
        for one in index.column("utterance_id"):
            found = self.vectors(str(one), index.corpus)
            if found is None:
                raise UserError(
                    f"{self._what} lacks utterance {one!r} of corpus {index.corpus!r}: add it, "
                    "with an empty list of vectors where the utterance has none"
                )
            rows.append(found.mean(0, keepdims=True) if mean and len(found) > 1 else found)
        return TableReader(rows, width=self.width, most=1 if mean else self.most)

    def _check(
        self, ids: Sequence[str], corpora: Sequence[str], lengths: np.ndarray, vectors: np.ndarray
    ) -> None:
        keys = list(zip(corpora, ids, strict=True))
        if len(set(keys)) < len(keys):
            twice = next(key for number, key in enumerate(keys) if key in keys[:number])
            raise UserError(
                f"{self._what} lists utterance {twice[1]!r} twice: keep one row, or tell corpora "
                "apart by a column corpus"
            )
        if not len(vectors):
            raise UserError(f"{self._what} has no vectors: give a table with some")
        wrong = ~(np.abs(vectors) <= LARGEST).all(1)
        if wrong.any():
            row = int(np.searchsorted(np.cumsum(lengths), np.flatnonzero(wrong)[0], side="right"))
            raise UserError(
                f"{self._what} has a value for utterance {ids[row]!r} that is NaN, infinite or "
                f"above {LARGEST:g}: replace it, or leave the vectors of the utterance empty"
            )

    def _npz(self, path: Path) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise self._unreadable(error) from error
        for name in (_ID, _VECTORS):
            if name not in found:
                raise self._lacks(name, sorted(found))
        ids, vectors = found[_ID], found[_VECTORS]
        lengths = found.get(_LENGTHS, np.ones(len(vectors), np.int64))
        corpora = found.get(_CORPUS, np.full(len(ids), ""))
        if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or lengths.dtype.kind not in "iu":
            raise UserError(
                f"{self._what} has vectors {vectors.dtype}{list(vectors.shape)}: give numbers "
                f"[utterances, width], or [sum of {_LENGTHS}, width] with integers {_LENGTHS}"
            )
        fits = len(ids) == len(lengths) == len(corpora) and (lengths >= 0).all()
        if not fits or int(lengths.sum()) != len(vectors):
            raise UserError(
                f"{self._what} has {len(ids)} ids, {len(lengths)} lengths with the sum "
                f"{int(lengths.sum())}, and {len(vectors)} vectors: these must agree"
            )
        texts = [[str(one) for one in column] for column in (ids, corpora)]
        return texts[0], texts[1], lengths.astype(np.int64), vectors.astype(np.float32)

    def _parquet(self, path: Path) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise self._unreadable(error) from error
        for name in (_ID, _VECTORS):
            if name not in table.column_names:
                raise self._lacks(name, table.column_names)
        ids = [str(one) for one in table[_ID].to_pylist()]
        corpora = [""] * len(ids)
        if _CORPUS in table.column_names:
            corpora = [str(one or "") for one in table[_CORPUS].to_pylist()]
        kind, lengths, rows = table.schema.field(_VECTORS).type, [], []
        if not _is_list(kind) or not _is_number(_innermost(kind)):
            raise UserError(
                f"{self._what} has a column {_VECTORS} of {kind}: give lists of numbers"
            )
        width = 0
        for one, value in zip(ids, table[_VECTORS].to_pylist(), strict=True):
            own = [] if value is None or not len(value) else value
            own = own if _is_list(kind.value_type) or not own else [own]
            lengths.append(len(own))
            for vector in own:
                width = width or len(vector or ())
                if len(vector or ()) != width or not width:
                    raise UserError(
                        f"{self._what} has a vector of {len(vector or ())} numbers for utterance "
                        f"{one!r} where others have {width}: give all the same width"
                    )
                rows.append([np.nan if number is None else number for number in vector])
        vectors = np.array(rows, np.float32).reshape(len(rows), width)
        return ids, corpora, np.array(lengths, np.int64), vectors

    def _lacks(self, name: str, known: Sequence[str]) -> UserError:
        return UserError(
            f"{self._what} has no {name!r} (it has {', '.join(known) or 'nothing'}): name the ids "
            f"{_ID} and the vectors {_VECTORS}"
        )

    def _unreadable(self, error: Exception) -> UserError:
        return UserError(
            f"{self._what} cannot be read ({first_line(error)}): give a Parquet or NPZ file"
        )


class TableReader:
    """The vectors of the utterances of one corpus, a `sersl.data.store.ViewReader`.

    Attributes:
      shape: of an utterance with the most vectors.
      dtype: of the values.
    """

    dtype = "float32"

    def __init__(self, rows: list[np.ndarray], *, width: int, most: int):
        """Keeps the vectors, float32 [n, D] for each utterance."""
        self._rows = rows
        self.shape = OutputShape(1, most, width)

    def read(self, row: int) -> np.ndarray:
        """Gives the vectors of an utterance, float32 [1, n, D]."""
        return self._rows[row][None]


def _is_list(kind: Any) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)


def _innermost(kind: Any) -> Any:
    while _is_list(kind):
        kind = kind.value_type
    return kind


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))
