"""The FLAC of the records: mono, 16 kHz, 16 bit, and nothing but audio."""

import io

import numpy as np
import soundfile

from sersl.audio.limits import check_samples
from sersl.audio.track import SoundFile, reason_of
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE


def to_pcm16(waveform: np.ndarray) -> np.ndarray:
    """Rounds to 16-bit samples: the exact inverse of decoding PCM_16.

    Args:
      waveform: [N] float32; clipped to [-1, 1 - 2^-15].

    Returns:
      [N] int16.

    Raises:
      UserError: a sample is NaN or infinite, or not on the scale where 1 is full scale.
    """
    check_samples("audio in memory", waveform)
    # libsndfile would scale by 32767, so that decoding and encoding again changed the samples.
    return np.clip(np.rint(waveform * np.float32(32768)), -32768, 32767).astype(np.int16)


def encode_flac(samples: np.ndarray) -> bytes:
    """Encodes samples for a record.

    Args:
      samples: [N] int16, or float32 in [-1, 1], at 16 kHz, N at least 1.

    Returns:
      The bytes of a FLAC file.

    Raises:
      UserError: no samples, or as `to_pcm16`.
    """
    if samples.dtype != np.int16:
        samples = to_pcm16(samples)
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
    try:
        file = SoundFile(io.BytesIO(data))
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"audio record is damaged ({reason_of(error)}): run `sersl prepare` for this corpus "
            "again"
        ) from error
    with file:
        stop = range_end("audio record", start, num_samples, file.frames)
        if out is None:
            out = np.empty(stop - start, np.float32)
        try:
            if start:
                file.seek(start)
            decoded = file.read(out=out)
        except (soundfile.LibsndfileError, ValueError) as error:  # ValueError: several channels
            raise UserError("audio record is damaged: run `sersl prepare` again") from error
        if len(decoded) != stop - start:
            raise UserError("audio record is truncated: run `sersl prepare` again")
        return out


def range_end(name: str, start: int, num_samples: int | None, total: int) -> int:
    """Checks that a range is inside of the audio.

    Args:
      name: of the audio, for the sentence.
      start: first sample.
      num_samples: wanted; None: all from `start` on.
      total: samples that there are.

    Returns:
      The sample after the last one wanted.

    Raises:
      UserError: the audio ends before.
    """
    stop = total if num_samples is None else start + num_samples
    if not 0 <= start <= stop <= total:
        raise UserError(
            f"{name} has {total} samples, so there are none from {start} to {stop}: "
            "if the file was replaced, run `sersl prepare` again"
        )
    return stop
