"""Cuts audio of any source and length into windows that fit a network, with bounded memory."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sersl.audio.array import SupportsArray, mono_waveform
from sersl.audio.decode import open_audio
from sersl.audio.source import AudioSource
from sersl.audio.voice_activity import has_speech, speech_segments
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.corpora.remote import is_remote
from sersl.corpora.remote_files import fetched
from sersl.release.predict.turns import Turn

MAX_SECONDS = 30.0  # most that a network gets at once
MIN_SECONDS = 0.1  # 4 frames; less is shorter than a syllable
_LEAST = round(MIN_SECONDS * SAMPLE_RATE)
# Peak below -80 dBFS: digital silence and dither, but no recording of a person.
SILENCE = 1e-4

Source = AudioSource | SupportsArray


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of one recording.

    Attributes:
      start: first sample, at 16 kHz.
      waveform: float32 [N] at 16 kHz.
      turn: index of the turn that it is a part of; None: it has a row of its own.
    """

    start: int
    waveform: np.ndarray
    turn: int | None = None

    @property
    def silent(self) -> bool:
        """Whether its peak is below -80 dBFS."""
        return bool(np.abs(self.waveform).max(initial=0.0) < SILENCE)

    @property
    def has_speech(self) -> bool:
        """Whether `sersl.audio.voice_activity` finds speech in it."""
        return has_speech(self.waveform)


Cut = Callable[[Iterable[np.ndarray]], Iterator[Window]]


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """What of a recording gets a row.

    Attributes:
      window: seconds; None: the whole recording.
      hop: seconds between the starts of windows; None: windows without overlap.
      speech: one row for each stretch of speech.
      turns: one row for each turn of a speaker.
    """

    window: float | None = None
    hop: float | None = None
    speech: bool = False
    turns: Sequence[Turn] | None = None

    def __post_init__(self) -> None:
        """Raises UserError where the parts do not go together, or are out of range."""
        check_window(self.window, self.hop)
        ways = [self.window is not None, self.speech, self.turns is not None]
        if sum(ways) > 1:
            raise UserError("windows, stretches of speech and turns are three ways: give one")

    @property
    def whole(self) -> bool:
        """Whether there is one row for the recording."""
        return self.window is None and not self.speech and self.turns is None

    def windows(self, source: Source, *, sample_rate: object = None) -> Iterator[Window]:
        """Cuts a recording, with memory for a minute of it; see `windows`."""
        blocks = _blocks(source, sample_rate)
        if self.speech:
            return _cut_speech(blocks)
        if self.turns is not None:
            return _cut_turns(blocks, self.turns)
        return _cut_windows(blocks, self.window, self.hop)


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
    yield from Cutting(window=window, hop=hop).windows(source, sample_rate=sample_rate)


def _cut_windows(
    blocks: Iterable[np.ndarray], window: float | None, hop: float | None
) -> Iterator[Window]:
    cutter = WindowCutter(window, hop)
    for block in blocks:
        yield from cutter.add(block)
    yield from cutter.finish()


class WindowCutter:
    """Cuts samples into windows while they come."""

    def __init__(self, window: float | None, hop: float | None):
        """Takes seconds, see `windows`."""
        self._size = round((MAX_SECONDS if window is None else window) * SAMPLE_RATE)
        self._step = self._size if hop is None else round(hop * SAMPLE_RATE)
        self._held, self._start = np.zeros(0, np.float32), 0

    def add(self, block: np.ndarray) -> Iterator[Window]:
        """Takes samples [n] and gives the windows that are complete and not the last."""
        self._held = np.concatenate([self._held, block]) if self._held.size else block
        # One more sample than the window: only then is this window not the last.
        while len(self._held) > self._size:
            yield Window(start=self._start, waveform=self._held[: self._size])
            self._held, self._start = self._held[self._step :], self._start + self._step

    def finish(self) -> Iterator[Window]:
        """Gives the last window, if it has 0.1 s."""
        if len(self._held) >= _LEAST:
            yield Window(start=self._start, waveform=self._held)


def _cut_speech(blocks: Iterable[np.ndarray]) -> Iterator[Window]:
    """Cuts out stretches of speech of up to 30 s; a longer one becomes several."""
    most = round(MAX_SECONDS * SAMPLE_RATE)
    held, start = np.zeros(0, np.float32), 0

    def segments(last: bool) -> Iterator[Window]:
        nonlocal held, start
        found = speech_segments(held)
        # A stretch at the end may go on in the next block.
        open_end = not last and bool(found) and found[-1].stop > len(held) - SAMPLE_RATE // 2
        rest = found.pop().start if open_end and found[-1].start > 0 else len(held)
        for segment in found:
            for first in range(segment.start, segment.stop, most):
                part = held[first : min(first + most, segment.stop)]
                if len(part) >= _LEAST:
                    yield Window(start=start + first, waveform=part)
        held, start = held[rest:], start + rest

    for block in _rebatched(blocks, most):
        held = np.concatenate([held, block])
        if len(held) >= most:
            yield from segments(False)
    yield from segments(True)


def _cut_turns(blocks: Iterable[np.ndarray], turns: Sequence[Turn]) -> Iterator[Window]:
    """Cuts out turns, which may overlap, in parts of up to 30 s."""
    most = round(MAX_SECONDS * SAMPLE_RATE)
    parts: list[tuple[int, int, int]] = []  # start, stop, index of the turn
    for index, turn in enumerate(turns):
        start, stop = (round(seconds * SAMPLE_RATE) for seconds in (turn.start, turn.end))
        parts += [(at, min(at + most, stop), index) for at in range(start, stop, most)]
    parts.sort()
    held, first, next_part = np.zeros(0, np.float32), 0, 0
    for block in _rebatched(blocks, most):
        held = np.concatenate([held, block])
        while next_part < len(parts) and parts[next_part][1] <= first + len(held):
            yield from _part(held, first, *parts[next_part])
            next_part += 1
        # Later parts start no earlier than the next one.
        keep = parts[next_part][0] if next_part < len(parts) else first + len(held)
        dropped = min(max(0, keep - first), len(held))
        held, first = held[dropped:], first + dropped
    for start, stop, index in parts[next_part:]:
        if start >= first + len(held):
            turn = turns[index]
            raise UserError(
                f"a turn begins at {turn.start:g} s, after the end of the audio at "
                f"{(first + len(held)) / SAMPLE_RATE:g} s: give the RTTM file of this recording"
            )
        yield from _part(held, first, start, stop, index)


def _part(held: np.ndarray, first: int, start: int, stop: int, turn: int) -> Iterator[Window]:
    waveform = held[start - first : stop - first]
    if len(waveform) >= _LEAST:
        yield Window(start=start, waveform=waveform, turn=turn)


def _rebatched(blocks: Iterable[np.ndarray], most: int) -> Iterator[np.ndarray]:
    """Divides blocks [n], which may be a whole recording, into blocks of at most `most`."""
    for block in blocks:
        for start in range(0, len(block), most):
            yield block[start : start + most]


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
    if isinstance(source, str) and is_remote(source):
        with fetched(source) as path, open_audio(path) as audio:
            yield from audio.blocks()
        return
    with open_audio(source) as audio:
        yield from audio.blocks()
