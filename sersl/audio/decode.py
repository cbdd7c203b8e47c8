"""Decodes audio files, bytes and streams to mono float32 at 16 kHz, whole or in blocks.

Loudness: the level is never changed, neither here nor later: no peak, RMS or loudness
normalisation, because level is evidence of arousal. Channels are averaged. Integer samples are
divided by 2^(bits-1), so full scale is [-1, 1]; a float file that goes beyond keeps its values, up
to 16 times full scale.

Crops are sample-exact: what `read_audio` returns for a range is the slice of what it returns for
the whole file, bit by bit. libsndfile 1.2.2 seeks exactly in PCM and FLAC, but not in Ogg Vorbis
(whole packets wrong), Opus, MP3 (last bit) and GSM; those are decoded from their first sample,
and so are the containers that PyAV reads.

Lengths are counted by decoding to the end, except those of PCM and of FLAC files that state theirs.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sersl.audio.container import ContainerTrack, find_container
from sersl.audio.downmix import Downmix
from sersl.audio.faults import damaged
from sersl.audio.flac import range_end
from sersl.audio.headers import find_samples
from sersl.audio.limits import MOST_HOURS, MOST_HOURS_AT_ONCE, check_hours, check_samples
from sersl.audio.mpeg import after_tags, is_mpeg
from sersl.audio.ogg import find_links
from sersl.audio.resample import resample_blocks
from sersl.audio.source import AudioSource, OpenSource, open_source
from sersl.audio.track import Track, open_track, reason_of, within
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE


@dataclass(frozen=True)
class AudioInfo:
    """Length and format of an audio file."""

    num_samples: int  # per channel, at `sample_rate`
    sample_rate: int  # Hz, of the file
    channels: int
    format: str  # container, as libsndfile names it: WAV, FLAC, OGG, MP3...
    subtype: str  # coding: PCM_16, VORBIS, OPUS...

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate


class AudioFile:
    """An open recording; made by `open_audio`.

    Attributes:
      name: for messages.
      sample_rate: Hz, of the file.
      seekable: whether a part can be decoded without what precedes it.
    """

    def __init__(self, name: str, track: Track):
        self.name, self.sample_rate, self.seekable = name, track.sample_rate, track.seekable
        self._track, self._num_samples = track, track.num_samples
        if self._num_samples == 0:
            self._check_any(0)

    def info(self) -> AudioInfo:
        """Describes the file; decodes it, once, where its length is not known otherwise."""
        if self._num_samples is None:
            for _ in self._raw(0, None, MOST_HOURS):
                pass
        assert self._num_samples is not None
        track = self._track
        return AudioInfo(
            self._num_samples, track.sample_rate, track.channels, track.format, track.subtype
        )

    def blocks(
        self, *, channel: int | None = None, most_hours: float = MOST_HOURS
    ) -> Iterator[np.ndarray]:
        """Decodes the file with bounded memory.

        Args:
          channel: the one to take, from 0; None averages all.
          most_hours: a longer file is an error.

        Yields:
          [n] float32 at 16 kHz; together what `read` returns, bit by bit.

        Raises:
          UserError: as `read_audio`.
        """
        downmix = Downmix(self.name, self._track.channels, channel)
        yield from self._mono(downmix, 0, None, SAMPLE_RATE, most_hours)
        downmix.check()

    def read(
        self,
        *,
        start: int = 0,
        num_samples: int | None = None,
        sample_rate: int = SAMPLE_RATE,
        channel: int | None = None,
    ) -> np.ndarray:
        """Decodes the file or a part of it, [num_samples] float32; see `read_audio`."""
        downmix = Downmix(self.name, self._track.channels, channel)
        rate, known = self.sample_rate, self._num_samples
        if known is not None:
            total = -(-known * sample_rate // rate)
            num_samples = range_end(self.name, start, num_samples, total) - start
        end = None if num_samples is None else start + num_samples
        if rate == sample_rate and known is not None:
            blocks = self._mono(downmix, start, end, rate, MOST_HOURS_AT_ONCE)
        else:
            whole = self._mono(downmix, 0, None, sample_rate, MOST_HOURS_AT_ONCE)
            blocks = within(whole, start, end)
        waveform = _joined(blocks)
        if self._num_samples is not None:  # known by now where the file ended before the range
            total = -(-self._num_samples * sample_rate // rate)
            range_end(self.name, start, num_samples, total)
        downmix.check()
        return waveform

    def _mono(
        self, downmix: Downmix, start: int, stop: int | None, sample_rate: int, most_hours: float
    ) -> Iterator[np.ndarray]:
        raw = self._raw(start, stop, most_hours)
        mixed = (_checked(self.name, downmix(block)) for block in raw)
        return resample_blocks(mixed, self.sample_rate, sample_rate)

    def _raw(self, start: int, stop: int | None, most_hours: float) -> Iterator[np.ndarray]:
        count = 0
        with library_errors(self.name):
            for block in self._track.blocks(start, stop):
                count += len(block)
                check_hours(self.name, count / self.sample_rate, most_hours)
                yield block
        if stop is None and start == 0:
            self._check_any(count)
            self._num_samples = count

    def _check_any(self, count: int) -> None:
        if not count:
            raise UserError(
                f"{self.name} has no samples (or its header does not count them): "
                "convert it to wav again or leave it out"
            )


@contextlib.contextmanager
def open_audio(source: AudioSource) -> Iterator[AudioFile]:
    """Opens audio of any format libsndfile reads (wav, flac, ogg, opus, mp3, aiff...).

    With PyAV installed (`sersl[av]`) also of m4a, mp4, webm, wma, amr, aac and avi.

    Args:
      source: path, the bytes of a file, or a stream that is open in binary mode.

    Yields:
      The recording.

    Raises:
      UserError: missing, empty, not audio or damaged; a format that needs PyAV or must be
        converted first.
    """
    with open_source(source) as opened:
        with library_errors(opened.name):
            track = _open_track(opened)
        yield AudioFile(opened.name, track)


def read_audio(
    source: AudioSource,
    *,
    start: int = 0,
    num_samples: int | None = None,
    sample_rate: int = SAMPLE_RATE,
    channel: int | None = None,
) -> np.ndarray:
    """Decodes audio of any format that `open_audio` opens.

    Args:
      source: path, the bytes of a file, or a stream that is open in binary mode.
      start: first sample wanted, counted at `sample_rate`.
      num_samples: samples wanted, counted at `sample_rate`; None takes all that follow `start`.
      sample_rate: Hz of the result; other rates are resampled (the whole file, then cut).
      channel: the one to take, from 0; None averages all.

    Returns:
      [num_samples] float32, mono.

    Raises:
      UserError: missing, empty, not audio, truncated, not finite or not on the scale where 1 is
        full scale; longer than 6 hours; channels that cancel each other; a format that needs PyAV
        or must be converted first; a range or channel the file does not have.
    """
    with open_audio(source) as audio:
        return audio.read(
            start=start, num_samples=num_samples, sample_rate=sample_rate, channel=channel
        )


def probe(source: AudioSource) -> AudioInfo:
    """Reads the length and format of an audio file.

    Args:
      source: path, the bytes of a file, or a stream that is open in binary mode.

    Returns:
      Length, rate, channels and format. Files that do not state their length exactly are decoded;
      damage within the samples of other files is not detected here.

    Raises:
      UserError: missing, empty or not audio, as `read_audio`.
    """
    with open_audio(source) as audio:
        return audio.info()


def _open_track(source: OpenSource) -> Track:
    tags = after_tags(source, 0, source.size)
    if 0 < tags < source.size:
        source = source.without_first(tags)
    found, samples = find_container(source.head), find_samples(source)
    if found is not None:
        if found[1] == "ogg":
            source = source.first(find_links(source)[-1][1])
        return ContainerTrack(source, *found)
    if source.name.lower().endswith(".raw"):
        raise UserError(f"{source.name} has no header (raw samples): convert it to wav or flac")
    return open_track(source, samples, mpeg=is_mpeg(source))


@contextlib.contextmanager
def library_errors(name: str) -> Iterator[None]:
    """Turns exceptions of libraries about a file into one sentence.

    Args:
      name: of the file.

    Yields:
      Nothing; the block uses the library.

    Raises:
      UserError: the block raised an exception.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise damaged(name, reason_of(error)) from error


def _checked(name: str, block: np.ndarray) -> np.ndarray:
    check_samples(name, block)
    return block


def _joined(blocks: Iterator[np.ndarray]) -> np.ndarray:
    """Joins blocks [n] float32 with little more memory than their sum."""
    first = next(blocks, np.zeros(0, np.float32))
    second = next(blocks, None)
    if second is None:
        return np.ascontiguousarray(first)
    joined = bytearray(np.ascontiguousarray(first).data)
    joined += np.ascontiguousarray(second).data
    for block in blocks:
        joined += np.ascontiguousarray(block).data
    return np.frombuffer(joined, np.float32)
