"""The parts of a corpus that several processes prepare: written one by one, joined at last.

A part holds neighbouring utterances of the listing, encoded, with all that the books and the
quality report need of each. Whoever joins them writes what one process would have written.
"""

import contextlib
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from sersl.core.errors import UserError
from sersl.corpora.writing.encoding import Encoded
from sersl.corpora.writing.records import RECORD_OPTIONS

_MOST_ROWS = 256  # of a part: seconds of work, and at most 150 MB
_FEWEST_PARTS = 256  # of a corpus that has as many utterances: enough to share among hosts


class Parts:
    """The working folder of one corpus.

    Attributes:
      folder: that the parts are in.
      rows: utterances of each part, by their number in the listing.
    """

    def __init__(self, folder: str | Path, total: int):
        """Finds what is there; writes nothing.

        Args:
          folder: to work in.
          total: utterances of the whole corpus.
        """
        self.folder = Path(folder)
        size = min(_MOST_ROWS, -(-total // _FEWEST_PARTS))
        self.rows = [range(i, min(i + size, total)) for i in range(0, total, size)]

    def missing(self) -> list[int]:
        """Lists the parts that are not written."""
        there = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        return [part for part in range(len(self.rows)) if self._file(part).name not in there]

    def part_of(self, row: int) -> int:
        """Finds the part of an utterance by its number in the listing."""
        return row // len(self.rows[0])

    def write(self, part: int, encoded: Iterable[Encoded]) -> None:
        """Writes one part, whole or not at all.

        Args:
          part: its number.
          encoded: its utterances, in order.

        Raises:
          UserError: no room, or no permission.
        """
        # Named by host and process: another may be at the same part.
        name = f"part-{part:06d}-{socket.gethostname()}-{os.getpid()}.tmp"
        temporary = self.folder / name
        try:
            with writing("a part of the corpus", self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                writer = ArrayRecordWriter(os.fspath(temporary), RECORD_OPTIONS)
            for utterance in encoded:
                with writing("a part of the corpus", self.folder):
                    writer.write(utterance.to_bytes())
            with writing("a part of the corpus", self.folder):
                writer.close()
                temporary.replace(self._file(part))
        finally:
            temporary.unlink(missing_ok=True)

    def read(self) -> Iterator[Encoded]:
        """Reads all parts, one utterance at a time; no part may be missing.

        Yields:
          Every utterance of the corpus, in the order of the listing.

        Raises:
          UserError: a part is damaged; it is deleted, so that it is made again.
        """
        for part, rows in enumerate(self.rows):
            file = self._file(part)
            try:
                with ArrayRecordDataSource(os.fspath(file)) as source:
                    if len(source) != len(rows):
                        raise ValueError(f"{len(source)} utterances of {len(rows)}")
                    for i in range(len(source)):
                        yield Encoded.from_bytes(source[i])
            except (ValueError, TypeError, RuntimeError, IndexError, OSError) as error:
                file.unlink(missing_ok=True)
                raise UserError(
                    f"{file} was damaged and is deleted: run the same command, or that of all "
                    "shards, again"
                ) from error

    def remove(self) -> None:
        """Removes the folder with all parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, part: int) -> Path:
        return self.folder / f"part-{part:06d}.array_record"


@contextlib.contextmanager
def writing(what: str, folder: str | Path) -> Iterator[None]:
    """Turns a full disk or a missing permission into one sentence.

    Args:
      what: is written, for the sentence.
      folder: that it is written into.

    Yields:
      Nothing.

    Raises:
      UserError: it cannot be written.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # ArrayRecord raises RuntimeError for either
        raise UserError(
            f"{what} cannot be written in {folder} ({error}): free some space or check the "
            "folder's permissions, then run again"
        ) from error


def check_shard(shard: tuple[int, int]) -> None:
    """Stops where a share of the work is none.

    Args:
      shard: (i, n).

    Raises:
      UserError: i is not from 0 to n - 1.
    """
    number, count = shard
    if not 0 <= number < count:
        raise UserError(f"shard {number}/{count} is none: give I/N with I from 0 to N - 1")
