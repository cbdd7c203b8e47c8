"""Audio in containers that libsndfile cannot open through PyAV: m4a, mp4, webm, wma, amr, avi.

No position is sought: AAC frames overlap and Opus converges, so a part is only exact when decoding
began at the first sample. Samples that the container marks to be skipped (the encoder's priming)
are skipped.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sersl.audio.faults import changes_format, truncated
from sersl.audio.limits import check_format
from sersl.audio.source import OpenSource
from sersl.audio.track import within
from sersl.audio.view import FileView
from sersl.core.errors import UserError
from sersl.core.extras import install_hint

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

# (offset, magic bytes, what it is, the only demuxer tried: FFmpeg's own guess may open playlists)
CONTAINERS = (
    (4, b"ftyp", "MPEG-4 audio or video (m4a, mp4, mov)", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM", "matroska"),
    (0, b"\x30\x26\xb2\x75", "Windows Media (wma)", "asf"),
    (8, b"AVI ", "AVI video", "avi"),
    (28, b"\x7fFLAC", "FLAC in Ogg", "ogg"),
    (0, b"#!AMR", "AMR", "amr"),
    *((0, bytes([0xFF, 0xF0 | low]), "raw AAC", "aac") for low in (0, 1, 8, 9)),
)
# A container's duration is rounded, and holds padding that the decoder drops.
_DURATION_TOLERANCE = 0.2  # seconds


def find_container(head: bytes) -> tuple[str, str] | None:
    """Finds what a file is by its first bytes.

    Args:
      head: at least 40 bytes, if the file has them.

    Returns:
      (what it is, FFmpeg's name of the demuxer); None: not one of these containers.
    """
    for offset, magic, kind, demuxer in CONTAINERS:
        if head[offset : offset + len(magic)] == magic:
            return kind, demuxer
    return None


class _Forwards:
    """A file that can only be read on, so that FFmpeg has no size to estimate a duration from."""

    def __init__(self, view: FileView):
        self.read = view.read


class ContainerTrack:
    """The first audio track of a container, see `sersl.audio.track.Track`."""

    num_samples: int | None = None
    seekable: bool = False

    def __init__(self, source: OpenSource, kind: str, demuxer: str):
        """Opens the track.

        Args:
          source: the file.
          kind: what it is, for the sentence that asks for PyAV.
          demuxer: FFmpeg's name of the container.

        Raises:
          UserError: PyAV is not installed, the file is damaged or has no audio.
        """
        try:
            import av
        except ImportError as error:
            raise UserError(
                f"{source.name} is {kind}, which needs PyAV: {install_hint('av')}, or convert it "
                "to wav or flac first"
            ) from error
        self._av, self._source, self._demuxer = av, source, demuxer
        with self._open() as (_, stream):
            self.sample_rate: int = stream.codec_context.sample_rate
            self.channels: int = stream.codec_context.channels
            self.format, self.subtype = demuxer.upper(), stream.codec_context.name.upper()
        check_format(source.name, self.sample_rate, self.channels)

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Decodes samples [start, stop), see `Track`."""
        return within(self._decoded(), start, stop)

    def _decoded(self) -> Iterator[np.ndarray]:
        planar = self._av.AudioResampler(format="fltp")  # of the numbers only: rate and layout stay
        seconds = 0.0
        with self._open() as (opened, stream):
            claimed = _claimed_seconds(opened, stream)
            for frame in opened.decode(stream):
                shape = (frame.sample_rate, frame.layout.nb_channels)
                if shape != (self.sample_rate, self.channels):
                    raise changes_format(self._source.name)
                for part in planar.resample(frame):
                    chunk = part.to_ndarray().T
                    seconds += len(chunk) / self.sample_rate
                    yield chunk
        if seconds < claimed - _DURATION_TOLERANCE:
            detail = f"its header says {claimed:.2f} s but decoding ends at {seconds:.2f} s"
            raise truncated(self._source.name, detail)

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple["InputContainer", "AudioStream"]]:
        # FFmpeg gets an open file: it would take a name with a colon for a protocol.
        view = FileView(self._source, [(0, self._source.size)])
        # Only MPEG-4 has its index at the end.
        given = view if self._demuxer == "mov" else _Forwards(view)
        with self._av.open(given, "r", format=self._demuxer, metadata_errors="ignore") as opened:
            if not opened.streams.audio:
                raise UserError(f"{self._source.name} has no audio track: leave it out")
            yield opened, opened.streams.audio[0]


def _claimed_seconds(opened: "InputContainer", stream: "AudioStream") -> float:
    """Reads the duration that the container gives; 0 where it gives none."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return 0.0 if opened.duration is None else opened.duration / 1_000_000  # microseconds
