"""Annotators that were fitted: the ranker and the strength network, read from their folder."""

import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.annotation.annotator_folder import Fitted, read_annotator
from sersl.annotation.category_ranker import RANKER_VERSION, CategoryRanker
from sersl.annotation.descriptors import DESCRIPTORS_VERSION
from sersl.annotation.functionals import FUNCTIONALS, FUNCTIONALS_VERSION
from sersl.annotation.speakers import Standard
from sersl.annotation.strength import (
    STRENGTH_VERSION,
    StrengthInput,
    StrengthNetwork,
    strength_input,
)
from sersl.annotation.stretches import make_batches
from sersl.annotation.utterance_features import corpus_functionals, hear_speakers, mean_spectra
from sersl.config.annotation import RankerConfig, StrengthConfig
from sersl.config.load import from_mapping
from sersl.core.errors import UserError, unknown_name
from sersl.core.lengths import num_frames
from sersl.corpora.index import CorpusIndex
from sersl.data.sources import CorpusSource

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
      standard: of the training data; of speakers too, once it has listened.
    """

    on_device = True

    def __init__(self, fitted: Fitted):
        """Takes the tensors apart.

        Args:
          fitted: of kind "ranker".
        """
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
            raise ValueError("it knows other features")
        self.standard = Standard(tensors["mean"], tensors["deviation"])
        self._fitted = fitted

    def identity(self) -> dict:
        """See `sersl.annotation.annotators.Annotator`."""
        return _identity(self._fitted)

    def listen(self, source: CorpusSource) -> None:
        """Measures the speakers of a corpus.

        Args:
          source: the corpus.
        """
        self.standard = hear_speakers(
            source, self.standard, corpus_functionals, self.config.speaker
        )

    def labels_of(self, index: CorpusIndex) -> list[dict]:
        """See `sersl.annotation.annotators.Annotator`; it is told the corpus's own categories."""
        told = [index.names()] if (index.column("category") != "").any() else []
        return labels_of(self._fitted) + told

    def intensities(self, source, rows, waveforms, tracks):
        """See `sersl.annotation.annotators.Annotator`.

        Args:
          source: the corpus.
          rows: of its index.
          waveforms: [N] float32 each.
          tracks: not needed.

        Returns:
          [T] float32 each, the same for all frames of an utterance.
        """
        del tracks
        values = self.scores(source, rows, corpus_functionals(waveforms))
        return [
            np.full(num_frames(len(waveform)), value, np.float32)
            for waveform, value in zip(waveforms, values, strict=True)
        ]

    def scores(self, source: CorpusSource, rows: Sequence[int], features: np.ndarray) -> np.ndarray:
        """Says how intense utterances are.

        Args:
          source: the corpus, to which it has listened.
          rows: of its index.
          features: [n, F], `corpus_functionals` of these rows.

        Returns:
          float32 [n] in 0..1.
        """
        speakers, categories = (
            source.index.column(name)[np.asarray(rows, np.int64)]
            for name in ("speaker", "category")
        )
        return self.ranker.intensity(self.standard.apply(features, speakers), categories)


class StrengthAnnotator:
    """An intensity for each frame, by the strength network."""

    on_device = True

    def __init__(self, fitted: Fitted):
        """Puts the network together.

        Args:
          fitted: of kind "strength".
        """
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

    def identity(self) -> dict:
        """See `sersl.annotation.annotators.Annotator`."""
        return _identity(self._fitted)

    def listen(self, source: CorpusSource) -> None:
        """Measures the mean spectrum of the speakers of a corpus.

        Args:
          source: the corpus.
        """
        measure = functools.partial(mean_spectra, num_mels=self.config.num_mels)
        self.standard = hear_speakers(source, self.standard, measure, self.config.speaker)

    def labels_of(self, index: CorpusIndex) -> list[dict]:
        """See `sersl.annotation.annotators.Annotator`."""
        del index
        return labels_of(self._fitted)

    def intensities(self, source, rows, waveforms, tracks):
        """See `sersl.annotation.annotators.Annotator`.

        Args:
          source: the corpus.
          rows: of its index.
          waveforms: [N] float32 each.
          tracks: not needed.

        Returns:
          [T] float32 each.
        """
        del tracks
        speakers = source.index.column("speaker")[np.asarray(rows, np.int64)]
        means = [self.standard.of(speaker)[0] for speaker in speakers]
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


def labels_of(fitted: Fitted) -> list[dict]:
    """Lists the corpora whose labels an annotator was fitted on, itself or what it learned from.

    Args:
      fitted: the annotator.

    Returns:
      {"corpus", "version", "fingerprint"} of each.

    Raises:
      UserError: it does not say.
    """
    if "labels_of" in fitted.about:
        return list(fitted.about["labels_of"])
    if "trained_on" not in fitted.about:
        raise UserError(
            f"the annotator {fitted.folder} does not say whose labels it knows: fit it again"
        )
    heard = fitted.about["trained_on"]  # earlier versions told only this
    return [{key: one[key] for key in ("corpus", "version", "fingerprint")} for one in heard]


def name_parameters(state: nnx.State) -> dict[str, np.ndarray]:
    """Gives the parameters of a network flat names.

    Args:
      state: of the network.

    Returns:
      {"convolutions.0.kernel": array}.
    """
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


def _identity(fitted: Fitted) -> dict:
    kind = fitted.about["kind"]
    return {"kind": kind, "versions": VERSIONS[kind], "weights": fitted.fingerprint}


def _apply(graph, num_mels, params, waveform, num_samples, mean, deviation):
    heard: StrengthInput = strength_input(waveform, num_samples, num_mels=num_mels)
    features = (heard.features - mean[:, None]) / deviation
    return nnx.merge(graph, params)(heard._replace(features=features)).frames
