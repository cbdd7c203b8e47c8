"""Parts of a file, one after the other, as a file that a decoder can read."""

import bisect
import itertools
import os
from collections.abc import Sequence
from typing import Any

from sersl.audio.source import OpenSource

_WINDOW = 1 << 16  # bytes read at once
Piece = tuple[int, int] | bytes  # bytes [start, stop) of the file, or other bytes in their place


class FileView:
    """Reads pieces of a file as one file, with the methods that soundfile and PyAV call.

    An error of the machine ends the data and is kept, since callbacks from C cannot pass it on.

    Attributes:
      error: of the last failed read, or None.
    """

    def __init__(self, source: OpenSource, pieces: Sequence[Piece], *, pretended: int = 0):
        """Reads nothing yet.

        Args:
          source: the file.
          pieces: in order.
          pretended: bytes that the view pretends to have after the last piece. There, reading gives
            nothing except in the last 128 bytes, which are zeros.
        """
        self._source, self._pieces = source, tuple(pieces)
        sizes = (len(p) if isinstance(p, bytes) else p[1] - p[0] for p in self._pieces)
        self._ends = list(itertools.accumulate(sizes))
        self._size = (self._ends[-1] if self._ends else 0) + pretended
        self._tag = self._size - 128 if pretended else self._size  # where ID3v1 would be
        self._position = 0
        self._window, self._window_start = b"", 0
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to an offset, which is not before the start, and returns it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Returns the current offset."""
        return self._position

    def read(self, size: int) -> bytes:
        """Reads up to a number of bytes; fewer at the end, or of one piece."""
        return self._next(size)

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer as far as there is data; returns the number of bytes."""
        filled, size = 0, len(buffer)
        while filled < size:
            data = self._next(size - filled)
            if not data:
                break
            buffer[filled : filled + len(data)] = data
            filled += len(data)
        return filled

    def _next(self, most: int) -> bytes:
        """Reads on, up to the end of one piece or of the window."""
        offset = self._position - self._window_start
        if not 0 <= offset < len(self._window):
            # Decoders of MPEG read each frame on its own.
            self._window, self._window_start = self._read_piece(max(most, _WINDOW)), self._position
            offset = 0
        data = self._window[offset : offset + most]
        self._position += len(data)
        return data

    def _read_piece(self, most: int) -> bytes:
        number = bisect.bisect_right(self._ends, self._position)
        if number == len(self._ends):
            data = bytes(max(0, min(most, self._size - self._position)))
            return data if self._position >= self._tag else b""
        piece, left = self._pieces[number], self._ends[number] - self._position
        if isinstance(piece, bytes):
            return piece[len(piece) - left :]
        try:
            return self._source.read_at(piece[1] - left, min(most, left))
        except OSError as error:
            self.error = error
            return b""
