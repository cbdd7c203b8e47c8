"""From a model's answers to scores and to predictions.csv, every column by name."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sersl.core.files import parse_value
from sersl.corpora.index import CorpusIndex
from sersl.corpora.labels import DIMENSIONS, order_dimensions
from sersl.eval import metrics, multi_label
from sersl.eval.answers import Answers
from sersl.eval.predictions import GROUP_COLUMNS, TEXT_COLUMNS, Predictions, write_predictions


def validation_scores(answers: Answers) -> dict[str, float]:
    """Scores the validation side; "selection" is what the best step is chosen by.

    Args:
      answers: of n utterances.

    Returns:
      uar and accuracy where categories are labelled, macro_f1 and average_precision where several
      may apply, ccc_<name> where dimensions are, and selection: the mean of uar (or
      average_precision) and the mean ccc, or the one there is. Without labels there is no score,
      and of answers that are not finite it is NaN.
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
    if answers.multi:
        scores |= multi_label.validation_scores(answers)
        # Unlike F1, it does not depend on a threshold, which is chosen at the end.
        chosen += [scores["average_precision"]] if "average_precision" in scores else []
    ccc, rated = {}, answers.true_dimension_names.tolist()
    for i, name in enumerate(answers.dimension_names.tolist()):
        truth = answers.true_dimensions[:, rated.index(name)]
        if metrics.is_measurable(truth):
            ccc[f"ccc_{name}"] = metrics.ccc(truth, answers.dimensions[:, i])
    if ccc:
        chosen.append(float(np.mean(list(ccc.values()))))
    if chosen:
        scores["selection"] = float(np.mean(chosen))
    return scores | ccc


def age_group(extra: str) -> str:
    """Gives the group of a speaker's age: "under 30", "30 to 49", "50 and over", or a word.

    Args:
      extra: the column of an index: a JSON object that may have "age", or "".
    """
    age = parse_value(extra, allow_infinite=True).get("age", "") if extra else ""
    try:
        years = float(age)
    except (TypeError, ValueError):
        return str(age or "")
    if not 0 < years < 130:
        return ""
    return "under 30" if years < 30 else "30 to 49" if years < 50 else "50 and over"


def collect_predictions(
    workdir: str | Path,
    folds: Sequence[tuple[str, Answers]],
    *,
    indexes: Sequence[CorpusIndex],
    names: Sequence[str],
) -> Path:
    """Writes predictions.csv from the answers of all tested folds.

    Args:
      workdir: of the run.
      folds: (name, `Answers`) of every fold with a test side.
      indexes: of the corpora, in the order of the run.
      names: of the categories, in the order of the scores.

    Returns:
      The file.
    """
    columns = {
        name: np.concatenate([index.column(name) for index in indexes])
        for name in ("utterance_id", "speaker", "corpus", "gender", "language", "extra")
    }
    rows = np.concatenate([answers.rows for _, answers in folds])
    scores = np.concatenate([answers.scores for _, answers in folds]).astype(np.float64)
    text = {name: columns[name][rows] for name in columns}
    text["age_group"] = np.array([age_group(extra) for extra in text.pop("extra")], str)
    text["fold"] = np.concatenate([np.full(len(a.rows), name) for name, a in folds])
    labelled = None
    if folds[0][1].multi:
        table = np.concatenate([answers.true_categories for _, answers in folds])
        labelled = ~np.isnan(table).any(axis=1)
        chosen = np.concatenate([answers.scores >= answers.thresholds for _, answers in folds])
        text["category"] = multi_label.joined(np.nan_to_num(table) > 0.5, names)
        text["predicted"] = multi_label.joined(chosen, names)
    else:
        classes = np.concatenate([answers.true_category for _, answers in folds])
        text["category"] = np.array([*names, ""])[classes]
        best = scores.argmax(1) if len(names) else np.full(len(rows), -1)
        text["predicted"] = np.array([*names, ""])[best]
    rated = folds[0][1].true_dimension_names.tolist()
    dimensions = order_dimensions((*DIMENSIONS, *rated))
    truth, predicted = (np.full((len(rows), len(dimensions)), np.nan) for _ in range(2))
    for i, name in enumerate(rated):
        column = np.concatenate([answers.true_dimensions[:, i] for _, answers in folds])
        truth[:, dimensions.index(name)] = column
    for i, name in enumerate(folds[0][1].dimension_names.tolist()):
        column = np.concatenate([answers.dimensions[:, i] for _, answers in folds])
        predicted[:, dimensions.index(name)] = column
    path = Path(workdir) / "predictions.csv"
    write_predictions(
        path,
        Predictions(
            text={name: text[name].astype(str) for name in (*TEXT_COLUMNS, *GROUP_COLUMNS)},
            names=tuple(names),
            scores=scores,
            labelled=labelled,
            rated=dimensions,
            truth=truth,
            predicted=predicted if len(folds[0][1].dimension_names) else None,
        ),
    )
    return path
