"""Standard streams that do not end the work.

Characters that the terminal's encoding lacks are escaped. A stream that is closed, whose reader has
left or whose disk is full is discarded, and the command continues. The command ends only if
standard output carries the result.
"""

import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO, cast

from sersl.core.errors import UserError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDOUT, STDERR = 1, 2


class ReaderLeftError(BrokenPipeError):
    """Standard output carries the result and is no longer read, as in `sersl ... | head`."""


class _Descriptor(io.RawIOBase):
    """Writes to a file descriptor until that fails, and discards from then on.

    Attributes:
      carries_result: whether a failure raises instead.
    """

    def __init__(self, number: int, *, closed: bool):
        super().__init__()
        self.carries_result = False
        self._number = number
        self._discards = self._was_closed = closed

    def need(self) -> None:
        """Says that the result is written here, so that a failure ends the verb."""
        if self._was_closed:
            raise UserError(
                "standard output is closed, so the result would be lost: open it, or give --output"
            )
        self.carries_result = True

    def write(self, content: "ReadableBuffer") -> int:
        """Writes bytes; returns how many."""
        size = memoryview(content).nbytes
        while not self._discards:
            try:
                return os.write(self._number, content)
            except BlockingIOError:  # the other side has made the stream non-blocking
                select.select([], [self._number], [])
            except OSError as error:
                self._discards = True
                if self.carries_result:
                    raise _as_result(error) from error
        return size

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)


def guard_streams() -> None:
    """Replaces the standard streams of the process; those of a test or a notebook stay."""
    closed = [_open_if_closed(number) for number in range(3)]
    if sys.stdout is sys.__stdout__:
        sys.stdout = _guarded(sys.stdout, STDOUT, closed=closed[STDOUT])
    if sys.stderr is sys.__stderr__:
        sys.stderr = _guarded(sys.stderr, STDERR, closed=closed[STDERR])


def use_utf8() -> None:
    """Restarts the program in Python's UTF-8 mode where file names would have another encoding.

    The text of the standard streams keeps the encoding of the terminal.
    """
    if sys.getfilesystemencoding() == "utf-8" or not sys.executable:
        return
    environment = dict(os.environ)
    if sys.stdout is not None and not environment.get("PYTHONIOENCODING"):
        environment["PYTHONIOENCODING"] = sys.stdout.encoding
    words = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
    os.execve(sys.executable, words, environment)


def need_stdout() -> None:
    """Says that standard output carries the result of the verb.

    Afterwards a reader that leaves raises ReaderLeftError, and a full disk UserError.

    Raises:
      UserError: standard output is closed.
    """
    descriptor = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(descriptor, _Descriptor):
        descriptor.need()


def _guarded(stream: TextIO | None, number: int, *, closed: bool) -> TextIO:
    if stream is not None:
        stream.flush()
    guarded = io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(number, closed=closed)),
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace",
        line_buffering=number == STDERR or os.isatty(number),
    )
    return cast(TextIO, guarded)


def _open_if_closed(number: int) -> bool:
    """Opens a closed descriptor on the null device; returns whether it was closed.

    The next file that is opened would otherwise take its number, and messages would end in it.
    """
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null == number:
            os.set_inheritable(number, True)
        else:
            os.dup2(null, number)
            os.close(null)
        return True
    return False


def _as_result(error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):
        return ReaderLeftError(*error.args)
    return UserError(
        f"standard output cannot be written ({error.strerror}), so the result is not complete: "
        "make room, or give --output another file"
    )
