"""One recording as blocks of samples, decoded by libsndfile."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import soundfile

from sersl.audio.faults import changes_format, truncated
from sersl.audio.headers import MPEG_CODINGS, Samples
from sersl.audio.limits import check_format
from sersl.audio.mpeg import Mpeg, find_frames
from sersl.audio.ogg import find_links
from sersl.audio.source import OpenSource
from sersl.audio.view import FileView
from sersl.core.errors import UserError

_BLOCK = 1 << 20  # values read at once: a header that is wrong about the length allocates no more

_FLAC = b"fLaC\0\0\0\x22"  # with the head of the first block, which has 34 bytes
# Formats whose length `sersl.audio.headers` or libsndfile checks, or that do not state one.
_FORMATS = frozenset(
    {"WAV", "WAVEX", "RF64", "W64", "AIFF", "SVX", "CAF", "AU", "NIST", "VOC", "AVR"}
    | {"FLAC", "OGG", "MP3", "HTK", "PAF", "PVF", "IRCAM"}
)
# Where seeking gave the same bits as decoding from the start, for random positions.
_EXACT_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "FLAC", "AIFF", "AU", "NIST", "CAF"})
_EXACT_SUBTYPES = frozenset(
    {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
)


class Track(Protocol):
    """One recording.

    Attributes:
      sample_rate: Hz.
      channels: number of them.
      format: container, as libsndfile or FFmpeg names it, in capitals: WAV, FLAC, OGG, MOV...
      subtype: coding: PCM_16, VORBIS, AAC...
      num_samples: per channel; None: known only after decoding.
      seekable: whether a part can be decoded without what precedes it.
    """

    sample_rate: int
    channels: int
    format: str
    subtype: str
    num_samples: int | None
    seekable: bool

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Decodes samples [start, stop), or fewer at the end: [n, channels] float32, n > 0."""
        ...


class SoundFile(soundfile.SoundFile):
    """A SoundFile that does not seek after every read.

    Seeking is not exact in every format, and fails at the end of a FLAC of unknown length.
    """

    def seekable(self) -> bool:
        """False, so that `read` does not seek; `seek` itself works."""
        return False


@dataclass
class SoundFileTrack:
    """A recording that libsndfile decodes, of one part or several in a row; see `Track`."""

    name: str
    parts: Sequence[Callable[[], "OpenPart"]]
    mpeg: Mpeg | None = None
    check_end: Callable[[], None] | None = None  # called after the last sample
    sample_rate: int = field(init=False)
    channels: int = field(init=False)
    format: str = field(init=False)
    subtype: str = field(init=False)
    num_samples: int | None = field(init=False)
    seekable: bool = field(init=False)

    def __post_init__(self) -> None:
        counted: list[int | None] = []
        for number, part in enumerate(self.parts):
            with part() as file:
                if not number:
                    check_format(self.name, file.samplerate, file.channels)
                    if file.format not in _FORMATS:
                        raise UserError(
                            f"{self.name} is a file of format {file.format}, whose length cannot "
                            "be checked: convert it to wav or flac first"
                        )
                    self.sample_rate, self.channels = file.samplerate, file.channels
                    self.format, self.subtype = file.format, file.subtype
                elif (file.samplerate, file.channels) != (self.sample_rate, self.channels):
                    raise changes_format(self.name)
                counted.append(_counted(file, self.mpeg))
        known = [count for count in counted if count is not None]
        self.num_samples = sum(known) if len(known) == len(counted) else None
        exact = self.format in _EXACT_FORMATS and self.subtype in _EXACT_SUBTYPES
        self.seekable = exact and self.num_samples is not None

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Decodes samples [start, stop), see `Track`."""
        if self.seekable:  # which is one part
            with self.parts[0]() as file:
                if start:
                    file.seek(start)
                yield from self._decoded(file, start, stop)
            return
        blocks = self._all_parts()
        if self.mpeg is not None:
            blocks = _trimmed(blocks, self.mpeg.skip, self.mpeg.held)
        yield from within(blocks, start, stop)

    def _all_parts(self) -> Iterator[np.ndarray]:
        for part in self.parts:
            with part() as file:
                yield from self._decoded(file, 0, None)

    def _decoded(self, file: SoundFile, read: int, stop: int | None) -> Iterator[np.ndarray]:
        expected = _counted(file, self.mpeg)
        end = min((e for e in (stop, expected) if e is not None), default=None)
        rows = max(1, _BLOCK // self.channels)
        while end is None or read < end:
            want = rows if end is None else min(rows, end - read)
            block = file.read(want, dtype="float32", always_2d=True)
            if not len(block):
                break
            read += len(block)
            yield block
        if self.mpeg is not None:
            # A decoder of MPEG may drop the first frames of a stream that was cut out.
            end = self.mpeg.samples - 2 * 1152
        if end is not None and read < end:
            detail = f"its header says {expected or end} samples but decoding ends at {read}"
            raise truncated(self.name, detail)
        if read == expected and self.check_end is not None:
            self.check_end()


OpenPart = contextlib.AbstractContextManager[SoundFile]


def open_track(source: OpenSource, samples: Samples | None, *, mpeg: bool) -> SoundFileTrack:
    """Opens a recording with libsndfile.

    Args:
      source: the file.
      samples: where they are according to its header, if known.
      mpeg: whether it is MPEG audio without a container.

    Returns:
      The track.

    Raises:
      UserError: it is not audio, or damaged.
    """
    coding = 0 if samples is None else samples.coding
    if mpeg or (samples is not None and coding in MPEG_CODINGS):
        span = (0, source.size) if samples is None else (samples.start, samples.stop)
        found = find_frames(source, *span)
        track = SoundFileTrack(
            source.name, [lambda: _open_view(source, found.view(source))], mpeg=found
        )
        if samples is not None:
            track.format = "WAV"
        return track
    if source.head.startswith(b"OggS"):
        links = find_links(source)
        if links != [(0, source.size)]:
            parts = [
                lambda link=link: _open_view(source, FileView(source, [link])) for link in links
            ]
            return SoundFileTrack(source.name, parts)
    pieces = [(0, source.size)] if samples is None else samples.pieces(source.size)
    if source.skipped or pieces != [(0, source.size)]:
        return SoundFileTrack(source.name, [lambda: _open_view(source, FileView(source, pieces))])
    check_end = (lambda: _check_one_flac(source)) if source.head.startswith(_FLAC) else None
    track = SoundFileTrack(source.name, [lambda: _open_file(source)], check_end=check_end)
    if track.format == "MP3":  # after something that is not a tag
        return open_track(source, None, mpeg=True)
    return track


def _check_one_flac(source: OpenSource) -> None:
    if source.find(_FLAC, 1, source.size) >= 0:
        raise UserError(
            f"{source.name} has a second FLAC stream after the first, which cannot be read: split "
            "it, or convert it to wav"
        )


@contextlib.contextmanager
def _open_file(source: OpenSource) -> Iterator[SoundFile]:
    descriptor = source.file.fileno()
    os.lseek(descriptor, 0, os.SEEK_SET)
    with _opened(source.name, descriptor) as file:
        yield file


@contextlib.contextmanager
def _open_view(source: OpenSource, view: FileView) -> Iterator[SoundFile]:
    with _opened(source.name, view) as file:
        yield file
    if view.error is not None:
        raise UserError(f"audio file {source.name} cannot be read: {view.error.strerror}")


def _opened(name: str, file: int | FileView) -> SoundFile:
    try:
        return SoundFile(file, closefd=False)
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"{name} is not audio that can be read ({reason_of(error)}): "
            "give a wav, flac, ogg, opus or mp3 file"
        ) from error


def reason_of(error: Exception) -> str:
    """Returns the reason that a library gives, without the full stop."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None)
    if text and "is not a regular file" in text:  # libsndfile's message for many damaged MP3s
        text = "the decoder cannot open it"
    return (text or type(error).__name__).strip().rstrip(".")


def within(
    blocks: Iterator[np.ndarray], start: int, stop: int | None = None
) -> Iterator[np.ndarray]:
    """Cuts a stretch out of blocks.

    Args:
      blocks: [n, ...] each, one after the other.
      start: first sample.
      stop: sample after the last; None: the end of the blocks.

    Yields:
      [n, ...], n at least 1.
    """
    position = 0
    for block in blocks:
        part = block[max(0, start - position) : None if stop is None else stop - position]
        if len(part):
            yield part
        position += len(block)
        if stop is not None and position >= stop:
            return


def _trimmed(blocks: Iterator[np.ndarray], skip: int, held: int) -> Iterator[np.ndarray]:
    """Leaves out the first and the last samples."""
    blocks = within(blocks, skip)
    if not held:
        yield from blocks
        return
    waiting = None
    for block in blocks:
        waiting = block if waiting is None else np.concatenate([waiting, block])
        if len(waiting) > held:
            yield waiting[:-held]
            waiting = waiting[-held:]


def _counted(file: SoundFile, mpeg: Mpeg | None) -> int | None:
    """Returns the number of samples by the header; None where it is an estimate or missing."""
    unknown = mpeg is not None or file.frames >= 1 << 62
    return None if unknown else file.frames
