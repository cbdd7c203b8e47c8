"""Annotators that were fitted: the ranker and the strength network, read from their folder."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.annotation.annotator_folder import Fitted, read_annotator
from sersl.annotation.annotators import Recording
from sersl.annotation.category_ranker import RANKER_VERSION, CategoryRanker
from sersl.annotation.speakers import Standard
from sersl.annotation.strength import (
    STRENGTH_VERSION,
    StrengthInput,
    StrengthNetwork,
    strength_input,
)
from sersl.annotation.stretches import make_batches
from sersl.annotation.utterance_features import corpus_functionals, corpus_standard, mean_spectra
from sersl.config.annotation import RankerConfig, StrengthConfig
from sersl.config.load import from_mapping
from sersl.core.errors import UserError, unknown_name
from sersl.core.lengths import num_frames
from sersl.corpora.index import CorpusIndex
from sersl.data.sources import CorpusSource
from sersl.models.acoustic.descriptors import DESCRIPTORS_VERSION
from sersl.models.acoustic.functionals import FUNCTIONALS, FUNCTIONALS_VERSION

_CORPUS = ("corpus", "version", "fingerprint")
# Of all that an annotator's answers depend on besides its weights, by kind.
VERSIONS = {
    "ranker": [RANKER_VERSION, FUNCTIONALS_VERSION, DESCRIPTORS_VERSION],
    "strength": [STRENGTH_VERSION],
}


def open_fitted(folder: str | Path) -> "RankerAnnotator | StrengthAnnotator":
    """Reads a fitted annotator.

    Args:
      folder: that `sersl annotate --fit` wrote.

    Returns:
      An annotator, see `sersl.annotation.annotators.Annotator`.

    Raises:
      UserError: it cannot be read, or was made by another version.
    """
    fitted = read_annotator(folder)
    kind = fitted.about.get("kind")
    if kind not in VERSIONS:
        raise unknown_name(f"kind of annotator in {folder}", str(kind), VERSIONS)
    if fitted.about.get("versions") != VERSIONS[kind]:
        raise UserError(
            f"the annotator {folder} was fitted by another version of its {kind}: fit it again"
        )
    try:
        return RankerAnnotator(fitted) if kind == "ranker" else StrengthAnnotator(fitted)
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"the annotator {folder} is damaged ({error}): fit it again") from error


class RankerAnnotator:
    """One intensity for all frames of an utterance, by the ranker of its category.

    Attributes:
      ranker: the directions.
      standard: of the training data; of the speakers too, once prepared for a corpus.
    """

    on_device = True

    def __init__(self, fitted: Fitted):
        """Makes it of a fitted annotator of kind "ranker"."""
        tensors = fitted.tensors
        self.name = fitted.name
        self.config = from_mapping(RankerConfig, fitted.about["config"])
        self.ranker = CategoryRanker(
            tuple(fitted.about["rankers"]),
            tensors["weights"],
            tensors["centre"],
            tensors["scale"],
            tensors["classifier"],
        )
        if fitted.about["features"] != list(FUNCTIONALS):
            raise ValueError("it was fitted on other features")
        self.standard = Standard(tensors["mean"], tensors["deviation"])
        self._fitted = fitted

    def identity(self) -> dict[str, Any]:
        """See `sersl.annotation.annotators.Annotator`."""
        return _identity(self._fitted)

    def prepare(self, source: CorpusSource) -> None:
        """Measures the speakers of a corpus."""
        self.standard = corpus_standard(
            source, self.standard, corpus_functionals, self.config.speaker
        )

    def labels_of(self, index: CorpusIndex) -> list[dict[str, str]]:
        """See `sersl.annotation.annotators.Annotator`; it uses the corpus's own categories."""
        used = [index.names()] if (index.column("category") != "").any() else []
        return labels_of(self._fitted) + used

    def intensities(self, recordings: Sequence[Recording]) -> list[np.ndarray]:
        """See `sersl.annotation.annotators.Annotator`; all frames of an utterance are equal."""
        values = self.scores(
            [recording.speaker for recording in recordings],
            [recording.category for recording in recordings],
            corpus_functionals([recording.waveform for recording in recordings]),
        )
        return [
            np.full(num_frames(len(recording.waveform)), value, np.float32)
            for recording, value in zip(recordings, values, strict=True)
        ]

    def scores(
        self,
        speakers: Sequence[str] | np.ndarray,
        categories: Sequence[str] | np.ndarray,
        features: np.ndarray,
    ) -> np.ndarray:
        """Computes the intensity of utterances.

        Args:
          speakers: [n] names, of the corpus that it is prepared for.
          categories: [n] names.
          features: [n, F], `corpus_functionals` of their audio.

        Returns:
          float32 [n] in 0..1.
        """
        return self.ranker.intensity(self.standard.apply(features, speakers), categories)


class StrengthAnnotator:
    """An intensity for each frame, by the strength network."""

    on_device = True

    def __init__(self, fitted: Fitted):
        """Makes it of a fitted annotator of kind "strength"."""
        tensors = dict(fitted.tensors)
        self.name = fitted.name
        self.config = from_mapping(StrengthConfig, fitted.about["config"])
        self.standard = Standard(tensors.pop("mean"), tensors.pop("deviation"))
        shapes = nnx.eval_shape(
            lambda: StrengthNetwork(
                self.config,
                num_categories=len(fitted.about["categories"]),
                key=jax.random.key(0),
            )
        )
        graph, state = nnx.split(shapes)
        self._params = put_parameters(state, tensors)
        self._apply = jax.jit(functools.partial(_apply, graph, self.config.num_mels))
        self._fitted = fitted

    def identity(self) -> dict[str, Any]:
        """See `sersl.annotation.annotators.Annotator`."""
        return _identity(self._fitted)

    def prepare(self, source: CorpusSource) -> None:
        """Measures the mean spectrum of the speakers of a corpus."""
        measure = functools.partial(mean_spectra, num_mels=self.config.num_mels)
        self.standard = corpus_standard(source, self.standard, measure, self.config.speaker)

    def labels_of(self, index: CorpusIndex) -> list[dict[str, str]]:
        """See `sersl.annotation.annotators.Annotator`."""
        return labels_of(self._fitted)

    def intensities(self, recordings: Sequence[Recording]) -> list[np.ndarray]:
        """See `sersl.annotation.annotators.Annotator`."""
        waveforms = [recording.waveform for recording in recordings]
        means = [self.standard.of(recording.speaker)[0] for recording in recordings]
        found = [np.zeros(num_frames(len(waveform)), np.float32) for waveform in waveforms]
        for batch in make_batches(waveforms):
            mean = np.zeros((len(batch.num_samples), len(self.standard.mean)), np.float32)
            for row, stretch in enumerate(batch.stretches):
                mean[row] = means[stretch.owner]
            frames = self._apply(
                self._params, batch.waveform, batch.num_samples, mean, self.standard.deviation
            )
            frames = np.asarray(frames)
            for row, (owner, start, count) in enumerate(batch.stretches):
                found[owner][start : start + count] = frames[row, :count]
        return found


def labels_of(fitted: Fitted) -> list[dict[str, str]]:
    """Lists the corpora whose labels an annotator, or one that it learned from, was fitted on.

    Args:
      fitted: the annotator.

    Returns:
      {"corpus", "version", "fingerprint"} of each.

    Raises:
      UserError: its folder does not list them.
    """
    # Older versions wrote only what it was trained on.
    key = "labels_of" if "labels_of" in fitted.about else "trained_on"
    if key not in fitted.about:
        raise UserError(
            f"the annotator {fitted.folder} does not list whose labels it was fitted on: fit it "
            "again"
        )
    try:
        return [{name: str(one[name]) for name in _CORPUS} for one in fitted.about[key]]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"the annotator {fitted.folder} is damaged ({key} is not a list of corpora): fit it "
            "again"
        ) from error


def name_parameters(state: nnx.State) -> dict[str, np.ndarray]:
    """Names the parameters of a network by their paths, as "convolutions.0.kernel"."""
    return {
        ".".join(map(str, path)): np.asarray(value[...]) for path, value in nnx.to_flat_state(state)
    }


def put_parameters(shapes: nnx.State, tensors: dict[str, np.ndarray]) -> nnx.State:
    """Undoes `name_parameters`.

    Args:
      shapes: of the network.
      tensors: {name: array}, no more and no fewer than the network has.

    Returns:
      The network's state.

    Raises:
      ValueError: a tensor is missing, left over or of another shape.
    """
    flat = list(nnx.to_flat_state(shapes))
    names = {".".join(map(str, path)) for path, _ in flat}
    if names != tensors.keys():
        raise ValueError(f"tensors {sorted(names ^ tensors.keys())} are missing or left over")
    for path, value in flat:
        found = tensors[".".join(map(str, path))]
        if found.shape != value.shape:
            raise ValueError(f"tensor {'.'.join(map(str, path))} has shape {found.shape}")
    return nnx.from_flat_state(
        [
            (path, value.replace(jnp.asarray(tensors[".".join(map(str, path))])))
            for path, value in flat
        ]
    )


def _identity(fitted: Fitted) -> dict[str, Any]:
    kind = fitted.about["kind"]
    return {"kind": kind, "versions": VERSIONS[kind], "weights": fitted.fingerprint}


def _apply(graph, num_mels, params, waveform, num_samples, mean, deviation):
    inputs: StrengthInput = strength_input(waveform, num_samples, num_mels=num_mels)
    features = (inputs.features - mean[:, None]) / deviation
    return nnx.merge(graph, params)(inputs._replace(features=features)).frames
