"""Reads the codes of frames that `sersl cluster` wrote beside a prepared corpus."""

import threading

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource

from sersl.core.errors import UserError, first_line, unknown_name
from sersl.core.lengths import num_frames as frames_of
from sersl.corpora.index import CorpusIndex
from sersl.corpora.sidecar import (
    RECORDS_FILE,
    SUMMARY_FILE,
    codes_folder,
    names_beside,
    read_sidecar,
)

CODES_SCHEMA = 1  # layout that this file reads
CODES_DTYPE = np.dtype("<u2")


class CodeReader:
    """Reads the codes of one code book by row; safe in many threads.

    Attributes:
      fingerprint: of the code book.
      labels_of: {"corpus", "version", "fingerprint"} of corpora whose labels it depends on.
    """

    def __init__(self, index: CorpusIndex, book: str, *, num_codes: int):
        """Checks that the codes belong to the corpus and to the settings; opens no record yet.

        Args:
          index: of the corpus.
          book: name of the code book.
          num_codes: that the run expects it to have.

        Raises:
          UserError: the codes are missing or damaged, or were made for other records.
        """
        self._index, self._book = index, book
        self._folder = codes_folder(index, book)
        if not (self._folder / SUMMARY_FILE).is_file():
            raise UserError(
                f"{unknown_name('code book', book, names_beside(self._folder))}; corpus "
                f"{index.corpus!r} has none of that name: run {self._command()}"
            )
        summary = read_sidecar(
            self._folder,
            what=f"codes {book!r} of corpus {index.corpus!r}",
            remedy=f"run {self._command()} again",
        )
        for key, expected in (
            ("schema", CODES_SCHEMA),
            ("corpus_fingerprint", index.fingerprint),
            ("num_utterances", len(index)),
            ("num_frames", int(frames_of(index.column("num_samples")).sum())),
        ):
            if summary.get(key) != expected:
                raise UserError(
                    f"the codes {book!r} of corpus {index.corpus!r} were made for other records "
                    f"({key} differs): run {self._command()} again"
                )
        if summary.get("num_codes") != num_codes:
            raise UserError(
                f"code book {book!r} has {summary.get('num_codes')} codes, not the {num_codes} of "
                "objectives.clusters.codes: correct the setting"
            )
        labels_of = summary.get("labels_of", [])
        if not isinstance(summary.get("fingerprint"), str) or not isinstance(labels_of, list):
            raise UserError(
                f"{self._folder / SUMMARY_FILE} is damaged: run {self._command()} again"
            )
        self.fingerprint: str = summary["fingerprint"]
        self.labels_of: tuple[dict, ...] = tuple(labels_of)
        self._records: ArrayRecordDataSource | None = None
        self._lock = threading.Lock()

    def __getstate__(self):
        left_out = ("_lock", "_records")
        return {key: value for key, value in self.__dict__.items() if key not in left_out}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._records = None
        self._lock = threading.Lock()

    @property
    def book(self) -> str:
        """Name of the code book."""
        return self._book

    def codes(self, row: int, *, start_frame: int = 0, num_frames: int) -> np.ndarray:
        """Reads the codes of a run of frames.

        Args:
          row: of the index.
          start_frame: first frame.
          num_frames: T.

        Returns:
          int32 [T].

        Raises:
          UserError: they cannot be read, or are not those of the utterance.
        """
        expected = frames_of(int(self._index.column("num_samples")[row]))
        try:
            with self._lock:
                if self._records is None:
                    self._records = ArrayRecordDataSource(str(self._folder / RECORDS_FILE))
            content = np.frombuffer(self._records[int(row)], CODES_DTYPE)
        except (RuntimeError, ValueError, IndexError) as error:
            raise UserError(
                f"the codes {self._book!r} of corpus {self._index.corpus!r} cannot be read "
                f"({first_line(error)}): run {self._command()} again"
            ) from error
        if len(content) != expected:
            raise UserError(
                f"the codes {self._book!r} of corpus {self._index.corpus!r} have {len(content)} "
                f"frames where utterance {self._index.column('utterance_id')[row]!r} has "
                f"{expected}: run {self._command()} again"
            )
        return content[start_frame : start_frame + num_frames].astype(np.int32)

    def _command(self) -> str:
        data_dir = self._index.folder.parents[1]
        return (
            f"`sersl cluster --corpus {self._index.corpus} --data_dir {data_dir} --output "
            f".../{self._book}`"
        )
