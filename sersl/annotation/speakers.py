"""Mean and deviation of features of each speaker, over some of their utterances."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sersl.config.annotation import SpeakerConfig

_MIN_DEVIATION = 1e-3  # relative to that of all speakers


@dataclass(frozen=True)
class Standard:
    """Mean and deviation of features, of all speakers and of each.

    Attributes:
      mean: float32 [F].
      deviation: float32 [F], above 0.
      speakers: {speaker: (mean [F], deviation [F])}.
    """

    mean: np.ndarray
    deviation: np.ndarray
    speakers: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def of(self, speaker: str) -> tuple[np.ndarray, np.ndarray]:
        """Gives mean [F] and deviation [F] of a speaker, or of all if it is unknown."""
        return self.speakers.get(speaker, (self.mean, self.deviation))

    def apply(self, features: np.ndarray, speakers: Sequence[str] | np.ndarray) -> np.ndarray:
        """Standardises features.

        Args:
          features: [n, F].
          speakers: [n] names; an unknown one gets the mean and deviation of all.

        Returns:
          float32 [n, F].
        """
        both = [self.of(speaker) for speaker in speakers]
        mean = np.array([m for m, _ in both]).reshape(features.shape)
        deviation = np.array([d for _, d in both]).reshape(features.shape)
        return ((features - mean) / deviation).astype(np.float32)


def measure_all(features: np.ndarray) -> Standard:
    """Computes mean and deviation of features [n, F] of all speakers together."""
    deviation = features.std(axis=0, dtype=np.float64)
    deviation = np.where(deviation > 0, deviation, 1.0)
    mean = features.mean(axis=0, dtype=np.float64)
    return Standard(mean.astype(np.float32), deviation.astype(np.float32))


def measure_speakers(
    features: np.ndarray,
    speakers: Sequence[str] | np.ndarray,
    *,
    everyone: Standard,
    prior: float,
) -> Standard:
    """Adds mean and deviation of each speaker.

    A speaker's mean and variance are shrunk towards everyone's as if `prior` of their utterances
    were average ones, so that a speaker of one utterance is hardly normalised at all.

    Args:
      features: [n, F].
      speakers: [n] names; "" is unknown.
      everyone: of the training data.
      prior: number of utterances.

    Returns:
      `everyone` with `speakers`.
    """
    names = np.asarray(speakers)
    found = {}
    for name in np.unique(names):
        own = features[names == name].astype(np.float64)
        if not name:
            continue
        share = len(own) / (len(own) + prior)
        mean = share * own.mean(axis=0) + (1 - share) * everyone.mean
        variance = share * own.var(axis=0) + (1 - share) * everyone.deviation.astype(float) ** 2
        deviation = np.sqrt(np.maximum(variance, (_MIN_DEVIATION * everyone.deviation) ** 2))
        found[str(name)] = (mean.astype(np.float32), deviation.astype(np.float32))
    return Standard(everyone.mean, everyone.deviation, found)


def rows_of_speakers(speakers: Sequence[str] | np.ndarray, config: SpeakerConfig) -> np.ndarray:
    """Chooses the utterances on which speakers are measured, without randomness.

    Args:
      speakers: [n], of every row of the corpus; "" is unknown.
      config: how many of each.

    Returns:
      Sorted rows, int64 [m].
    """
    names = np.asarray(speakers)
    chosen: list[int] = []
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        if name:
            places = np.linspace(0, len(rows) - 1, min(len(rows), config.utterances))
            chosen += rows[np.unique(places.round().astype(int))].tolist()
    return np.array(sorted(chosen), np.int64)


Measure = Callable[[Sequence[np.ndarray]], np.ndarray]  # waveforms -> [n, F]
