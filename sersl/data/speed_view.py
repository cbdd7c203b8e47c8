"""Prepared corpora at other speeds, without another copy of their audio."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sersl.audio.prosody import PROSODY_NAMES
from sersl.audio.warp import change_speed, changed_length
from sersl.config.solver import ViewsConfig
from sersl.data.buckets import is_answerable
from sersl.data.sources import CorpusSource


class SpeedView(CorpusSource):
    """Reads the utterances of a corpus faster or slower; pitch and formants move along.

    It has the index of the corpus, and lengths of its own.

    Attributes:
      cut: bool [n], copies of which the source's `most_samples` leave out the end.
    """

    def __init__(self, source: CorpusSource, speed: float):
        """Takes the files and the index of the source; opens none of them.

        Args:
          source: the corpus.
          speed: above 1 is faster.
        """
        self.speed = speed
        own: dict[str, Any] = {"speed": speed, "outputs": None, "views": {}, "damaged": {}}
        self.__setstate__(source.__getstate__() | own)

    def __setstate__(self, state):
        super().__setstate__(state)
        lengths = [changed_length(int(length), self.speed) for length in self.num_samples]
        whole = np.array(lengths, np.int64)
        most = whole if self.most_samples is None else self.most_samples
        self.num_samples = np.minimum(whole, most)
        self.cut: np.ndarray = self.num_samples < whole

    def frames(
        self, row: int, *, start_frame: int = 0, num_frames: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gives NaN for the intensity [T] and the prosody [T, 6], which copies do not have."""
        return (
            np.full(num_frames, np.nan, np.float32),
            np.full((num_frames, len(PROSODY_NAMES)), np.nan, np.float32),
        )

    def waveform(
        self,
        row: int,
        *,
        start: int = 0,
        num_samples: int | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Decodes an utterance or a part of it, at the speed.

        Args:
          row: of the index.
          start: first sample.
          num_samples: None takes all that follow `start`.
          out: float32 [num_samples] to write to; None: a new array.

        Returns:
          float32 [num_samples]; `out` where it was given.

        Raises:
          DamagedRecordError: it cannot be read.
        """
        changed = change_speed(super().waveform(row), self.speed)
        end = int(self.num_samples[row]) if num_samples is None else start + num_samples
        if out is None:
            return changed[start:end]
        out[:] = changed[start:end]
        return out


class Views:
    """The corpora of a run, followed by copies of all of them for each speed.

    Row r of n utterances has the copies n + r, 2 n + r and so on. A copy has the labels and the
    speaker of its utterance, so it is on no other side of a fold.

    Attributes:
      sources: the corpora in order, then those of each copy.
      answered: those of `sources` whose utterances a model is asked about.
      count: utterances without copies.
    """

    def __init__(
        self,
        sources: Sequence[CorpusSource],
        config: ViewsConfig,
        *,
        shortest: int,
        average: bool = False,
    ):
        """Lists the copies; reads nothing.

        Args:
          sources: corpora in order.
          config: speeds; a speed of 1 or given twice adds no copy.
          shortest: samples below which a copy does not train.
          average: whether a model is asked about copies too.
        """
        copies = [SpeedView(source, speed) for speed in config.copies for source in sources]
        self.sources: list[CorpusSource] = [*sources, *copies]
        self.answered = self.sources if average else list(sources)
        self.count = sum(map(len, sources))
        self._times, self._average = 1 + len(config.copies), average
        self._lengths = np.concatenate([source.num_samples for source in self.sources])
        self._long_enough = self._lengths >= shortest
        cut = [np.zeros(self.count, np.bool_), *(copy.cut for copy in copies)]
        self._answerable = is_answerable(self._lengths) & ~np.concatenate(cut)

    @property
    def answered_lengths(self) -> np.ndarray:
        """Samples, int64 [n], of what a model is asked about."""
        plain, copies = np.split(self._lengths, [self.count])
        return np.concatenate([plain, copies[self._answerable[self.count :] & self._average]])

    def with_copies(self, rows: np.ndarray) -> np.ndarray:
        """Adds the copies of int64 [m] rows behind them, without those that are too short."""
        copies = [rows + number * self.count for number in range(1, self._times)]
        return np.concatenate([rows, *(own[self._long_enough[own]] for own in copies)])

    def answered_copies(self, rows: np.ndarray) -> np.ndarray:
        """Lists the copies, int64 [k], whose answers count for int64 [m] rows of utterances.

        Copies shorter than a frame or longer than 30 s are left out.
        """
        if not self._average:
            return np.zeros(0, np.int64)
        copies = [rows + number * self.count for number in range(1, self._times)]
        return np.concatenate([own[self._answerable[own]] for own in copies])

    def of_all(self, table: np.ndarray) -> np.ndarray:
        """Repeats a table [n, ...] of the utterances for their copies."""
        return np.concatenate([table] * self._times)

    def weights(self, weights: Sequence[float]) -> tuple[float, ...]:
        """Repeats shares of rows per corpus, () or [C], for the copies."""
        return tuple(weights) * self._times
