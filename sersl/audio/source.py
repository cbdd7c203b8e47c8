"""Opens encoded audio (a path, bytes or a binary stream) as a regular file."""

import contextlib
import dataclasses
import io
import os
import stat
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sersl.core.display import one_line
from sersl.core.errors import UserError

AudioSource = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
IN_MEMORY = "audio in memory"
_HEAD_BYTES = 64
_BLOCK = 1 << 20
_MOST_STREAMED = 8 << 30


@dataclass(frozen=True)
class OpenSource:
    """A regular file that is open for reading, or what follows the tags at its start.

    Attributes:
      name: for messages; can be printed, whatever bytes the name of the file has.
      file: the file, unbuffered.
      size: bytes, those before `skipped` not counted.
      head: the first bytes.
      skipped: bytes at the start that are left out.
    """

    name: str
    file: io.FileIO
    size: int
    head: bytes
    skipped: int = 0

    def read_at(self, offset: int, size: int) -> bytes:
        """Reads bytes at an offset; fewer at the end of the file."""
        return os.pread(self.file.fileno(), size, self.skipped + offset)

    def without_first(self, count: int) -> "OpenSource":
        """Leaves out the first bytes."""
        head = self.read_at(count, _HEAD_BYTES)
        return OpenSource(self.name, self.file, self.size - count, head, self.skipped + count)

    def first(self, size: int) -> "OpenSource":
        """Leaves out what follows the first bytes."""
        return dataclasses.replace(self, size=size)

    def find(self, pattern: bytes, start: int, stop: int) -> int:
        """Finds the first place of a pattern that begins within [start, stop); -1: none."""
        while start < stop:
            data = self.read_at(start, min(_BLOCK, stop - start) + len(pattern) - 1)
            found = data.find(pattern)
            if found >= 0:
                return start + found
            if not data:
                break
            start += _BLOCK
        return -1


@contextlib.contextmanager
def open_source(source: AudioSource) -> Iterator[OpenSource]:
    """Opens audio that is not empty.

    Args:
      source: path, the content of a file, or a stream that is open in binary mode. Of a path, the
        NFC and the NFD spelling are tried.

    Yields:
      The open file.

    Raises:
      UserError: missing, empty, a folder, a pipe or a device.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(source, str | os.PathLike):
            name = display_name(source)
            file = stack.enter_context(_open_path(os.fspath(source), name))
        else:
            name = IN_MEMORY
            file = stack.enter_context(_unnamed_file(source))
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise UserError(f"{name} is empty (0 bytes): replace the file or leave it out")
        try:
            head = os.pread(file.fileno(), _HEAD_BYTES, 0)
        except OSError as error:
            raise UserError(f"audio file {name} cannot be read: {error.strerror}") from error
        yield OpenSource(name, file, size, head)


def display_name(path: str | os.PathLike[str]) -> str:
    """Gives a path as text that can be printed: other bytes and control characters are escaped."""
    return one_line(path_text(path))


def path_text(path: str | os.PathLike[str]) -> str:
    """Gives a path as text that UTF-8 can hold: bytes that are not UTF-8 become `\\xNN`."""
    return path_bytes(path).decode("utf-8", "backslashreplace")


def path_bytes(path: str | os.PathLike[str]) -> bytes:
    """Gives the bytes of a path, also where a list has a name that no system can have."""
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:  # half of a surrogate pair
        return os.fspath(path).encode("utf-8", "surrogatepass")


def existing_spelling(path: str | os.PathLike[str]) -> str:
    """Finds a file whose name is spelled with other Unicode characters that look the same.

    macOS writes "é" as two characters (NFD), most other systems as one (NFC), and lists of files
    travel between them.

    Args:
      path: as it is known.

    Returns:
      The spelling that exists; `path` itself where it exists or no spelling does.
    """
    path = os.fspath(path)
    if path.isascii() or os.path.lexists(path):
        return path
    found = Path(path).anchor
    for part in Path(path).parts[1 if found else 0 :]:
        if not os.path.lexists(os.path.join(found, part)):
            try:
                beside = os.listdir(found or ".")
            except OSError:
                return path
            same = [name for name in beside if _composed(name) == _composed(part)]
            if not same:
                return path
            part = same[0]
        found = os.path.join(found, part)
    return found


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _open_path(path: str, name: str) -> io.FileIO:
    try:
        # Not blocking: opening a pipe would wait for a writer.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        opened = os.open(existing_spelling(path), flags)
    except FileNotFoundError as error:
        with contextlib.suppress(OSError):
            raise UserError(
                f"audio file {name} is a link to {display_name(os.readlink(path))}, which does not "
                "exist: restore it or remove the link"
            ) from error
        raise UserError(f"audio file {name} does not exist: check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"audio file {name} cannot be opened: {reason}") from error
    mode = os.fstat(opened).st_mode
    if stat.S_ISREG(mode):
        return io.FileIO(opened)
    os.close(opened)
    if stat.S_ISDIR(mode):
        raise UserError(f"{name} is a folder, not an audio file: name a file in it")
    raise UserError(f"{name} is a pipe or device, not an audio file: leave it out")


def _unnamed_file(source: bytes | bytearray | memoryview | BinaryIO) -> io.FileIO:
    """Copies bytes or a stream to a file without a name, for decoders that need one."""
    stream: BinaryIO | io.BytesIO
    if isinstance(source, bytes | bytearray | memoryview):
        stream = io.BytesIO(source)
        memory = getattr(os, "memfd_create", None)  # Linux
    else:
        stream, memory = source, None
    file = io.FileIO(memory("audio") if memory else _nameless_file(), "r+")
    written = 0
    while block := stream.read(_BLOCK):
        written += len(block)
        if written > _MOST_STREAMED:
            file.close()
            raise UserError(f"{IN_MEMORY} has more than {_MOST_STREAMED >> 30} GiB: give a file")
        rest = memoryview(block)
        while rest:
            rest = rest[file.write(rest) :]
    return file


def _nameless_file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
