"""Fits annotators on prepared corpora and writes them into a folder."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from flax import nnx

from sersl.annotation.annotator_folder import check_output, read_annotator, write_annotator
from sersl.annotation.annotators import RULES
from sersl.annotation.category_ranker import fit_category_ranker
from sersl.annotation.fitted import (
    VERSIONS,
    RankerAnnotator,
    labels_of,
    name_parameters,
    open_fitted,
)
from sersl.annotation.speakers import Standard, measure_all, measure_speakers, rows_of_speakers
from sersl.annotation.strength_training import Example, Progress, train_strength
from sersl.annotation.utterance_features import corpus_functionals, measure_rows, spectral_moments
from sersl.config.annotation import FitConfig, RankerConfig, SpeakerConfig, StrengthConfig
from sersl.config.load import to_dict
from sersl.core.errors import UserError, unknown_name
from sersl.core.lengths import num_frames
from sersl.core.version import __version__
from sersl.data.sources import CorpusSource
from sersl.models.acoustic.functionals import FUNCTIONALS

KINDS = tuple(VERSIONS)
_MOST_MEASURED = 2000  # utterances of a corpus on which the average speaker is measured
_MIN_VARIANCE = 1e-4  # of a feature over frames


class Portion:
    """Utterances of one corpus that an annotator is fitted on.

    Attributes:
      source: the corpus.
      rows: int64 [m], of its index; those of at least one frame.
    """

    def __init__(self, source: CorpusSource, rows: Sequence[int] | np.ndarray | None = None):
        """Chooses utterances.

        Args:
          source: the corpus.
          rows: [n], of its index; None: all.
        """
        every = np.arange(len(source)) if rows is None else np.asarray(rows, np.int64)
        self.source = source
        self.rows = every[num_frames(source.num_samples[every]) > 0]

    def column(self, name: str) -> np.ndarray:
        """Reads a column of the index at the rows, [m]."""
        return self.source.index.column(name)[self.rows]

    def speakers(self) -> np.ndarray:
        """Names the speakers [m] together with their corpus; "" is unknown."""
        corpus = self.source.index.corpus
        return np.array([f"{corpus}/{name}" if name else "" for name in self.column("speaker")])


def fit_annotator(
    kind: str,
    portions: Sequence[Portion],
    output: str | Path,
    config: FitConfig,
    *,
    progress: Progress | None = None,
) -> Path:
    """Fits an annotator and writes it.

    Args:
      kind: "ranker" or "strength".
      portions: what to fit it on.
      output: folder to make; its last part is the annotator's name.
      config: settings of both kinds.
      progress: of the strength network: (steps done, all steps, terms of the loss).

    Returns:
      The folder.

    Raises:
      UserError: unknown kind or supervision, a name that is taken, an output that cannot be
        written, or no labels to fit on.
    """
    if kind not in KINDS:
        raise unknown_name("annotator to fit", kind, KINDS)
    folder = Path(output)
    check_output(folder, tuple(RULES))
    if not any(len(portion.rows) for portion in portions):
        raise UserError("there is no utterance to fit on: give a prepared corpus with --corpus")
    if kind == "ranker":
        about, tensors = _fit_ranker(portions, config.ranker)
    else:
        intensities = [_targets(portion, config.strength) for portion in portions]
        about, tensors = learn_strength(portions, intensities, config.strength, progress=progress)
    indexes = [portion.source.index for portion in portions]
    labelled = [index.names() for index in indexes if index.is_labelled()]
    if kind == "strength" and config.strength.supervision == "ranker":
        labelled += labels_of(read_annotator(config.strength.ranker))
    trained_on = [
        {
            **portion.source.index.names(),
            "num_utterances": len(portion.rows),
            "num_speakers": len(set(portion.column("speaker")) - {""}),
        }
        for portion in portions
    ]
    about = {"kind": kind, "versions": VERSIONS[kind], **about, "trained_on": trained_on}
    about["labels_of"] = list({one["fingerprint"]: one for one in labelled}.values())
    write_annotator(folder, about | {"sersl": __version__}, tensors)
    return folder


def learn_strength(
    portions: Sequence[Portion],
    intensities: Sequence[np.ndarray],
    config: StrengthConfig,
    *,
    progress: Progress | None = None,
) -> tuple[dict, dict[str, np.ndarray]]:
    """Trains the strength network on intensities of utterances.

    Args:
      portions: what to train on.
      intensities: of each portion [m], one for each of its rows, in 0..1, NaN unknown.
      config: sizes, weights, steps.
      progress: as `fit_annotator`.

    Returns:
      What `write_annotator` takes: a description, and tensors.

    Raises:
      UserError: no utterance has a known intensity, or one cannot be read.
    """
    labels = np.concatenate([portion.column("category") for portion in portions])
    categories = sorted(set(labels) - {""})
    measure = functools.partial(spectral_moments, num_mels=config.num_mels)
    measured = [_measured_rows(portion, config.speaker) for portion in portions]
    moments = [
        measure_rows(p.source, rows, measure) for p, rows in zip(portions, measured, strict=True)
    ]
    first, second = np.split(np.concatenate(moments).mean(axis=0, dtype=np.float64), 2)
    deviation = np.sqrt(np.maximum(second - first**2, _MIN_VARIANCE))
    everyone = Standard(first.astype(np.float32), deviation.astype(np.float32))
    examples = []
    for portion, wanted, rows, values in zip(portions, intensities, measured, moments, strict=True):
        means = values[:, : 2 * config.num_mels]
        standard = _standard(Portion(portion.source, rows), means, everyone, config.speaker)
        for row, speaker, label, value in zip(
            portion.rows, portion.speakers(), portion.column("category"), wanted, strict=True
        ):
            examples.append(
                Example(
                    functools.partial(_read, portion.source, int(row)),
                    int(portion.source.num_samples[row]),
                    float(value),
                    categories.index(label) if label else -1,
                    standard.of(str(speaker))[0],
                    everyone.deviation,
                )
            )
    network = train_strength(examples, config, num_categories=len(categories), progress=progress)
    about = {"config": to_dict(config), "categories": categories}
    tensors = name_parameters(nnx.split(network)[1])
    return about, {**tensors, "mean": everyone.mean, "deviation": everyone.deviation}


def _fit_ranker(portions, config: RankerConfig) -> tuple[dict, dict]:
    raw = [measure_rows(p.source, p.rows, corpus_functionals) for p in portions]
    everyone = measure_all(np.concatenate(raw))
    features = np.concatenate(
        [
            _standard(portion, values, everyone, config.speaker).apply(values, portion.speakers())
            for portion, values in zip(portions, raw, strict=True)
        ]
    )
    ranker = fit_category_ranker(
        features,
        np.concatenate([portion.column("category") for portion in portions]),
        np.concatenate([portion.column("intensity") for portion in portions]),
        config,
    )
    about = {
        "config": to_dict(config),
        "rankers": list(ranker.names),
        "features": list(FUNCTIONALS),
    }
    tensors = {
        "mean": everyone.mean,
        "deviation": everyone.deviation,
        "weights": ranker.weights,
        "centre": ranker.centre,
        "scale": ranker.scale,
        "classifier": ranker.classifier,
    }
    return about, tensors


def _targets(portion: Portion, config: StrengthConfig) -> np.ndarray:
    """Gives the target intensity [m] of each utterance."""
    if config.supervision == "intensity":
        return portion.column("intensity")
    if not config.ranker:
        raise UserError(
            "strength.ranker is not given: fit a ranker first (`sersl annotate --fit ranker`) and "
            "add --config.strength.ranker=FOLDER, or train on the corpus's own intensities with "
            "--config.strength.supervision=intensity"
        )
    annotator = open_fitted(config.ranker)
    if not isinstance(annotator, RankerAnnotator):
        raise UserError(
            f"strength.ranker {config.ranker} is not a ranker: give one of --fit ranker"
        )
    annotator.prepare(portion.source)
    features = measure_rows(portion.source, portion.rows, corpus_functionals)
    return annotator.scores(portion.column("speaker"), portion.column("category"), features)


def _measured_rows(portion: Portion, config: SpeakerConfig) -> np.ndarray:
    """Chooses the rows on which the average speaker and each speaker are measured."""
    evenly = np.linspace(0, len(portion.rows) - 1, min(len(portion.rows), _MOST_MEASURED))
    chosen = portion.rows[np.unique(evenly.round().astype(int))]
    if config.normalize:
        chosen = np.union1d(chosen, portion.rows[rows_of_speakers(portion.speakers(), config)])
    return chosen


def _standard(
    portion: Portion, features: np.ndarray, everyone: Standard, config: SpeakerConfig
) -> Standard:
    """Measures the speakers of a portion by [n, F] features of its rows."""
    if not config.normalize:
        return everyone
    speakers = portion.speakers()
    rows = rows_of_speakers(speakers, config)
    return measure_speakers(features[rows], speakers[rows], everyone=everyone, prior=config.prior)


def _read(source: CorpusSource, row: int, start: int, num_samples: int) -> np.ndarray:
    return source.waveform(row, start=start, num_samples=num_samples)
