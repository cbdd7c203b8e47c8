"""Cuts audio of any source and length into windows that fit a network, with bounded memory."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sersl.audio.array import SupportsArray, mono_waveform
from sersl.audio.decode import open_audio
from sersl.audio.source import AudioSource
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE

MAX_SECONDS = 30.0  # most that a network gets at once
MIN_SECONDS = 0.1  # 4 frames; less is shorter than a syllable
# Peak below -80 dBFS: digital silence and dither, but no recording of a person.
SILENCE = 1e-4

Source = AudioSource | SupportsArray


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of one recording.

    Attributes:
      start: first sample, at 16 kHz.
      waveform: float32 [N] at 16 kHz.
    """

    start: int
    waveform: np.ndarray

    @property
    def silent(self) -> bool:
        """Whether its peak is below -80 dBFS."""
        return bool(np.abs(self.waveform).max(initial=0.0) < SILENCE)


def check_window(window: float | None, hop: float | None) -> None:
    """Checks the length of windows and the hop between them.

    Args:
      window: seconds, or None for the whole recording.
      hop: seconds between starts, or None for windows without overlap.

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
    source: Source,
    *,
    sample_rate: object = None,
    window: float | None = None,
    hop: float | None = None,
) -> Iterator[Window]:
    """Cuts a recording into windows, with memory for one window and one block of the file.

    Args:
      source: path, bytes of an audio file, a stream that is open in binary mode, or a waveform
        [N] or [N, channels] as an array of NumPy, JAX or torch.
      sample_rate: Hz of a waveform, any kind of number; None for files.
      window: seconds; None cuts only what is longer than 30 s.
      hop: seconds between starts; None: windows without overlap.

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


def _blocks(source: Source, sample_rate: object) -> Iterator[np.ndarray]:
    if isinstance(source, SupportsArray):
        yield mono_waveform(source, sample_rate)
        return
    if sample_rate is not None:
        raise UserError(
            "sample_rate is for a waveform, and a file has its own: leave sample_rate out"
        )
    if not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview) and not hasattr(
        source, "read"
    ):
        raise UserError(
            f"audio of type {type(source).__name__} is not supported: give a path, the bytes of "
            "a file, an open file, or a NumPy array with sample_rate (a list is taken for a list "
            "of recordings)"
        )
    with open_audio(source) as audio:
        yield from audio.blocks()
