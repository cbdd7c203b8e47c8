"""Audio files and bytes to mono float32 at 16 kHz, and to the FLAC of the records and back.

Loudness: the level is never changed, neither here nor later: no peak, RMS or loudness
normalisation, because level is evidence of arousal. Channels are averaged. Integer samples are
divided by 2^(bits-1), so full scale is [-1, 1]; a float file that goes beyond keeps its values.

Crops are sample-exact: what `read_audio` returns for a range is the slice of what it returns for
the whole file, bit by bit. libsndfile 1.2.2 seeks exactly in PCM and FLAC, but not in Ogg Vorbis
(whole packets wrong), Opus, MP3 (last bit) and GSM; those are decoded from their first sample,
and so are the containers that PyAV reads.
"""

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from sersl.audio.container import CONTAINERS, Container
from sersl.audio.resample import resample
from sersl.audio.truncation import OGG_PAGE, check_data_chunk, check_last_page
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE

_BLOCK = 1 << 20  # frames read at once: a header that lies about the length allocates no more

# Where seeking gave the same bits as decoding from the start, for random positions.
_EXACT_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "FLAC", "AIFF", "AU", "NIST", "CAF"})
_EXACT_SUBTYPES = frozenset(
    {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
)


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says."""

    num_samples: int  # per channel, at `sample_rate`
    sample_rate: int  # Hz, of the file
    channels: int
    format: str  # container, as libsndfile names it: WAV, FLAC, OGG, MP3...
    subtype: str  # coding: PCM_16, VORBIS, OPUS...

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate


def read_audio(
    source: str | Path | bytes,
    *,
    start: int = 0,
    num_samples: int | None = None,
    sample_rate: int = SAMPLE_RATE,
    channel: int | None = None,
) -> np.ndarray:
    """Decodes audio of any format libsndfile reads (wav, flac, ogg, opus, mp3, aiff...).

    With PyAV installed (`sersl[av]`) also of m4a, mp4, webm, wma, amr, aac and avi.

    Args:
      source: path, or the bytes of a file.
      start: first sample wanted, counted at `sample_rate`.
      num_samples: samples wanted, counted at `sample_rate`; None takes all that follow `start`.
      sample_rate: Hz of the result; other rates are resampled (the whole file, then cut).
      channel: the one to take, from 0; None averages all.

    Returns:
      [num_samples] float32, mono.

    Raises:
      UserError: missing, empty, not audio, truncated, or not finite; a format that needs
        PyAV or must be converted first; a range or channel the file does not have.
    """
    with _opened(source) as (file, name):
        _check_channel(file, name, channel)
        if file.samplerate == sample_rate:
            stop = _stop(name, start, num_samples, file.frames)
            waveform = _read_mono(file, name, start, stop, channel)
            _check_finite(waveform, name)
            return waveform
        waveform = _read_mono(file, name, 0, file.frames, channel)
        _check_finite(waveform, name)
        waveform = resample(waveform, file.samplerate, sample_rate)
        return waveform[start : _stop(name, start, num_samples, len(waveform))]


def probe(source: str | Path | bytes) -> AudioInfo:
    """Reads the header of an audio file, not its samples.

    Args:
      source: path, or the bytes of a file.

    Returns:
      Length, rate, channels and format. A truncated FLAC is not seen here. What needs PyAV is
      decoded to be counted.

    Raises:
      UserError: missing, empty or not audio, as `read_audio`.
    """
    with _opened(source) as (file, _):
        return AudioInfo(file.frames, file.samplerate, file.channels, file.format, file.subtype)


def to_pcm16(waveform: np.ndarray) -> np.ndarray:
    """Rounds to 16-bit samples: the exact inverse of decoding PCM_16.

    Args:
      waveform: [N] float32; clipped to [-1, 1 - 2^-15].

    Returns:
      [N] int16.

    Raises:
      UserError: a sample is NaN.
    """
    _check_finite(waveform, "audio in memory")
    # libsndfile would scale by 32767, so that decoding and encoding again changed the samples.
    return np.clip(np.rint(waveform * np.float32(32768)), -32768, 32767).astype(np.int16)


def encode_flac(waveform: np.ndarray) -> bytes:
    """Encodes a waveform for a record: mono FLAC, 16 kHz, PCM_16.

    Args:
      waveform: [N] float32 at 16 kHz, N at least 1; clipped to [-1, 1].

    Returns:
      The bytes of a FLAC file.

    Raises:
      UserError: no samples, or one that is not finite.
    """
    samples = to_pcm16(waveform)
    if not len(samples):
        raise UserError("audio in memory has no samples: leave the utterance out")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_flac(
    data: bytes,
    *,
    start: int = 0,
    num_samples: int | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Decodes what `encode_flac` made, or a part of it.

    Args:
      data: bytes of a mono 16 kHz FLAC file.
      start: first sample.
      num_samples: None takes all that follow `start`.
      out: [num_samples] float32, contiguous, such as a row of a batch, to decode into; None: a
        new array.

    Returns:
      [num_samples] float32 in [-1, 1]; `out` where it was given.

    Raises:
      UserError: damaged record, or a range beyond its end.
    """
    name = "audio record"
    try:
        file = _Record(io.BytesIO(data))
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"{name} is damaged ({_reason(error)}): run `sersl prepare` for this corpus again"
        ) from error
    with file:
        stop = _stop(name, start, num_samples, file.frames)
        if out is None:
            out = np.empty(stop - start, np.float32)
        try:
            if start:
                file.seek(start)
            decoded = file.read(out=out)
        except (soundfile.LibsndfileError, ValueError) as error:  # ValueError: several channels
            raise UserError(f"{name} is damaged: run `sersl prepare` again") from error
        if len(decoded) != stop - start:
            raise UserError(f"{name} is truncated: run `sersl prepare` again")
        return out


class _SoundFile(soundfile.SoundFile):
    """A SoundFile that never seeks where seeking is not exact (it would, after each block)."""

    def seekable(self) -> bool:
        """Whether a seek lands on the sample asked for, bit by bit."""
        exact = self.format in _EXACT_FORMATS and self.subtype in _EXACT_SUBTYPES
        return exact and super().seekable()


class _Record(soundfile.SoundFile):
    """A SoundFile that is read once: it would seek to where it is after reading."""

    def seekable(self) -> bool:
        """Says no, though `seek` works: FLAC seeks exactly."""
        return False


@contextlib.contextmanager
def _opened(source: str | Path | bytes) -> Iterator[tuple[soundfile.SoundFile | Container, str]]:
    """Opens a source that holds at least one sample; says what is wrong with any other."""
    in_memory = isinstance(source, bytes)
    if in_memory:
        name, size, file = "audio in memory", len(source), io.BytesIO(source)
        head, tail = source[:12], source[-OGG_PAGE:]
    else:
        name, size, head, tail = _look_at(source)
        file = os.fsencode(source)  # a name that is not UTF-8 stays what it is
    if not size:
        raise UserError(f"{name} is empty (0 bytes): replace the file or leave it out")
    for offset, magic, kind, demuxer in CONTAINERS:
        if head[offset : offset + len(magic)] == magic:
            with Container(source if in_memory else Path(source), name, kind, demuxer) as container:
                yield container, name
            return
    if name.lower().endswith(".raw"):
        raise UserError(f"{name} has no header (raw samples): convert it to wav or flac first")
    try:
        opened = _SoundFile(file)
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"{name} is not audio that can be read ({_reason(error)}): "
            "give a wav, flac, ogg, opus or mp3 file"
        ) from error
    with opened:
        if not opened.frames:
            raise UserError(
                f"{name} has no samples (or its header does not count them): "
                "convert it to wav again or leave it out"
            )
        check_data_chunk(opened, name)
        if opened.format == "OGG":
            check_last_page(tail, name)
        yield opened, name


def _look_at(path: str | Path) -> tuple[str, int, bytes, bytes]:
    """Name, size in bytes, first and (of an Ogg file) last bytes of a file that must be there."""
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{path} is a folder, not an audio file: name a file in it")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for a writer
            raise UserError(f"{path} is a pipe or device, not an audio file: leave it out")
        with path.open("rb") as file:
            size, head, tail = os.fstat(file.fileno()).st_size, file.read(12), b""
            if head.startswith(b"OggS"):
                file.seek(max(0, size - OGG_PAGE))
                tail = file.read()
            return str(path), size, head, tail
    except FileNotFoundError as error:
        raise UserError(f"audio file {path} does not exist: check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"audio file {path} cannot be opened: {reason}") from error


def _check_channel(file: soundfile.SoundFile, name: str, channel: int | None) -> None:
    if channel is not None and not 0 <= channel < file.channels:
        raise UserError(
            f"{name} has {file.channels} channels, so there is no channel {channel}: "
            "they count from 0"
        )


def _check_finite(waveform: np.ndarray, name: str) -> None:
    # The sum is finite unless a sample is not (or overflows): one pass, nothing allocated.
    if not np.isfinite(waveform.sum(dtype=np.float64)):
        bad = np.count_nonzero(~np.isfinite(waveform))
        raise UserError(f"{name} has {bad} samples that are NaN or infinite: leave it out")


def _stop(name: str, start: int, num_samples: int | None, total: int) -> int:
    """The end of a range that must lie inside the audio."""
    stop = total if num_samples is None else start + num_samples
    if not 0 <= start <= stop <= total:
        raise UserError(
            f"{name} has {total} samples, so there are none from {start} to {stop}: "
            "if the file was replaced, run `sersl prepare` again"
        )
    return stop


def _read_mono(
    file: soundfile.SoundFile, name: str, start: int, stop: int, channel: int | None
) -> np.ndarray:
    """Reads [start, stop) block by block, one channel or the mean of all."""
    position = start if file.seekable() else 0
    blocks = []
    try:
        if position:
            file.seek(position)
        while position < stop:
            want = min(_BLOCK, (start if position < start else stop) - position)
            block = file.read(want, dtype="float32", always_2d=True)
            if not len(block):
                raise UserError(
                    f"{name} is truncated: its header says {file.frames} samples but decoding "
                    f"ends at {position}; copy it again or leave it out"
                )
            if position >= start:
                blocks.append(block[:, 0] if file.channels == 1 else _mix(block, channel))
            position += len(block)
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"{name} is damaged or truncated ({_reason(error)}): copy it again or leave it out"
        ) from error
    if len(blocks) == 1:
        return np.ascontiguousarray(blocks[0])
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _mix(block: np.ndarray, channel: int | None) -> np.ndarray:
    if channel is None:
        return block.mean(axis=1, dtype=np.float32)
    return block[:, channel]


def _reason(error: soundfile.LibsndfileError) -> str:
    return error.error_string.strip().rstrip(".")
