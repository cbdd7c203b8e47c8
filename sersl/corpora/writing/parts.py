"""Work on a corpus in parts; an interrupted run keeps those that it finished.

A part holds neighbouring rows and is written whole. Several runs may share the work, on any hosts
that see the folder; the one that ends last joins the parts.
"""

import bisect
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from sersl.core.errors import UserError
from sersl.core.files import whole_path, writing
from sersl.corpora.writing.records import RECORD_OPTIONS

_MOST_ROWS = 256  # of a part: seconds of work, and at most 150 MB
_FEWEST_PARTS = 256  # of a corpus that has as many utterances: enough to share among hosts
_MOST_PROCESSES = 512

Progress = Callable[[int, int], None]
Item = TypeVar("Item")


class Parts:
    """The working folder of some work on a corpus.

    Attributes:
      folder: that the parts are in.
      rows: of each part, in order.
    """

    def __init__(
        self,
        folder: str | Path,
        rows: Sequence[range],
        *,
        what: str = "a part of the corpus",
        options: str = RECORD_OPTIONS,
    ):
        """Writes nothing.

        Args:
          folder: to work in.
          rows: of each part, in order.
          what: is made, for messages.
          options: of ArrayRecord.
        """
        self.folder = Path(folder)
        self.rows = list(rows)
        self._what, self._options = what, options
        self._stops = [part.stop for part in self.rows]

    def missing(self) -> list[int]:
        """Lists the parts that are not written."""
        there = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        return [part for part in range(len(self.rows)) if self._file(part).name not in there]

    def part_of(self, row: int) -> int:
        """Finds the part of a row; one behind the last part for a row behind the last row."""
        return bisect.bisect_right(self._stops, row)

    def share(self, shard: tuple[int, int]) -> "Share":
        """Finds the parts that are to be done by run i of n.

        Args:
          shard: (i, n).

        Returns:
          Parts i, i + n, i + 2 n... that are not written.

        Raises:
          UserError: i is not from 0 to n - 1.
        """
        check_shard(shard)
        number, count = shard
        mine = range(number, len(self.rows), count)
        missing = set(self.missing())
        return Share(
            [part for part in mine if part in missing],
            total=sum(len(self.rows[part]) for part in mine),
            done=sum(len(self.rows[part]) for part in mine if part not in missing),
        )

    def prepare(self) -> None:
        """Makes the folder, so that one that cannot be written is found before the work.

        Raises:
          UserError: no room, or no permission.
        """
        with writing(self._what, self.folder.parent):
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as trial:
                trial.write(bytes(4096))

    def write(self, part: int, records: Iterable[bytes]) -> None:
        """Writes one part, whole or not at all.

        Args:
          part: its number.
          records: one for each of its rows.

        Raises:
          UserError: no room, or no permission.
        """
        with writing(self._what, self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        # Named by host and process until it is whole: another run may work on the same part.
        with whole_path(self._file(part)) as partial:
            with writing(self._what, self.folder):
                writer = ArrayRecordWriter(os.fspath(partial), self._options)
            for record in records:
                with writing(self._what, self.folder):
                    writer.write(record)
            with writing(self._what, self.folder):
                writer.close()

    def read(self, unpack: Callable[[bytes], Item]) -> Iterator[Item]:
        """Reads all parts, one record at a time; no part may be missing.

        Args:
          unpack: makes an item of a record; a damaged one may raise ValueError or TypeError.

        Yields:
          An item for every row of the corpus, in order.

        Raises:
          UserError: a part is damaged; it is deleted, so that it is made again.
        """
        for part, rows in enumerate(self.rows):
            file = self._file(part)
            try:
                with ArrayRecordDataSource(os.fspath(file)) as source:
                    if len(source) != len(rows):
                        raise ValueError(f"{len(source)} records of {len(rows)}")
                    items = (unpack(source[i]) for i in range(len(source)))
                    yield from items
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


class Share:
    """The parts that one run has to do, and how far it is.

    Attributes:
      to_do: numbers of the parts.
      total: rows of this run, those of earlier runs included.
      done: rows that are finished.
    """

    def __init__(self, to_do: list[int], *, total: int, done: int):
        self.to_do, self.total, self.done = to_do, total, done

    def counted(self, items: Iterable[Item], progress: Progress | None) -> Iterator[Item]:
        """Passes items on, and calls `progress` with (rows done, rows of this run) after each."""
        for item in items:
            yield item
            self.done += 1
            if progress is not None:
                progress(self.done, self.total)


def divide_evenly(total: int) -> list[range]:
    """Divides the rows of a corpus into parts of one size.

    Args:
      total: rows; at least 1.

    Returns:
      At least 256 parts if there are as many rows, of at most 256 rows each.
    """
    size = min(_MOST_ROWS, -(-total // _FEWEST_PARTS))
    return [range(i, min(i + size, total)) for i in range(0, total, size)]


def check_shard(shard: tuple[int, int]) -> None:
    """Checks that a share of the work exists.

    Args:
      shard: (i, n).

    Raises:
      UserError: i is not from 0 to n - 1.
    """
    number, count = shard
    if not 0 <= number < count:
        raise UserError(f"shard {number}/{count} is none: give I/N with I from 0 to N - 1")


def check_processes(processes: int, doing: str) -> None:
    """Checks a number of worker processes.

    Args:
      processes: as given.
      doing: what they do, for the sentence.

    Raises:
      UserError: it is not from 1 to 512.
    """
    if processes < 1:
        raise UserError(f"{doing} takes at least 1 process, not {processes}")
    if processes > _MOST_PROCESSES:
        raise UserError(
            f"{doing} takes at most {_MOST_PROCESSES} processes on one machine, not {processes}: "
            "lower --processes"
        )
