"""A prepared corpus at another speed, without another copy of its audio."""

from typing import Any

import numpy as np

from sersl.audio.warp import change_speed
from sersl.core.lengths import SAMPLE_RATE, resampled_length
from sersl.data.sources import CorpusSource


class SpeedView(CorpusSource):
    """Reads the utterances of a corpus faster or slower; pitch and formants move along.

    It has the index of the corpus, and lengths of its own.
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
        rate = round(SAMPLE_RATE * self.speed)
        lengths = [resampled_length(int(length), rate) for length in self.num_samples]
        self.num_samples = np.array(lengths, np.int64)

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
        end = len(changed) if num_samples is None else start + num_samples
        if out is None:
            return changed[start:end]
        out[:] = changed[start:end]
        return out
