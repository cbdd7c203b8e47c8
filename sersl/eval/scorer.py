"""The scores of any rows of some predictions."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sersl.corpora.labels import DIMENSIONS
from sersl.eval import metrics
from sersl.eval.predictions import Predictions


class Scorer:
    """Computes the scores of any rows of some predictions."""

    def __init__(self, predictions: Predictions):
        self._names = predictions.names
        self._rated = ~np.isnan(predictions.truth).all(axis=1)
        self._dimensions: list[tuple[str, np.ndarray, np.ndarray]] = []
        if predictions.predicted is not None:
            for name in predictions.dimensions:
                i = DIMENSIONS.index(name)
                self._dimensions.append(
                    (name, predictions.truth[:, i], predictions.predicted[:, i])
                )
        text = predictions.text
        self._labelled = (text["category"] != "") & bool(self._names)
        self._truth = np.zeros(len(predictions), np.int64)
        self._predicted = np.zeros(len(predictions), np.int64)
        where = self._labelled
        self._truth[where] = metrics.indices(text["category"][where], self._names)
        self._predicted[where] = metrics.indices(text["predicted"][where], self._names)

    def __len__(self) -> int:
        return len(self._labelled)

    def __call__(self, rows: np.ndarray) -> dict[str, float]:
        """Computes flat scores of rows [n]; NaN where one is not defined."""
        scores: dict[str, float] = {}
        if self._labelled.any():
            scores.update(metrics.category_scores(*self._pairs(rows), len(self._names)))
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
        """Counts rows [n] and computes their recalls, precisions, F1 and confusion matrix."""
        counts = {
            "num_with_category": int(self._labelled[rows].sum()),
            "num_with_dimensions": int(self._rated[rows].sum()),
        }
        if not self._labelled.any():
            return counts
        truth, predicted = self._pairs(rows)
        confusion = metrics.confusion_matrix(truth, predicted, len(self._names))
        by_name = {
            "recall": metrics.recalls(confusion),
            "precision": metrics.precisions(confusion),
            "f1": metrics.f1_scores(confusion),
        }
        return {
            **counts,
            **{
                kind: dict(zip(self._names, values.tolist(), strict=True))
                for kind, values in by_name.items()
            },
            "confusion": {"names": list(self._names), "counts": confusion.tolist()},
        }

    def baseline(self) -> dict[str, Any]:
        """Computes the scores of guessing."""
        if not self._labelled.any():
            return {}
        truth = self._truth[self._labelled]
        return {
            "majority": metrics.majority_baseline(truth, self._names),
            "chance": metrics.chance_baseline(truth, len(self._names)),
        }

    def _pairs(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = rows[self._labelled[rows]]
        return self._truth[rows], self._predicted[rows]


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
