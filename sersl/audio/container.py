"""Audio in containers that libsndfile cannot open through PyAV: m4a, mp4, webm, wma, amr, avi.

Nothing is sought: AAC frames overlap and Opus converges, so a part is only exact when decoding
began at the first sample. What the container says to skip (the encoder's priming) is skipped.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sersl.core.errors import UserError

# (offset, magic bytes, what it is, the only demuxer tried: FFmpeg's own guess may open playlists)
CONTAINERS = (
    (4, b"ftyp", "MPEG-4 audio or video (m4a, mp4, mov)", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM", "matroska"),
    (0, b"\x30\x26\xb2\x75", "Windows Media (wma)", "asf"),
    (8, b"AVI ", "AVI video", "avi"),
    (0, b"#!AMR", "AMR", "amr"),
    (0, b"\xff\xf1", "raw AAC", "aac"),
    (0, b"\xff\xf9", "raw AAC", "aac"),
)
# A container's duration is rounded, and holds padding that the decoder drops.
_DURATION_TOLERANCE = 0.2  # seconds


class Container:
    """One audio track, read from its first sample on, with the methods of a SoundFile.

    Attributes:
      samplerate: Hz.
      channels: of the track.
      format: container; subtype: codec; both as FFmpeg names them, in capitals.
    """

    def __init__(self, source: Path | bytes, name: str, kind: str, demuxer: str):
        """Opens the first audio track.

        Args:
          source: path, or the bytes of a file.
          name: how to call it in sentences.
          kind: what it is, for the sentence that asks for PyAV.
          demuxer: FFmpeg's name of the container.

        Raises:
          UserError: PyAV is not installed, the file is damaged or has no audio.
        """
        try:
            import av
        except ImportError as error:
            raise UserError(
                f"{name} is {kind}, which needs PyAV: pip install 'sersl[av]', or convert it to "
                "wav or flac first"
            ) from error
        self._av, self._source, self._name, self._demuxer = av, source, name, demuxer
        self._chunks: Iterator[np.ndarray] | None = None
        self._rest = np.zeros((0, 1), np.float32)
        self._frames: int | None = None
        with self._open() as opened:
            stream = self._track(opened)
            self.samplerate = stream.codec_context.sample_rate
            self.channels = stream.codec_context.channels
            self.format, self.subtype = demuxer.upper(), stream.codec_context.name.upper()
        if not self.samplerate or not self.channels:
            raise UserError(f"{name} is damaged (its track has no rate): convert it again")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._chunks is not None:
            self._chunks.close()

    @property
    def frames(self) -> int:
        """Samples per channel, counted by decoding them: a container only rounds its duration."""
        if self._frames is None:
            self._frames = sum(len(chunk) for chunk in self._decode())
        return self._frames

    def seekable(self) -> bool:
        """Says no."""
        return False

    def read(self, frames: int, **_) -> np.ndarray:
        """Reads on.

        Args:
          frames: samples per channel wanted.
          _: settings of soundfile's reader, which have one value here.

        Returns:
          [n, channels] float32, n at most `frames`; fewer only at the end.
        """
        if self._chunks is None:
            self._chunks = self._decode()
        blocks, missing = [], frames
        while missing:
            if not len(self._rest):
                self._rest = next(self._chunks, self._rest)
                if not len(self._rest):
                    break
            blocks.append(self._rest[:missing])
            self._rest = self._rest[missing:]
            missing -= len(blocks[-1])
        return np.concatenate(blocks) if blocks else np.zeros((0, self.channels), np.float32)

    @contextlib.contextmanager
    def _open(self):
        # FFmpeg gets an open file: it would take a name with a colon for a protocol.
        in_memory = isinstance(self._source, bytes)
        with io.BytesIO(self._source) if in_memory else self._source.open("rb") as file:
            try:
                opened = self._av.open(file, format=self._demuxer, metadata_errors="ignore")
            except (self._av.FFmpegError, ValueError) as error:
                raise self._damaged(error) from error
            with opened:
                yield opened

    def _track(self, opened):
        if not opened.streams.audio:
            raise UserError(f"{self._name} has no audio track: leave it out")
        return opened.streams.audio[0]

    def _decode(self) -> Iterator[np.ndarray]:
        """Decodes the whole track: chunks of [n, channels] float32."""
        planar = self._av.AudioResampler(format="fltp")  # of the numbers only: rate and layout stay
        seconds = 0.0
        with self._open() as opened:
            stream = self._track(opened)
            claimed = _claimed_seconds(opened, stream)
            try:
                for frame in opened.decode(stream):
                    if (frame.sample_rate, frame.layout.nb_channels) != (
                        self.samplerate,
                        self.channels,
                    ):
                        raise UserError(
                            f"{self._name} changes its rate or channels on the way: convert it to "
                            "wav or flac first"
                        )
                    for part in planar.resample(frame):
                        chunk = part.to_ndarray().T
                        seconds += len(chunk) / self.samplerate
                        yield chunk
            except (self._av.FFmpegError, ValueError) as error:
                raise self._damaged(error) from error
        if seconds < claimed - _DURATION_TOLERANCE:
            raise UserError(
                f"{self._name} is truncated: it says {claimed:.2f} s but decoding ends at "
                f"{seconds:.2f} s; copy it again or leave it out"
            )

    def _damaged(self, error: Exception) -> UserError:
        reason = getattr(error, "strerror", None) or type(error).__name__
        return UserError(
            f"{self._name} is damaged or truncated ({reason}): copy it again or leave it out"
        )


def _claimed_seconds(opened, stream) -> float:
    """Reads the duration that the container gives; 0 where it gives none."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return 0.0 if opened.duration is None else opened.duration / 1_000_000  # microseconds
