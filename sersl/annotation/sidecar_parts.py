"""The parts of a sidecar that is being made, and the sidecar that is made of them."""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from sersl.core.digests import write_digests
from sersl.core.files import whole_folder, write_json, writing
from sersl.core.lengths import SAMPLE_RATE
from sersl.core.unfinished import clear_stale
from sersl.corpora.sidecar import RECORDS_FILE, SUMMARY_FILE, is_finished
from sersl.corpora.writing.parts import Parts

_MOST_ROWS = 1024  # of a part
_MOST_SAMPLES = 3600 * SAMPLE_RATE  # an hour, 230 MB of waveforms in memory
_OPTIONS = "group_size:1"  # of ArrayRecord: random access, compressed


class SidecarParts(Parts):
    """The working folder of one sidecar, or of other records beside a corpus.

    It is named after what is made, so that parts for another annotator, corpus or version are never
    used.
    """

    def __init__(
        self,
        folder: Path,
        summary: dict[str, Any],
        num_samples: np.ndarray,
        *,
        what: str = "the sidecar",
        most_samples: int = _MOST_SAMPLES,
        options: str = _OPTIONS,
    ):
        """Writes nothing.

        Args:
          folder: of the finished sidecar.
          summary: that it will have.
          num_samples: int [n], of every row of the corpus.
          what: is made, for messages.
          most_samples: of audio in a part.
          options: of ArrayRecord.
        """
        rows = divide(num_samples, most_samples=most_samples)
        super().__init__(partial_folder(folder, summary), rows, what=what, options=options)
        self._finished = folder
        self._summary = summary

    def join(self) -> None:
        """Makes the sidecar of all parts, in place of an older one; no part may be missing.

        Of several runs that do so at once, one does it and the others wait.

        Raises:
          UserError: no room, no permission, or a part is damaged.
        """
        with self._alone():
            if not is_finished(self._finished, self._summary):
                with whole_folder(self._finished) as joined:
                    self._write_records(joined / RECORDS_FILE)
                    write_json(joined / SUMMARY_FILE, self._summary)
                    write_digests(joined)
            clear_partials(self._finished)

    def _write_records(self, file: Path) -> None:
        with writing(self._what, file.parent):
            writer = ArrayRecordWriter(os.fspath(file), self._options)
        for record in self.read(bytes):
            with writing(self._what, file.parent):
                writer.write(record)
        with writing(self._what, file.parent):
            writer.close()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            with writing(self._what, self.folder.parent):
                self.folder.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context(open(self.folder / "lock", "w"))
            fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the process ends, however it ends
            yield


def partial_folder(folder: Path, content: Mapping[str, Any]) -> Path:
    """Names the folder of unfinished work, so that only work on the same content is resumed.

    Args:
      folder: of the finished work.
      content: that it will have, JSON-able.

    Returns:
      A hidden folder beside it.
    """
    return folder.with_name(f".{folder.name}-{fingerprint(content)}.partial")


def clear_partials(folder: Path) -> None:
    """Removes all unfinished work for a folder, of interrupted runs on other content too.

    To be called for a finished folder that is found as well: the run that made it may have been
    killed while it removed its parts.
    """
    pattern = f".{glob.escape(folder.name)}-{'[0-9a-f]' * 16}.partial"
    for left in folder.parent.glob(pattern):
        shutil.rmtree(left, ignore_errors=True)
    clear_stale(folder)


def fingerprint(content: Mapping[str, Any]) -> str:
    """Names JSON-able content by 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def divide(num_samples: np.ndarray, *, most_samples: int = _MOST_SAMPLES) -> list[range]:
    """Divides rows into parts of at most 1024 utterances and so much audio.

    Args:
      num_samples: int [n], of every row.
      most_samples: of a part with more than one row.

    Returns:
      Rows of each part, in order.
    """
    parts, first, samples = [], 0, 0
    for row, count in enumerate(num_samples):
        if row > first and (row - first >= _MOST_ROWS or samples + count > most_samples):
            parts.append(range(first, row))
            first, samples = row, 0
        samples += int(count)
    return [*parts, range(first, len(num_samples))] if len(num_samples) else []
