"""A file that grows during the work, gets its name when complete, and can be resumed.

While `a.csv` grows, its content is in `a.csv.part` beside it, and how far the work is in
`a.csv.part.json`.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sersl.core.bounded import check_not_special, read_bounded
from sersl.core.errors import UserError
from sersl.core.files import behind_link, parse_json, whole_path
from sersl.core.unfinished import short_name

Convert = Callable[[Path, Path], None]


class GrowingFile:
    """The open part of a file.

    Attributes:
      part: where it is.
      done: units of work whose results it holds.
    """

    def __init__(self, descriptor: int, part: Path):
        """Changes nothing; `resume` comes before the first `write`."""
        self.part, self._descriptor = part, descriptor
        self._state = part.with_name(f"{part.name}.json")
        self._work, self.done = "", 0

    def resume(self, work: str) -> None:
        """Takes what an earlier process has left of the same work; else starts empty.

        Args:
          work: digest of everything that the content follows from; "": it cannot be resumed.
        """
        self._work = work
        self.done, size = self._left()
        os.ftruncate(self._descriptor, size)
        os.lseek(self._descriptor, size, os.SEEK_SET)

    def write(self, content: str | bytes) -> None:
        """Appends bytes, or text as UTF-8 with what is not UTF-8 escaped as in JSON."""
        if isinstance(content, str):
            content = content.encode("utf-8", "backslashreplace")
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def commit(self, done: int) -> None:
        """Notes that the results of the first `done` units are complete, for the next process."""
        self.done = done
        if self._work:
            size = os.lseek(self._descriptor, 0, os.SEEK_CUR)
            state = json.dumps({"work": self._work, "done": done, "bytes": size})
            # One write of the same block: a kill leaves the old or the new state.
            descriptor = os.open(self._state, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                os.pwrite(descriptor, f"{state:<200}\n".encode(), 0)
            finally:
                os.close(descriptor)

    def drop(self) -> None:
        """Removes both files."""
        self.part.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)

    def _left(self) -> tuple[int, int]:
        """Gives how much is done, and the bytes of it."""
        if not self._work:
            return 0, 0
        try:
            state = parse_json(read_bounded(self._state))
            done, size = int(state["done"]), int(state["bytes"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, 0
        is_same = state.get("work") == self._work
        return (done, size) if is_same and self.part.stat().st_size >= size >= 0 else (0, 0)


@contextlib.contextmanager
def growing_file(
    path: str | Path,
    *,
    resumable: bool = False,
    convert: Convert | None = None,
    folder: bool = False,
) -> Iterator[GrowingFile]:
    """Opens a file that appears under its name when the block ends well.

    One process writes at a time.

    Args:
      path: the file.
      resumable: the caller calls `resume` before it writes, once it knows what the content follows
        from; otherwise the file starts empty.
      convert: called with the part and a path to write the result to; None: the part is the result.
      folder: the result is a folder, which `convert` writes whole.

    Yields:
      The open file; its `done` units of work need not be done again.

    Raises:
      UserError: it cannot be written, or another process is writing it.
    """
    path = Path(path)
    try:
        path = behind_link(path)
        part = path.with_name(f"{short_name(path.name)}.part")
        if path.is_dir() and not folder:
            raise IsADirectoryError(0, "it is a folder")
        if os.path.exists(path):
            check_not_special(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path, part) as descriptor:
            file = GrowingFile(descriptor, part)
            if not resumable:
                file.resume("")
            try:
                yield file
            except BaseException:
                if not os.fstat(descriptor).st_size:
                    file.drop()
                raise
            # Still locked, so that no other process can claim the part.
            try:
                if convert is None:
                    os.replace(part, path)
                elif folder:
                    convert(part, path)
                else:
                    with whole_path(path) as target:
                        convert(part, target)
            except UserError:  # there is no result, and the same work would give none again
                file.drop()
                raise
            file.drop()
    except OSError as error:
        if not _concerns(error, path):  # of what the block reads
            raise
        resume = ", and run the same command again to resume" if resumable else ""
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}): make room, change the "
            f"permissions, or give another --output{resume}"
        ) from error


def _concerns(error: OSError, path: Path) -> bool:
    """Tells whether an error is of `path`, of a file beside or inside of it, or of its folders."""
    if error.filename is None:
        return True
    named = Path(os.fsdecode(error.filename))
    return named in path.parents or path.parent == named.parent or path in named.parents


@contextlib.contextmanager
def _alone(path: Path, part: Path) -> Iterator[int]:
    """Opens the part, locked; the lock ends with the process."""
    while True:
        with open(part, "ab", buffering=0) as file:
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
            yield file.fileno()
            return


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
