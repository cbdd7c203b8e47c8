"""Audio of any source and length to windows that fit a network, with bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from sersl.audio.decode import probe, read_audio
from sersl.audio.resample import resample
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE

MAX_SECONDS = 30.0  # longest stretch that a network sees at once
MIN_SECONDS = 0.1  # 4 frames; less holds no syllable
# Longer files are read piece by piece: an hour decoded whole is 230 MB, at 48 kHz three times that.
STREAM_SECONDS = 120.0
# Peak below -80 dBFS: digital silence and dither, but no recording of a person.
SILENCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of one recording.

    Attributes:
      start: first sample, at 16 kHz.
      waveform: float32 [N] at 16 kHz.
    """

    start: int
    waveform: np.ndarray

    @property
    def silent(self) -> bool:
        """Says whether nothing is to be heard."""
        return bool(np.abs(self.waveform).max(initial=0.0) < SILENCE)


def check_window(window: float | None, hop: float | None) -> None:
    """Checks the length and distance of windows.

    Args:
      window: seconds, or None for the whole recording.
      hop: seconds between starts, or None for windows side by side.

    Raises:
      UserError: out of range, or a hop without a window.
    """
    if window is None:
        if hop is not None:
            raise UserError(f"a hop of {hop:g} s needs a window: give --window too")
        return
    if not MIN_SECONDS <= window <= MAX_SECONDS:
        raise UserError(
            f"a window of {window:g} s is out of range: give {MIN_SECONDS:g} to {MAX_SECONDS:g} s"
        )
    if hop is not None and not 0.01 <= hop <= window:
        raise UserError(
            f"a hop of {hop:g} s is out of range: give 0.01 s to the window's {window:g} s, or "
            "audio between windows would be left out"
        )


def windows(
    source: str | Path | bytes | np.ndarray,
    *,
    sample_rate: int | None = None,
    window: float | None = None,
    hop: float | None = None,
) -> Iterator[Window]:
    """Cuts a recording.

    Args:
      source: path, bytes of an audio file, or a mono waveform [N] or [N, channels].
      sample_rate: Hz of a waveform; None for files.
      window: seconds; None cuts only what is longer than 30 s, side by side.
      hop: seconds between starts; None: windows side by side.

    Yields:
      Windows in order. The last one may be shorter, but never under 0.1 s; a recording that is
      shorter than 0.1 s gives none.

    Raises:
      UserError: not readable, not finite, or a wrong window.
    """
    check_window(window, hop)
    size = round((MAX_SECONDS if window is None else window) * SAMPLE_RATE)
    step = size if hop is None else round(hop * SAMPLE_RATE)
    least = round(MIN_SECONDS * SAMPLE_RATE)
    held, start = np.zeros(0, np.float32), 0
    for block in _blocks(source, sample_rate):
        held = np.concatenate([held, block]) if held.size else block
        # One more sample than the window: only then is this window not the last.
        while len(held) > size:
            yield Window(start=start, waveform=held[:size])
            held, start = held[step:], start + step
    if len(held) >= least:
        yield Window(start=start, waveform=held)


def _blocks(source, sample_rate: int | None) -> Iterator[np.ndarray]:
    if isinstance(source, np.ndarray):
        yield _mono(source, sample_rate)
        return
    if sample_rate is not None:
        raise UserError("a sample rate belongs to a waveform; a file states its own: leave it out")
    if not isinstance(source, str | Path | bytes):
        raise UserError(
            f"audio of type {type(source).__name__} is not understood: give a path, the bytes of "
            "a file, or a numpy array with sample_rate"
        )
    info = probe(source)
    if isinstance(source, bytes) or info.duration <= STREAM_SECONDS:
        yield read_audio(source)
        return
    yield from _stream(Path(source), info.num_samples)


def _stream(path: Path, expected: int) -> Iterator[np.ndarray]:
    num_read = 0
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            to_16k = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
            while True:
                block = file.read(rate * 10, dtype="float32", always_2d=True)
                num_read += len(block)
                mono = block.mean(axis=1)
                if not np.isfinite(mono).all():
                    raise UserError(f"{path} has samples that are not finite: leave it out")
                done = not len(block)
                yield mono if rate == SAMPLE_RATE else to_16k.resample_chunk(mono, last=done)
                if done:
                    break
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path} is damaged: {error.error_string.strip().rstrip('.')}") from error
    if num_read < expected:
        raise UserError(
            f"{path} is truncated: it has {num_read} of {expected} samples; copy it again"
        )


def _mono(waveform: np.ndarray, sample_rate: int | None) -> np.ndarray:
    if sample_rate is None:
        raise UserError("a waveform needs its sample_rate in Hz: pass sample_rate=16000 or so")
    if sample_rate <= 0:
        raise UserError(f"a sample rate of {sample_rate} Hz is not possible: give the true one")
    if waveform.ndim == 2:
        if waveform.shape[1] > waveform.shape[0]:
            raise UserError(
                f"a waveform of shape {waveform.shape} has more channels than samples: give "
                "[num_samples] or [num_samples, channels]"
            )
        waveform = waveform.mean(axis=1)
    if waveform.ndim != 1:
        raise UserError(f"a waveform of shape {waveform.shape} is no recording: give [num_samples]")
    if not np.issubdtype(waveform.dtype, np.floating):
        raise UserError(
            f"a waveform of {waveform.dtype} has no known scale: divide it into -1..1 and give "
            "float32"
        )
    waveform = waveform.astype(np.float32)
    if not np.isfinite(waveform).all():
        raise UserError("the waveform has samples that are not finite: leave it out")
    return waveform if sample_rate == SAMPLE_RATE else resample(waveform, sample_rate, SAMPLE_RATE)
