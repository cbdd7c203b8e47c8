"""Changed copies of the utterances of a run, as further rows of training."""

from collections.abc import Sequence

import numpy as np

from sersl.config.solver import ViewsConfig
from sersl.data.sources import CorpusSource
from sersl.data.speed_view import SpeedView


class Views:
    """The corpora of a run, followed by copies of all of them for each speed.

    Row r of n utterances has the copies n + r, 2 n + r and so on. A copy has the labels and the
    speaker of its utterance, so it is on no other side of a fold.

    Attributes:
      sources: the corpora in order, then those of each copy.
      count: utterances without copies.
    """

    def __init__(self, sources: Sequence[CorpusSource], config: ViewsConfig, *, shortest: int):
        """Lists the copies; reads nothing.

        Args:
          sources: corpora in order.
          config: speeds; a speed of 1 or given twice adds no copy.
          shortest: samples below which a copy does not train.
        """
        speeds = [speed for speed in dict.fromkeys(config.speeds) if speed != 1.0]
        copies = [SpeedView(source, speed) for speed in speeds for source in sources]
        self.sources: list[CorpusSource] = [*sources, *copies]
        self.count = sum(map(len, sources))
        self._times = 1 + len(speeds)
        lengths = np.concatenate([source.num_samples for source in self.sources])
        self._long_enough = lengths >= shortest

    def with_copies(self, rows: np.ndarray) -> np.ndarray:
        """Adds the copies of int64 [m] rows behind them, without those that are too short."""
        copies = [rows + number * self.count for number in range(1, self._times)]
        return np.concatenate([rows, *(own[self._long_enough[own]] for own in copies)])

    def of_all(self, table: np.ndarray) -> np.ndarray:
        """Repeats a table [n, ...] of the utterances for their copies."""
        return np.concatenate([table] * self._times)

    def weights(self, weights: Sequence[float]) -> tuple[float, ...]:
        """Repeats shares of rows per corpus, () or [C], for the copies."""
        return tuple(weights) * self._times
