"""Distortion of the waveforms of a batch, addressed by (seed, step, utterance)."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from sersl.audio.augment import Recording, check_distortion, distort, is_on
from sersl.config.schema import DistortionConfig
from sersl.core.seeds import generator
from sersl.data.recordings import Recordings, recording_sources


def make_distorter(config, *, beside: tuple[str, ...]) -> "Distorter | None":
    """Makes the distorter of a run.

    Args:
      config: with the groups `distortion`, `data` and `train`.
      beside: as for `Distorter`.

    Returns:
      None where nothing would be changed.

    Raises:
      UserError: wrong settings of the distortions, or recordings that are not prepared.
    """
    check_distortion(config.distortion, keep_time=bool(beside))
    if not (is_on(config.distortion) or beside):
        return None
    recordings = {name: Recordings(found) for name, found in recording_sources(config).items()}
    return Distorter(
        config.distortion, seed=config.train.seed, beside=beside, recordings=recordings
    )


class Distorter:
    """Distorts each row by draws of its own, which do not depend on hosts or workers."""

    def __init__(
        self,
        config: DistortionConfig,
        *,
        seed: int,
        beside: tuple[str, ...] = (),
        recordings: Mapping[str, Recording] = MappingProxyType({}),
    ):
        """Keeps the settings.

        Args:
          config: settings and probabilities.
          seed: of the run.
          beside: names of distorted waveforms to add to the batch, each with draws of its own;
            none: the waveform itself is distorted, and `valid` with it.
          recordings: as for `sersl.audio.augment.distort`.
        """
        self._config, self._seed, self._beside = config, seed, beside
        self._recordings = dict(recordings)

    def __call__(self, batch: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        """Distorts a batch.

        Args:
          batch: of `BatchMaker.make`.
          step: of the run.

        Returns:
          The batch with the same shapes, and the names of `beside`. A row that becomes longer
          than the batch is cut at its end.
        """
        if not self._beside:
            waveform, valid = self._distorted(batch, step, "distort")
            return batch | {"waveform": waveform, "valid": valid}
        return batch | {name: self._distorted(batch, step, name)[0] for name in self._beside}

    def _distorted(self, batch, step, purpose):
        """(waveform [B, N], valid [B, N]) after one draw for each row."""
        waveform, valid = np.zeros_like(batch["waveform"]), np.zeros_like(batch["valid"])
        for i, utterance in enumerate(batch["utterance_index"]):
            if utterance < 0:
                continue
            own = generator(self._seed, purpose, step, int(utterance))
            length = int(batch["valid"][i].sum())
            row = distort(
                batch["waveform"][i, :length], self._config, own, recordings=self._recordings
            )[: waveform.shape[1]]
            waveform[i, : len(row)], valid[i, : len(row)] = row, True
        return waveform, valid
