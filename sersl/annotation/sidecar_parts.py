"""The parts of a sidecar that is being made: written one by one, by several runs, joined at last.

An interrupted run loses at most the part it was at. The working folder is named after what is
being made, so that parts of another annotator, corpus or version are never taken up.
"""

import contextlib
import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from sersl.core.errors import UserError
from sersl.core.files import whole_folder, whole_path, write_json
from sersl.core.lengths import SAMPLE_RATE
from sersl.corpora.writing.parts import writing

RECORDS_FILE = "sidecar-00000-of-00001.array_record"
SUMMARY_FILE = "sidecar.json"
_MOST_ROWS = 1024  # of a part
_MOST_SAMPLES = 3600 * SAMPLE_RATE  # an hour, 230 MB of waveforms in memory


class SidecarParts:
    """The working folder of one sidecar.

    Attributes:
      rows: of each part, in order.
    """

    def __init__(self, folder: Path, summary: dict, num_samples: np.ndarray):
        """Finds what is there; writes nothing.

        Args:
          folder: of the finished sidecar.
          summary: that it will have.
          num_samples: int [n], of every row of the corpus.
        """
        digest = hashlib.sha256(json.dumps(summary, sort_keys=True).encode()).hexdigest()[:16]
        self._folder = folder
        self._summary = summary
        self._partial = folder.with_name(f".{folder.name}-{digest}.partial")
        self.rows = _divide(num_samples)

    def is_done(self, part: int) -> bool:
        """Says whether a part is written."""
        return self._file(part).is_file()

    def missing(self) -> list[int]:
        """Lists the parts that are not written."""
        return [part for part in range(len(self.rows)) if not self.is_done(part)]

    def write(self, part: int, records: Iterable[bytes]) -> None:
        """Writes one part, whole or not at all.

        Args:
          part: its number.
          records: one for each of its rows.

        Raises:
          UserError: no room, or no permission.
        """
        # `whole_path` names by process: another run may be at the same part.
        with whole_path(self._file(part)) as partial:
            with self._writing():
                writer = ArrayRecordWriter(str(partial), "group_size:1")
            for record in records:
                with self._writing():
                    writer.write(record)
            with self._writing():
                writer.close()

    def join(self) -> None:
        """Makes the sidecar of all parts, in place of an older one; no part may be missing.

        Of several runs that do so at once, one does it and the others wait.
        """
        with self._writing(), self._alone():
            if not self._partial.is_dir():  # another run was first
                return
            with whole_folder(self._folder) as joined:
                writer = ArrayRecordWriter(str(joined / RECORDS_FILE), "group_size:1")
                for part, rows in enumerate(self.rows):
                    source = ArrayRecordDataSource(str(self._file(part)))
                    if len(source) != len(rows):
                        self._file(part).unlink()
                        raise UserError(
                            f"{self._file(part)} was damaged and is deleted: "
                            "run the same command again"
                        )
                    for i in range(len(source)):
                        writer.write(source[i])
                writer.close()
                write_json(joined / SUMMARY_FILE, self._summary)
            for left in self._folder.parent.glob(f".{self._folder.name}-*.partial"):
                shutil.rmtree(left, ignore_errors=True)

    def _file(self, part: int) -> Path:
        return self._partial / f"part-{part:06d}.array_record"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self._partial.mkdir(parents=True, exist_ok=True)
        with open(self._partial / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the process ends, however it ends
            yield

    def _writing(self) -> contextlib.AbstractContextManager[None]:
        return writing("the sidecar", self._folder.parent)


def _divide(num_samples: np.ndarray) -> list[range]:
    """Divides rows into parts of at most 1024 utterances and about an hour."""
    parts, first, samples = [], 0, 0
    for row, count in enumerate(num_samples):
        if row > first and (row - first >= _MOST_ROWS or samples + count > _MOST_SAMPLES):
            parts.append(range(first, row))
            first, samples = row, 0
        samples += int(count)
    return [*parts, range(first, len(num_samples))] if len(num_samples) else []
