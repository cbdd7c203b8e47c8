"""The protocol of annotators, sources of frame intensity, and those that need no training.

The rules compute intensity from the signal, or do not depend on it, for ablations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sersl.annotation import signal
from sersl.audio.prosody import Track, log_rms
from sersl.core.lengths import num_frames
from sersl.core.seeds import generator, purpose_number
from sersl.corpora.index import CorpusIndex
from sersl.data.sources import CorpusSource


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

    def intensities(
        self,
        source: CorpusSource,
        rows: Sequence[int],
        waveforms: Sequence[np.ndarray],
        tracks: Sequence[Track],
    ) -> list[np.ndarray]:
        """Computes the intensity of each frame.

        Args:
          source: the corpus.
          rows: of its index.
          waveforms: of these rows, [N] float32 at 16 kHz.
          tracks: F0 and voicing of these, see `audio.prosody.pitch`.

        Returns:
          For each, [num_frames(N)] float32 in 0..1, NaN where it has no value.
        """
        ...


# (waveform [N], F0 and voicing, utterance_id) -> [T]
Rule = Callable[[np.ndarray, Track, str], np.ndarray]


@dataclass(frozen=True)
class RuleAnnotator:
    """An annotator that works on one utterance at a time.

    Attributes:
      name: of the annotator.
      rule: from waveform, track and utterance_id to intensities.
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

    def intensities(
        self,
        source: CorpusSource,
        rows: Sequence[int],
        waveforms: Sequence[np.ndarray],
        tracks: Sequence[Track],
    ) -> list[np.ndarray]:
        """See `Annotator`."""
        ids = source.index.column("utterance_id")
        return [
            self.rule(waveform, track, str(ids[row]))
            for row, waveform, track in zip(rows, waveforms, tracks, strict=True)
        ]


def _signal(waveform: np.ndarray, track: Track, utterance_id: str) -> np.ndarray:
    del utterance_id
    return signal.signal_intensity(waveform, track=track)


def _energy(waveform: np.ndarray, track: Track, utterance_id: str) -> np.ndarray:
    """Maps the level of the frame from -60..-15 dB to 0..1, whatever the sound is."""
    del track, utterance_id
    decibel = log_rms(waveform) * (20 / np.log(10))
    share = (decibel - signal.SILENT_DB) / (signal.LOUD_DB - signal.SILENT_DB)
    return np.clip(share, 0.0, 1.0).astype(np.float32)


def _random(waveform: np.ndarray, track: Track, utterance_id: str) -> np.ndarray:
    """Draws each frame from 0..1, the same for the same utterance."""
    del track
    rng = generator(0, "random intensity", purpose_number(utterance_id))
    return rng.random(num_frames(len(waveform)), np.float32)


def _uniform(waveform: np.ndarray, track: Track, utterance_id: str) -> np.ndarray:
    del track, utterance_id
    return np.full(num_frames(len(waveform)), 0.5, np.float32)


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
