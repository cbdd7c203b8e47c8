"""A text file that grows while the work goes on, and appears under its name when complete."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from sersl.core.errors import UserError
from sersl.core.files import behind_link
from sersl.core.unfinished import short_name


@contextlib.contextmanager
def growing_file(path: str | Path) -> Iterator[TextIO]:
    """Opens a text file that appears under its name when the block ends well.

    Until then, and after an interruption, its content is in `<name>.part` beside it. One process
    writes at a time. Names that are not UTF-8 are written as JSON escapes them, e.g. `\\udce9`.

    Args:
      path: the file.

    Yields:
      The open file.

    Raises:
      UserError: it cannot be written, or another process is writing it.
    """
    path = Path(path)
    try:
        path = behind_link(path)
        part = path.with_name(f"{short_name(path.name)}.part")
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path, part) as file:
            yield file
            file.flush()
            os.replace(part, path)  # still locked: nobody can take the part for their own
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}): make room, mend the "
            "permissions, or give another --output"
        ) from error


@contextlib.contextmanager
def _alone(path: Path, part: Path) -> Iterator[TextIO]:
    """Opens the part, empty and locked; the lock ends with the process."""
    while True:
        with open(part, "a", newline="", encoding="utf-8", errors="backslashreplace") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{path} is being written by another process: wait for it, or give another "
                    "--output"
                ) from None
            # Between opening and locking, the other process may have put the part in its place.
            if not _is_same(file.fileno(), part):
                continue
            file.truncate(0)
            try:
                yield file
            except BaseException:
                file.flush()
                if not os.fstat(file.fileno()).st_size:
                    part.unlink(missing_ok=True)
                raise
            return


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
