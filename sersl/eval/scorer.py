"""The scores of any rows of some predictions."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from sersl.eval import metrics, multi_label
from sersl.eval.predictions import Predictions


class Categories(Protocol):
    """The categories of some predictions, of which one or several apply to an utterance.

    Attributes:
      known: bool [N], whether an utterance is labelled.
    """

    known: np.ndarray

    def scores(self, rows: np.ndarray) -> dict[str, float]:
        """Computes flat scores of labelled rows [n]; NaN where one is not defined."""

    def by_name(self, rows: np.ndarray) -> dict[str, Any]:
        """Computes scores of every category over labelled rows [n]."""

    def baseline(self) -> dict[str, Any]:
        """Computes the scores of guessing, over all labelled rows."""


class OneCategory:
    """Categories of which one applies to an utterance, see `Categories`."""

    def __init__(self, predictions: Predictions):
        self._names = predictions.names
        text = predictions.text
        self.known = (text["category"] != "") & bool(self._names)
        self._truth = np.zeros(len(predictions), np.int64)
        self._predicted = np.zeros(len(predictions), np.int64)
        where = self.known
        self._truth[where] = metrics.indices(text["category"][where], self._names)
        self._predicted[where] = metrics.indices(text["predicted"][where], self._names)

    def scores(self, rows: np.ndarray) -> dict[str, float]:
        """Computes UAR, accuracy and F1 of labelled rows [n]."""
        return metrics.category_scores(self._truth[rows], self._predicted[rows], len(self._names))

    def by_name(self, rows: np.ndarray) -> dict[str, Any]:
        """Computes recalls, precisions, F1 and the confusion matrix of labelled rows [n]."""
        confusion = metrics.confusion_matrix(
            self._truth[rows], self._predicted[rows], len(self._names)
        )
        by_name = {
            "recall": metrics.recalls(confusion),
            "precision": metrics.precisions(confusion),
            "f1": metrics.f1_scores(confusion),
        }
        return {
            **{
                kind: dict(zip(self._names, values.tolist(), strict=True))
                for kind, values in by_name.items()
            },
            "confusion": {"names": list(self._names), "counts": confusion.tolist()},
        }

    def baseline(self) -> dict[str, Any]:
        """Scores the most frequent category, and guessing each equally often."""
        truth = self._truth[self.known]
        return {
            "majority": metrics.majority_baseline(truth, self._names),
            "chance": metrics.chance_baseline(truth, len(self._names)),
        }


class SeveralCategories:
    """Categories of which several may apply to an utterance, see `Categories`."""

    def __init__(self, predictions: Predictions, known: np.ndarray):
        self.known = known
        self._names, self._scores = predictions.names, predictions.scores
        self._truth = multi_label.applied(predictions.text["category"], self._names)
        self._predicted = multi_label.applied(predictions.text["predicted"], self._names)

    def scores(self, rows: np.ndarray) -> dict[str, float]:
        """Computes macro and micro F1 and the mean average precision of labelled rows [n]."""
        return multi_label.label_scores(
            self._truth[rows], self._predicted[rows], self._scores[rows]
        )

    def by_name(self, rows: np.ndarray) -> dict[str, Any]:
        """Computes F1 and average precision of each category over labelled rows [n]."""
        parts = self._truth[rows], self._predicted[rows], self._scores[rows]
        return {"labels": multi_label.by_label(*parts, self._names)}

    def baseline(self) -> dict[str, Any]:
        """Scores every category applying everywhere, with one score for all utterances."""
        truth = self._truth[self.known]
        everywhere = np.ones_like(truth)
        return {"all": multi_label.label_scores(truth, everywhere, np.zeros(truth.shape))}


class Scorer:
    """Computes the scores of any rows of some predictions."""

    def __init__(self, predictions: Predictions):
        self._rated = ~np.isnan(predictions.truth).all(axis=1)
        self._dimensions = [(name, *predictions.rating(name)) for name in predictions.dimensions]
        self._categories: Categories
        if predictions.labelled is None:
            self._categories = OneCategory(predictions)
        else:
            self._categories = SeveralCategories(predictions, predictions.labelled)
        self._labelled = self._categories.known

    def __len__(self) -> int:
        return len(self._labelled)

    def __call__(self, rows: np.ndarray) -> dict[str, float]:
        """Computes flat scores of rows [n]; NaN where one is not defined."""
        scores: dict[str, float] = {}
        if self._labelled.any():
            scores.update(self._categories.scores(rows[self._labelled[rows]]))
        for name, truth, predicted in self._dimensions:
            for kind, score in metrics.DIMENSION_SCORES.items():
                scores[f"{kind}.{name}"] = score(truth[rows], predicted[rows])
        return scores

    def nested(self, rows: np.ndarray) -> dict[str, Any]:
        """Computes the scores of rows [n] as in results.json, with reasons in "undefined"."""
        reasons = {}
        if self._labelled.any() and not self._labelled[rows].any():
            reasons["categories"] = "no utterance has a category"
        for name, truth, predicted in self._dimensions:
            reasons[f"ccc.{name}"] = metrics.undefined_ccc(truth[rows], predicted[rows])
        undefined = {name: reason for name, reason in reasons.items() if reason}
        scores = nested_scores(self(rows))
        return {**scores, "undefined": undefined} if undefined else scores

    def per_category(self, rows: np.ndarray) -> dict[str, Any]:
        """Counts rows [n] and computes the scores of every category."""
        counts = {
            "num_with_category": int(self._labelled[rows].sum()),
            "num_with_dimensions": int(self._rated[rows].sum()),
        }
        if not self._labelled.any():
            return counts
        return {**counts, **self._categories.by_name(rows[self._labelled[rows]])}

    def baseline(self) -> dict[str, Any]:
        """Computes the scores of guessing."""
        return self._categories.baseline() if self._labelled.any() else {}


def nested_scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Groups scores by kind: {"uar": U, "ccc.valence": V} gives {"uar": U, "ccc": {"valence": V}}.

    The kinds of `metrics.DIMENSION_SCORES` are always there, empty without a dimension.
    """
    nested: dict[str, Any] = {name: value for name, value in scores.items() if "." not in name}
    nested |= {kind: {} for kind in metrics.DIMENSION_SCORES}
    for name, value in scores.items():
        kind, dot, dimension = name.partition(".")
        if dot:
            nested[kind][dimension] = value
    return nested


def without_nan(value: Any) -> Any:
    """Replaces every number that is not finite by None, since JSON has none."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
