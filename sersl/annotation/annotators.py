"""The protocol of annotators, sources of frame intensity, and those that need no training.

The rules compute intensity from the signal, or do not depend on it, for ablations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from sersl.annotation import signal
from sersl.audio.prosody import Track, log_rms
from sersl.core.lengths import num_frames
from sersl.core.seeds import generator, purpose_number
from sersl.corpora.index import CorpusIndex
from sersl.data.sources import CorpusSource


class Recording(NamedTuple):
    """An utterance, and what is known about it.

    Attributes:
      utterance_id: its name in the index.
      speaker: "" unknown.
      category: canonical name of its emotion, "" none.
      waveform: [N] float32 at 16 kHz.
      track: F0 and voicing, see `audio.prosody.pitch`.
    """

    utterance_id: str
    speaker: str
    category: str
    waveform: np.ndarray
    track: Track


class Annotator(Protocol):
    """A source of frame intensity."""

    @property
    def name(self) -> str:
        """Name of the annotator, and of its sidecars."""
        ...

    @property
    def on_device(self) -> bool:
        """Whether it works on batches on the accelerator, in this process.

        Otherwise it works on one utterance at a time, in any number of processes.
        """
        ...

    def identity(self) -> dict[str, Any]:
        """Gives all that its answers depend on: algorithm, version, settings, weights; for JSON."""
        ...

    def prepare(self, source: CorpusSource) -> None:
        """Measures what it needs of a corpus, e.g. its speakers; called before `intensities`."""
        ...

    def labels_of(self, index: CorpusIndex) -> list[dict[str, str]]:
        """Lists corpora whose labels its answers for a corpus depend on, as `CorpusIndex.names`."""
        ...

    def intensities(self, recordings: Sequence[Recording]) -> list[np.ndarray]:
        """Computes the intensity of each frame.

        Args:
          recordings: utterances of the corpus that it is prepared for.

        Returns:
          For each, [num_frames(N)] float32 in 0..1, NaN where it has no value.
        """
        ...


Rule = Callable[[Recording], np.ndarray]  # gives [T]


@dataclass(frozen=True)
class RuleAnnotator:
    """An annotator that works on one utterance at a time.

    Attributes:
      name: of the annotator.
      rule: computes the intensities of an utterance.
      version: of the rule.
      settings: all else that its answer depends on.
    """

    name: str
    rule: Rule
    version: int
    settings: dict[str, Any]
    on_device: bool = False

    def identity(self) -> dict[str, Any]:
        """See `Annotator`."""
        return {"rule": self.name, "version": self.version, "settings": self.settings}

    def prepare(self, source: CorpusSource) -> None:
        """See `Annotator`: it needs nothing of the corpus."""

    def labels_of(self, index: CorpusIndex) -> list[dict[str, str]]:
        """See `Annotator`: rules do not depend on labels."""
        return []

    def intensities(self, recordings: Sequence[Recording]) -> list[np.ndarray]:
        """See `Annotator`."""
        return [self.rule(recording) for recording in recordings]


def _signal(recording: Recording) -> np.ndarray:
    return signal.signal_intensity(recording.waveform, track=recording.track)


def _energy(recording: Recording) -> np.ndarray:
    """Maps the level of the frame from -60..-15 dB to 0..1, whatever the sound is."""
    decibel = log_rms(recording.waveform) * (20 / np.log(10))
    share = (decibel - signal.SILENT_DB) / (signal.LOUD_DB - signal.SILENT_DB)
    return np.clip(share, 0.0, 1.0).astype(np.float32)


def _random(recording: Recording) -> np.ndarray:
    """Draws each frame from 0..1, the same for the same utterance."""
    rng = generator(0, "random intensity", purpose_number(recording.utterance_id))
    return rng.random(num_frames(len(recording.waveform)), np.float32)


def _uniform(recording: Recording) -> np.ndarray:
    return np.full(num_frames(len(recording.waveform)), 0.5, np.float32)


_RANGE_DB = [signal.SILENT_DB, signal.LOUD_DB]
RULES: dict[str, RuleAnnotator] = {
    annotator.name: annotator
    for annotator in (
        RuleAnnotator(
            "signal",
            _signal,
            signal.SIGNAL_VERSION,
            {
                "band_hz": [signal.LOW_HZ, signal.HIGH_HZ],
                "range_db": _RANGE_DB,
                "noise": [signal.NOISE_QUANTILE, signal.MAX_NOISE_DB],
                "voicing_share": signal.VOICING_SHARE,
            },
        ),
        RuleAnnotator("energy", _energy, 1, {"range_db": _RANGE_DB}),
        RuleAnnotator("random", _random, 1, {}),
        RuleAnnotator("uniform", _uniform, 1, {}),
    )
}
