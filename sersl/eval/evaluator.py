"""From a model's answers to scores and to predictions.csv, every column by name."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sersl.corpora.index import CorpusIndex
from sersl.corpora.labels import DIMENSIONS
from sersl.eval import metrics
from sersl.eval.answers import Answers
from sersl.eval.predictions import TEXT_COLUMNS, Predictions, write_predictions


def validation_scores(answers: Answers) -> dict[str, float]:
    """Scores the validation side; "selection" is what the best step is chosen by.

    Args:
      answers: of n utterances.

    Returns:
      uar and accuracy where categories are labelled, ccc_<name> where dimensions are, and
      selection: the mean of uar and the mean ccc, or the one there is. Without labels there is no
      score, and of answers that are not finite it is NaN.
    """
    scores: dict[str, float] = {}
    chosen = []
    known = answers.true_category >= 0
    if answers.scores.shape[1] and known.any():
        truth, predicted = answers.true_category[known], answers.scores[known]
        found = metrics.category_scores(truth, predicted.argmax(1), predicted.shape[1])
        finite = bool(np.isfinite(predicted).all())
        scores |= {name: found[name] if finite else math.nan for name in ("uar", "accuracy")}
        chosen.append(scores["uar"])
    ccc = {}
    for i, name in enumerate(answers.dimension_names.tolist()):
        truth = answers.true_dimensions[:, DIMENSIONS.index(name)]
        if metrics.is_measurable(truth):
            ccc[f"ccc_{name}"] = metrics.ccc(truth, answers.dimensions[:, i])
    if ccc:
        chosen.append(float(np.mean(list(ccc.values()))))
    if chosen:
        scores["selection"] = float(np.mean(chosen))
    return scores | ccc


def collect_predictions(
    workdir: str | Path,
    folds: Sequence[tuple[str, Answers]],
    *,
    indexes: Sequence[CorpusIndex],
    names: Sequence[str],
    classes: np.ndarray,
) -> Path:
    """Writes predictions.csv from the answers of all tested folds.

    Args:
      workdir: of the run.
      folds: (name, `Answers`) of every fold with a test side.
      indexes: of the corpora, in the order of the run.
      names: of the categories, in the order of the scores.
      classes: str [all utterances], the class of each in the run's view, "" none.

    Returns:
      The file.
    """
    columns = {
        name: np.concatenate([index.column(name) for index in indexes])
        for name in ("utterance_id", "speaker", "corpus", "gender")
    }
    rows = np.concatenate([answers.rows for _, answers in folds])
    scores = np.concatenate([answers.scores for _, answers in folds]).astype(np.float64)
    text = {name: columns[name][rows] for name in columns}
    text["fold"] = np.concatenate([np.full(len(a.rows), name) for name, a in folds])
    text["category"] = classes[rows]
    text["predicted"] = np.array(names)[scores.argmax(1)] if len(names) else np.full(len(rows), "")
    predicted = np.full((len(rows), len(DIMENSIONS)), np.nan)
    for i, name in enumerate(folds[0][1].dimension_names.tolist()):
        column = np.concatenate([answers.dimensions[:, i] for _, answers in folds])
        predicted[:, DIMENSIONS.index(name)] = column
    path = Path(workdir) / "predictions.csv"
    write_predictions(
        path,
        Predictions(
            text={name: text[name].astype(str) for name in TEXT_COLUMNS},
            names=tuple(names),
            scores=scores,
            truth=np.concatenate([answers.true_dimensions for _, answers in folds]),
            predicted=predicted if len(folds[0][1].dimension_names) else None,
        ),
    )
    return path
