"""Reads sources in runs of bounded length, so that stretches of many files share batches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sersl.core import lengths
from sersl.core.errors import UserError
from sersl.release.predict.turns import Turn
from sersl.release.predict.windows import Cutting, Source, Window
from sersl.release.predict.with_views import Asked, WithViews, with_views

SECONDS_PER_RUN = 960.0  # 61 MB
SOURCES_PER_RUN = 1024


@dataclass(frozen=True)
class Piece:
    """A window of a source, or its end.

    Attributes:
      number: of the source, from 0.
      recording: as given, with what its views are read from.
      window: None: the source ends here.
      error: why it could not be read to its end; "" if it could.
    """

    number: int
    recording: WithViews
    window: Window | None
    error: str = ""

    @property
    def source(self) -> Source:
        """The audio, as given."""
        return self.recording.source


@dataclass(frozen=True)
class Run:
    """Pieces in order, and which share of the work that is left they are, as far as is known."""

    pieces: list[Piece]
    share: float

    def waveforms(self, *, silent: bool = False) -> dict[int, np.ndarray]:
        """Gives the samples [N] of the windows, silent ones too if asked for, by index of piece."""
        windows = {index: piece.window for index, piece in enumerate(self.pieces) if piece.window}
        return {
            index: window.waveform
            for index, window in windows.items()
            if silent or not window.silent
        }


def runs(
    sources: Iterable[Asked],
    cutting: Cutting,
    *,
    sample_rate: object = None,
    turns: Sequence[Sequence[Turn]] | None = None,
    seconds: float = SECONDS_PER_RUN,
) -> Iterator[Run]:
    """Reads sources one after the other, when their turn comes.

    Args:
      sources: paths, bytes, streams or waveforms, or one of these with views.
      cutting: what gets a row.
      sample_rate: Hz of waveforms; None for files.
      turns: of each source, in place of those of `cutting`.
      seconds: of audio in a run; it ends with the window that exceeds them.

    Yields:
      Runs; the windows of a long source are in several of them.
    """
    num_sources = len(sources) if isinstance(sources, Sequence) else None
    pieces: list[Piece] = []
    length = 0.0
    first = number = 0

    def take() -> Run:
        nonlocal pieces, length, first
        done = number - first + 1
        share = 1.0 if num_sources is None else done / max(done, num_sources - first)
        run, pieces, length, first = Run(pieces, share), [], 0.0, number
        return run

    for number, recording in enumerate(map(with_views, sources)):
        error = ""
        try:
            own = cutting if turns is None else Cutting(turns=turns[number])
            for window in own.windows(recording.source, sample_rate=sample_rate):
                pieces.append(Piece(number, recording, window))
                length += len(window.waveform) / lengths.SAMPLE_RATE
                if length >= seconds:
                    yield take()
        except UserError as cause:
            error = str(cause)
        pieces.append(Piece(number, recording, None, error))
        if length >= seconds / 2 or len(pieces) >= SOURCES_PER_RUN:
            yield take()
    if pieces:
        yield take()
