"""From a model's answers to scores and to predictions.csv, every column by name."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sersl.corpora.index import CorpusIndex
from sersl.corpora.labels import DIMENSIONS
from sersl.eval import metrics
from sersl.eval.predictions import TEXT_COLUMNS, Predictions, write_predictions


def validation_scores(answers) -> dict[str, float]:
    """Scores the validation side; "selection" is what the best step is chosen by.

    Args:
      answers: `sersl.eval.answers.Answers` of n utterances.

    Returns:
      uar and accuracy where categories are labelled, ccc_<name> where dimensions are, and
      selection: the mean of uar and the mean ccc, or the one there is.
    """
    scores, chosen = {}, []
    known = answers.true_category >= 0
    if answers.scores.shape[1] and known.any():
        truth, predicted = answers.true_category[known], answers.scores[known].argmax(1)
        found = metrics.category_scores(truth, predicted, answers.scores.shape[1])
        scores |= {name: found[name] for name in ("uar", "accuracy")}
        chosen.append(found["uar"])
    if answers.dimensions.shape[1]:
        ccc = {
            f"ccc_{name}": metrics.ccc(answers.true_dimensions[:, i], answers.dimensions[:, i])
            for i, name in enumerate(DIMENSIONS)
        }
        scores |= {name: value for name, value in ccc.items() if not np.isnan(value)}
        if not all(np.isnan(value) for value in ccc.values()):
            chosen.append(float(np.nanmean(list(ccc.values()))))
    return {**scores, "selection": float(np.mean(chosen)) if chosen else 0.0}


def collect_predictions(
    workdir: str | Path,
    folds: Sequence[tuple[str, object]],
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
    predicted = np.concatenate([answers.dimensions for _, answers in folds]).astype(np.float64)
    path = Path(workdir) / "predictions.csv"
    write_predictions(
        path,
        Predictions(
            text={name: text[name].astype(str) for name in TEXT_COLUMNS},
            names=tuple(names),
            scores=scores,
            truth=np.concatenate([answers.true_dimensions for _, answers in folds]),
            predicted=predicted if predicted.shape[1] else None,
        ),
    )
    return path
