"""Text files from outside: regular files only, in any usual encoding, split at \\n or \\r\\n."""

import codecs
import contextlib
import gzip
import io
import os
import re
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO, cast

from sersl.core.errors import UserError, as_user_error

MOST_LINE = 64 * 2**20  # characters of one line
_BLOCK = 1 << 20  # bytes
_LFS = b"version https://git-lfs.github.com/spec/"
_MARKS = {  # a byte-order mark at the start of the file, the longest first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# In Western European text bytes above 127 are single letters among ASCII, rarely two in a row. In
# Chinese, Japanese, Cyrillic or Greek encodings whole words consist of them.
_HIGH = re.compile(rb"[\x80-\xff]+")
# Signs such as \xb3 inside of a word are letters of Windows-1250 or ISO 8859-2, such as Polish.
_SIGN_IN_WORD = re.compile(
    rb"[A-Za-z\xc0-\xff][\xa1-\xa3\xa5\xa6\xac\xaf\xb1-\xb3\xb6\xb9\xbc-\xbf][A-Za-z\xc0-\xff]"
)
_UNUSED = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")  # bytes that Windows-1252 does not define


@dataclass(frozen=True)
class Encoding:
    """How a text file is written.

    Attributes:
      name: of a Python codec.
      line_end: "\\n", which also ends lines in \\r\\n; or "\\r" in files without \\n.
    """

    name: str
    line_end: str

    @property
    def is_guess(self) -> bool:
        """Whether the encoding was guessed: the bytes do not determine it."""
        return self.name == "cp1252"


def check_file(path: Path) -> None:
    """Raises UserError where a path is not a readable regular file, without opening it.

    A pipe or a device such as /dev/zero might never end.
    """
    with _readable(path):
        kind = path.stat().st_mode
    if not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "a pipe or a device"
        raise UserError(f"{path} is {what}, not a file: give a regular file")


def read_lines(path: Path) -> Iterator[str]:
    """Reads the lines of a text file, decompressed where its name ends in .gz.

    UTF-8, UTF-16 and UTF-32 are recognised, and anything else that looks like Western European
    text is read as Windows-1252, which contains Latin-1.

    Yields:
      Lines without their end. Only \\n and \\r\\n end a line; other separators of Unicode, such as
      U+2028 or a form feed, stay in the text.

    Raises:
      UserError: not a regular file, not text, a Git LFS pointer, or a line of over `MOST_LINE`.
    """
    with open_text(path) as (file, line_end):
        number = 0
        while line := file.readline(MOST_LINE + 1):
            number += 1
            if len(line) > MOST_LINE:
                raise UserError(
                    f"{path.name} line {number} is longer than {MOST_LINE // 2**20} million "
                    "characters: this is not a list or table"
                )
            yield line.removesuffix(line_end).removesuffix("\r")


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[tuple[TextIO, str]]:
    """Opens a text file, see `read_lines`: gives the file and what ends its lines."""
    encoding = find_encoding(path)
    with (
        _opened(path) as binary,
        io.TextIOWrapper(binary, encoding=encoding.name, newline=encoding.line_end) as file,
    ):
        yield file, encoding.line_end


def read_text(path: Path) -> str:
    """Reads a whole text file, see `read_lines`, with \\n between lines."""
    return "\n".join(read_lines(path))


def find_encoding(path: Path) -> Encoding:
    """Reads a file once to find how its text is encoded.

    Raises:
      UserError: not a regular file, not text, a Git LFS pointer, or text in an encoding that
        that is not recognised.
    """
    check_file(path)
    with _opened(path) as file:
        first = block = file.read(_BLOCK)
        name = _from_start(first, path)
        found = _Bytes()
        while block:
            found.add(block)
            if found.zeros and not name:
                raise UserError(f"{path} holds binary data, not text: give a text file")
            block = file.read(_BLOCK)
    line_end = "\r" if found.returns and not found.newlines else "\n"
    if name:
        return Encoding(name, line_end)
    if found.is_utf8():
        return Encoding("utf-8", line_end)
    if found.undefined or found.in_rows > 0.3 * found.high:
        raise UserError(f"{path} is not UTF-8 text, and its encoding is unknown: save it as UTF-8")
    return Encoding("cp1252", line_end)


class _Bytes:
    """Which bytes a file has, block by block."""

    def __init__(self) -> None:
        self.zeros = self.newlines = self.returns = False
        self.undefined = False  # bytes that Windows-1252 does not have, or not there
        self.high = 0  # bytes above 127
        self.in_rows = 0  # of these, those in a row of three or more
        self._utf8: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()

    def add(self, block: bytes) -> None:
        self.zeros = self.zeros or b"\0" in block
        self.newlines = self.newlines or b"\n" in block
        self.returns = self.returns or b"\r" in block
        self._decode(block)
        if self._utf8 is None or not block.isascii():
            odd = _UNUSED.search(block) or _SIGN_IN_WORD.search(block)
            self.undefined = self.undefined or odd is not None
            for run in _HIGH.findall(block):
                self.high += len(run)
                self.in_rows += len(run) if len(run) > 2 else 0

    def is_utf8(self) -> bool:
        self._decode(b"", final=True)
        return self._utf8 is not None

    def _decode(self, block: bytes, *, final: bool = False) -> None:
        try:
            if self._utf8 is not None:
                self._utf8.decode(block, final)
        except UnicodeDecodeError:
            self._utf8 = None


def _from_start(first: bytes, path: Path) -> str:
    """Names the encoding that the first bytes prove; "" where they do not."""
    if first.startswith(_LFS):
        raise UserError(
            f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` in its folder"
        )
    for mark, name in _MARKS.items():
        if first.startswith(mark):
            return name
    # UTF-16 without a mark: every other byte of ASCII is zero.
    even, odd = first[0:4096:2], first[1:4096:2]
    if len(odd) > 1:
        if odd.count(0) > 0.4 * len(odd) and not even.count(0):
            return "utf-16-le"
        if even.count(0) > 0.4 * len(even) and not odd.count(0):
            return "utf-16-be"
    return ""


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file or its decompressed content."""
    with _readable(path):
        file: IO[bytes] = path.open("rb")
        with file if path.suffix != ".gz" else cast(IO[bytes], gzip.open(file)) as content:
            yield content


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns errors of reading into one sentence."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not {error.encoding} text: save it as UTF-8 ({error.reason})"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged or cut off ({error}): get it again") from error
    except OSError as error:
        known = as_user_error(error)
        if known is not None:
            raise known from error
        raise UserError(
            f"{os.fspath(path)} cannot be read ({error.strerror or error}): check the path"
        ) from error
    except ValueError as error:  # a zero byte in the path
        if "null" not in str(error):
            raise
        raise UserError(f"{os.fspath(path)!r} has a zero byte, so it is not a file") from error
