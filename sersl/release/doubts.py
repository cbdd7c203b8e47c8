"""Uncertainty of released models on a corpus: of one, of passes with dropout, of an ensemble."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.data.sources import CorpusSource
from sersl.eval.analysis.error_detection import uncertainty_of
from sersl.release.predict.dropout import dropout_passes
from sersl.release.predict.predictor import Model
from sersl.release.predict.with_views import of_rows
from sersl.release.scoring import CorpusAnswers, CorpusTruth, predict_corpus


@dataclass(frozen=True, kw_only=True)
class Doubts:
    """What to measure uncertainty with, beside one pass of one model.

    Attributes:
      num_passes: with dropout; 0: none.
      ensemble: other models, with the same categories.
      seed: of dropout.
    """

    num_passes: int = 0
    ensemble: Sequence[Model] = ()
    seed: int = 0


def check_ensemble(model: Model, others: Sequence[Model]) -> None:
    """Raises UserError where models cannot be averaged: other categories, or several apply."""
    for other in others:
        if set(other.categories) != set(model.categories) or model.labels.multi:
            raise UserError(
                "--ensemble needs models that choose one of the same categories: "
                f"{', '.join(model.categories) or 'none'} are not "
                f"{', '.join(other.categories) or 'none'}"
            )


def measure_doubts(
    model: Model,
    source: CorpusSource,
    truth: CorpusTruth,
    answers: CorpusAnswers,
    *,
    doubts: Doubts,
    after_each: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Judges how well measures of uncertainty tell errors, see `error_detection.judged`.

    Args:
      model: that gave the answers.
      source: the corpus.
      truth: of the corpus.
      answers: of the model.
      doubts: what was asked for.
      after_each: called after each utterance.

    Returns:
      {"this model", "mean of K passes", "ensemble of M models": what `uncertainty_of` gives}, those
      that were asked for.

    Raises:
      UserError: a model of the ensemble cannot score the same utterances.
    """
    predictions = answers.predictions
    found = {"this model": uncertainty_of(predictions, others=answers.uncertainty)}
    if doubts.num_passes:
        rows = answers.rows.tolist()
        wanted = of_rows(map(source.waveform, rows), source.index, rows)
        passes = dropout_passes(
            model,
            wanted,
            num_passes=doubts.num_passes,
            seed=doubts.seed,
            sample_rate=SAMPLE_RATE,
        )
        places = [model.categories.index(name) for name in truth.shared]
        members = []
        for one in passes:
            if one is None:
                raise UserError(f"corpus {source.index.corpus!r} changed while it was read")
            own = one[:, places]
            members.append(own / np.maximum(own.sum(1, keepdims=True), 1e-12))
            after_each()
        found[f"mean of {doubts.num_passes} passes"] = uncertainty_of(
            predictions, members=np.stack(members, axis=1)
        )
    if doubts.ensemble:
        scores = [predictions.scores]
        for other in doubts.ensemble:
            theirs = predict_corpus(other, source, truth, after_each=after_each)
            if theirs.rows.tolist() != answers.rows.tolist():
                raise UserError(
                    "a model of --ensemble could not score some utterances that the others could: "
                    "leave it out"
                )
            scores.append(theirs.predictions.scores)
        name = f"ensemble of {len(scores)} models"
        found[name] = uncertainty_of(predictions, members=np.stack(scores))
    return found
