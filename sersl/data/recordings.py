"""Other corpora that a run reads: recorded noise and rooms, and nuisance speakers."""

from collections.abc import Sequence

import numpy as np

from sersl.audio.augment import RECORDED
from sersl.config.schema import FinetuneConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.data.buckets import MAX_EVALUATION_SAMPLES
from sersl.data.sources import CorpusSource, DamagedRecordError

NUISANCE = "nuisance"  # in the origin of a run


class Recordings:
    """Draws recordings with equal probability; see `sersl.audio.augment.Recording`."""

    def __init__(self, sources: Sequence[CorpusSource]):
        """Takes one or more corpora."""
        self._sources = tuple(sources)
        self._ends = np.cumsum([len(source) for source in sources])

    def __call__(self, generator: np.random.Generator, num_samples: int | None) -> np.ndarray:
        """Reads a recording, or a part of one.

        Args:
          generator: of the draw.
          num_samples: N; a shorter recording is repeated. None: all of it.

        Returns:
          [N] float32 at 16 kHz.

        Raises:
          UserError: it cannot be read.
        """
        number = int(generator.integers(self._ends[-1]))
        corpus = int(np.searchsorted(self._ends, number, side="right"))
        source = self._sources[corpus]
        row = number - int(self._ends[corpus]) + len(source)
        length = int(source.num_samples[row])
        if num_samples is None:
            num_samples = length
        start = int(generator.integers(max(length - num_samples, 0) + 1))
        try:
            found = source.waveform(row, start=start, num_samples=min(num_samples, length))
        except DamagedRecordError as error:
            raise UserError(
                str(error)
            ) from error  # it is not a row of the batch, so it cannot be replaced
        return np.resize(found, num_samples)


def recording_sources(config) -> dict[str, list[CorpusSource]]:
    """Opens the corpora of recordings of a run.

    Args:
      config: with the groups `distortion` and `data`.

    Returns:
      Of "noise" and "reverb" those that are not synthetic.

    Raises:
      UserError: one is not prepared.
    """
    named = {name: getattr(config.distortion, f"{name}_corpora") for name in RECORDED}
    cache = config.data.cache_gigabytes
    return {
        name: [
            CorpusSource(config.data.data_dir, corpus, cache_gigabytes=cache) for corpus in corpora
        ]
        for name, corpora in named.items()
        if corpora
    }


def nuisance_sources(config: FinetuneConfig | PretrainConfig) -> list[CorpusSource]:
    """Opens the corpora of `solver.nuisance_corpora`; in pretraining there are none.

    Raises:
      UserError: one is not prepared, or is also trained or tested on.
    """
    if isinstance(config, PretrainConfig):
        return []
    names = config.solver.nuisance_corpora
    for name in names:
        if name in config.data.corpora:
            raise UserError(
                f"{name} is in data.corpora and in solver.nuisance_corpora: leave it out of one "
                "of them"
            )
    return [
        CorpusSource(config.data.data_dir, name, most_samples=MAX_EVALUATION_SAMPLES)
        for name in dict.fromkeys(names)
    ]
