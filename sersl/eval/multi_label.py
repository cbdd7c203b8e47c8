"""Scores of categories of which several may apply: F1 and average precision of each, and means."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sersl.core.errors import unknown_name
from sersl.eval.answers import Answers

Array = np.ndarray
LABEL_SCORES = ("macro_f1", "micro_f1", "average_precision")
SEPARATOR = ";"  # between the names that apply to one utterance, in predictions.csv
_FEWEST = 1  # validation utterances to which a category applies, for a threshold of its own


def f1_scores(truth: Array, predicted: Array) -> Array:
    """Computes the F1 of each category.

    Args:
      truth: bool [N, C].
      predicted: bool [N, C].

    Returns:
      float64 [C]; NaN for a category that neither applies nor is predicted anywhere.
    """
    both = truth.sum(axis=0) + predicted.sum(axis=0)
    found = (truth & predicted).sum(axis=0)
    return np.where(both > 0, 2 * found / np.maximum(both, 1), np.nan)


def average_precision(truth: Array, scores: Array) -> float:
    """Computes the average precision of one category.

    Args:
      truth: bool [N].
      scores: float [N].

    Returns:
      The mean of the precisions at each true utterance, those of one score taken together, as
      `sklearn.metrics.average_precision_score`; NaN where the category applies nowhere.
    """
    if not truth.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    found, last = np.cumsum(truth[order]), np.append(np.diff(scores[order]) != 0, True)
    found, taken = found[last], np.flatnonzero(last) + 1
    recall = np.diff(found, prepend=0) / truth.sum()
    return float((recall * found / taken).sum())


def label_scores(truth: Array, predicted: Array, scores: Array) -> dict[str, float]:
    """Computes the scores over all categories.

    Args:
      truth: bool [N, C].
      predicted: bool [N, C].
      scores: float [N, C].

    Returns:
      {"macro_f1": mean over the categories that apply or are predicted, "micro_f1": of all labels
      together, "average_precision": mean over the categories that apply}; NaN without an utterance.
    """
    if not len(truth):
        return dict.fromkeys(LABEL_SCORES, float("nan"))
    precisions = np.array([average_precision(t, s) for t, s in zip(truth.T, scores.T, strict=True)])
    micro = f1_scores(truth.reshape(-1, 1), predicted.reshape(-1, 1))[0]
    return {
        "macro_f1": _mean(f1_scores(truth, predicted)),
        "micro_f1": float(micro),
        "average_precision": _mean(precisions),
    }


def by_label(
    truth: Array, predicted: Array, scores: Array, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Computes F1, average precision and number of each category.

    Args:
      truth: bool [N, C].
      predicted: bool [N, C].
      scores: float [N, C].
      names: C names.

    Returns:
      {name: {"f1", "average_precision", "num_utterances", "num_predicted"}}.
    """
    f1 = f1_scores(truth, predicted)
    return {
        name: {
            "f1": float(f1[i]),
            "average_precision": average_precision(truth[:, i], scores[:, i]),
            "num_utterances": int(truth[:, i].sum()),
            "num_predicted": int(predicted[:, i].sum()),
        }
        for i, name in enumerate(names)
    }


def best_thresholds(answers: Answers) -> Array:
    """Chooses the threshold of each category that gives the best F1 on validation utterances.

    Args:
      answers: on the validation side.

    Returns:
      float64 [C]; 0.5 where the category applies to no such utterance. Between two scores it is
      their mean; of equally good ones it is the nearest to 0.5.
    """
    known = ~np.isnan(answers.true_categories).any(axis=1)
    truth = answers.true_categories[known] > 0.5
    scores = answers.scores[known].astype(np.float64)
    return np.array([_threshold(t, s) for t, s in zip(truth.T, scores.T, strict=True)])


def _threshold(truth: Array, scores: Array) -> float:
    if truth.sum() < _FEWEST or not np.isfinite(scores).all():
        return 0.5
    levels = np.unique(scores)
    between = (levels[1:] + levels[:-1]) / 2
    candidates = np.array([*between, levels[0], 0.5])
    candidates = candidates[np.argsort(np.abs(candidates - 0.5), kind="stable")]
    order = np.sort(scores)
    positive = np.sort(scores[truth])
    taken = len(order) - np.searchsorted(order, candidates)
    found = len(positive) - np.searchsorted(positive, candidates)
    f1 = 2 * found / (taken + len(positive))
    return float(candidates[f1.argmax()])


def applied(texts: Array, names: Sequence[str]) -> Array:
    """Reads names that apply, joined by `SEPARATOR`: str [N] to bool [N, C].

    Raises:
      UserError: a word is not one of the names.
    """
    place = {name: i for i, name in enumerate(names)}
    table = np.zeros((len(texts), len(names)), bool)
    for row, text in enumerate(texts.tolist()):
        for word in filter(None, text.split(SEPARATOR)):
            if word not in place:
                raise unknown_name("category", word, names)
            table[row, place[word]] = True
    return table


def joined(table: Array, names: Sequence[str]) -> Array:
    """Undoes `applied`: [N, C], True where a name applies, to str [N]."""
    texts = [
        SEPARATOR.join(n for n, there in zip(names, row, strict=True) if there) for row in table
    ]
    return np.array(texts, dtype=str)


def validation_scores(answers: Answers) -> dict[str, float]:
    """Scores answers at a threshold of one half; {} without labels.

    A score of answers that are not finite is NaN.
    """
    known = ~np.isnan(answers.true_categories).any(axis=1)
    scores = answers.scores[known].astype(np.float64)
    if not known.any():
        return {}
    found = label_scores(answers.true_categories[known] > 0.5, scores > 0.5, scores)
    finite = bool(np.isfinite(scores).all())
    return {name: value if finite else float("nan") for name, value in found.items()}


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
