"""Finds the frames of MPEG audio (MP3, MP2), so that the length is counted and not estimated.

Without a Xing header, libsndfile estimates the length from the first frame. With one, it stops at
the length in that header, even if more follows. Here the frames of a file are found by their own
headers. Tags, junk after the last frame and frames with a Xing header are left out.

Source: ISO 11172-3, sec. 2.4.1 and ISO 13818-3, sec. 2.4.2 (frame headers); the Xing and LAME tags
as LAME 3.100 writes them.
"""

import functools
import struct
from dataclasses import dataclass, field

from sersl.audio.faults import changes_format, damaged, truncated
from sersl.audio.source import OpenSource
from sersl.audio.view import FileView
from sersl.core.errors import UserError

# kbit/s by layer, for MPEG 1 and for MPEG 2 and 2.5; index 0 is "free format", which has no length.
_BITRATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_BITRATES[2, 3] = _BITRATES[2, 2]
_RATES = (44_100, 48_000, 32_000)  # Hz, of MPEG 1; halved by MPEG 2, quartered by MPEG 2.5
_DECODER_DELAY = 529  # samples, of every layer 3 decoder (LAME technical FAQ)
_MOST_JUNK = 1024  # bytes between frames: what decoders skip without an error
_MOST_SEARCHED = 1 << 20  # bytes after the last frame in which another is looked for
_WINDOW = 1 << 16  # bytes read at once
_PRETENDED = 1 << 40  # so that no estimate is shorter than the file


@dataclass(frozen=True)
class _Frame:
    """The header of a frame."""

    kind: tuple[int, int, int, bool]  # version bits, layer, index of the rate, mono
    size: int  # bytes
    samples: int
    info_at: int  # offset of a Xing header within the frame

    def is_followed_by(self, other: "_Frame | None") -> bool:
        """Whether two headers belong together; a single one may be chance."""
        return other is not None and other.kind == self.kind

    def is_last(self, start: int, stop: int) -> bool:
        """Whether the frame ends where the data does."""
        return start + self.size == stop


@functools.lru_cache(maxsize=4096)  # the same few occur in all frames
def _read_header(data: bytes) -> _Frame | None:
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    version, layer = data[1] >> 3 & 3, 4 - (data[1] >> 1 & 3)  # version 3: MPEG 1, 2: 2, 0: 2.5
    bitrate_index, rate_index, padding = data[2] >> 4, data[2] >> 2 & 3, data[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    first = version == 3
    bitrate = 1000 * _BITRATES[1 if first else 2, layer][bitrate_index]
    rate = _RATES[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    mono = data[3] >> 6 == 3
    if layer == 1:
        samples, size = 384, (12 * bitrate // rate + padding) * 4
    else:
        samples = 1152 if first or layer == 2 else 576
        size = samples // 8 * bitrate // rate + padding
    side = (17 if mono else 32) if first else (9 if mono else 17)
    return _Frame((version, layer, rate_index, mono), size, samples, 4 + side)


@dataclass
class _Run:
    """Frames from one Xing header, or from the start, to the next."""

    counted: int = 0  # frames, by the Xing header; 0: there is none or it does not count
    counted_bytes: int = 0
    delay: int = 0  # samples to leave out at the start
    padding: int = 0  # and at the end
    frames: int = 0
    start: int = 0  # byte of the first frame, that with the header included
    stop: int = 0


@dataclass
class Mpeg:
    """The frames of a file.

    Attributes:
      skip: samples that the encoder put before the first.
      held: samples that the encoder put after the last.
      samples: per channel that decoding gives, with both.
    """

    skip: int = 0
    held: int = 0
    samples: int = 0
    pieces: list[tuple[int, int]] = field(default_factory=list)

    def view(self, source: OpenSource) -> FileView:
        """Returns the frames with sound as one file."""
        return FileView(source, self.pieces, pretended=_PRETENDED)


def is_mpeg(source: OpenSource) -> bool:
    """Whether a file begins with two frames, or is one frame, after tags."""
    start = after_tags(source, 0, source.size)
    first = _read_header(source.read_at(start, 4))
    if first is None:
        return False
    second = _read_header(source.read_at(start + first.size, 4))
    return first.is_last(start, source.size) or first.is_followed_by(second)


def find_frames(source: OpenSource, start: int, stop: int) -> Mpeg:
    """Finds the frames.

    Args:
      source: the file.
      start: byte from which on.
      stop: byte before which.

    Returns:
      The frames.

    Raises:
      UserError: there are none, fewer than a Xing header states, or other data between them; or
        their rate or channels change.
    """
    finder = _Finder(source, stop)
    finder.walk(start)
    if not finder.found.pieces:
        raise UserError(
            f"{source.name} is MPEG audio without frames that can be read: convert it to wav or "
            "flac first"
        )
    return finder.finish()


class _Finder:
    def __init__(self, source: OpenSource, stop: int):
        self._source, self._stop = source, stop
        self.found = Mpeg()
        self._runs = [_Run()]
        self._kind: tuple[int, int, int, bool] | None = None
        self._cut = False
        self._window, self._window_start = b"", 0

    def walk(self, position: int) -> None:
        """Goes from frame to frame."""
        while position < self._stop:
            frame = _read_header(self._at(position, 4))
            if frame is None or frame.kind != self._kind:
                position, frame = self._next_frame(position)
                if frame is None:
                    return
            if position + frame.size > self._stop:
                self._cut = True
                return
            self._take(position, frame)
            position += frame.size

    def _take(self, position: int, frame: _Frame) -> None:
        self._kind = frame.kind
        end = position + frame.size
        run = self._read_info(position, frame)
        if run is not None:
            run.start, run.stop = position, end
            self._runs.append(run)
            return
        run, pieces = self._runs[-1], self.found.pieces
        run.frames, run.stop = run.frames + 1, end
        self.found.samples += frame.samples
        if pieces and pieces[-1][1] == position:
            pieces[-1] = (pieces[-1][0], end)
        else:
            pieces.append((position, end))

    def _next_frame(self, position: int) -> tuple[int, _Frame | None]:
        """Finds the next frame after tags or junk; None: there is none."""
        after = after_tags(self._source, position, self._stop)
        limit = min(self._stop, after + _MOST_SEARCHED)
        at, frame = after, None
        while (at := self._source.find(b"\xff", at, limit)) >= 0:
            frame = _read_header(self._at(at, 4))
            if frame is not None and (
                frame.is_last(at, self._stop)
                or frame.is_followed_by(_read_header(self._at(at + frame.size, 4)))
            ):
                break
            at, frame = at + 1, None
        if frame is None:
            return self._stop, None
        name = self._source.name
        if self._kind not in (None, frame.kind):
            raise changes_format(name)
        if self.found.pieces and at - after > _MOST_JUNK:
            raise damaged(name, f"{at - after} bytes from byte {after} on are not audio")
        return at, frame

    def _at(self, position: int, size: int) -> bytes:
        offset = position - self._window_start
        if not 0 <= offset <= len(self._window) - size:
            self._window = self._source.read_at(position, _WINDOW)
            self._window_start, offset = position, 0
        return self._window[offset : min(offset + size, self._stop - self._window_start)]

    def _read_info(self, position: int, frame: _Frame) -> _Run | None:
        """Reads the header that LAME and FFmpeg (Xing) or Fraunhofer (VBRI) write as a frame."""
        if frame.kind[1] != 3:
            return None
        data = self._at(position, min(frame.size, 192))
        at = frame.info_at
        if data[at : at + 4] in (b"Xing", b"Info") and len(data) >= at + 8:
            return _xing(data[at + 4 :])
        if data[36:40] == b"VBRI" and len(data) >= 54:
            size, frames = struct.unpack_from(">II", data, 46)
            return _Run(counted=frames, counted_bytes=size)
        return None

    def finish(self) -> Mpeg:
        """Compares what was counted with what was found."""
        runs = [run for run in self._runs if run.frames or run.counted]
        for run in runs:
            last = run is runs[-1]
            fewer = run.counted - run.frames
            whole = 0 < run.counted_bytes <= run.stop - run.start
            # Some encoders count one frame too many: the one that has the header.
            if fewer > (0 if last and self._cut else 1) and not whole:
                detail = f"it holds {run.frames} of {run.counted} frames"
                raise truncated(self._source.name, detail)
        self.found.skip = min(runs[0].delay, self.found.samples)
        if len(runs) == 1 and runs[0].frames == runs[0].counted:
            self.found.held = min(runs[0].padding, self.found.samples - self.found.skip)
        return self.found


def _xing(data: bytes) -> _Run:
    flags = int.from_bytes(data[:4], "big")
    at, numbers = 4, [0, 0]
    for number in range(2):
        if flags >> number & 1:
            numbers[number] = int.from_bytes(data[at : at + 4], "big")
            at += 4
    at += (100 if flags & 4 else 0) + (4 if flags & 8 else 0)
    run = _Run(counted=numbers[0], counted_bytes=numbers[1])
    lame = data[at : at + 24]
    if len(lame) == 24 and lame[0]:
        both = int.from_bytes(lame[21:24], "big")
        run.delay = (both >> 12) + _DECODER_DELAY
        run.padding = max(0, (both & 0xFFF) - _DECODER_DELAY)
    return run


def after_tags(source: OpenSource, position: int, stop: int) -> int:
    """Skips ID3v2, ID3v1 and APE tags."""
    while position < stop:
        head = source.read_at(position, 32)
        if head[:3] == b"ID3" and len(head) >= 10 and not max(head[6:10]) & 0x80:
            size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            position += 10 + size + (10 if head[5] & 0x10 else 0)
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            size, _, flags = struct.unpack_from("<III", head, 12)
            # Before the items is a header, after them a footer, which the size includes.
            position += 32 + (size if flags >> 29 & 1 else 0)
        elif head[:4] == b"TAG+":
            position += 227
        elif head[:3] == b"TAG":
            position += 128
        else:
            break
    return position
