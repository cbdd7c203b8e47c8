"""How far probabilities can be trusted: calibration, and the most confident mistakes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sersl.eval import metrics
from sersl.eval.predictions import Predictions

NUM_BINS = 10
SMALLEST = 1e-12  # probability that has a logarithm of its own


class Reliability(NamedTuple):
    """Confidence, the probability of the predicted category, against how often it is right.

    Attributes:
      confidence: float64 [K], mean of each bin; NaN where a bin is empty.
      accuracy: float64 [K], share of right predictions; NaN where a bin is empty.
      num_utterances: int64 [K].
      error: expected calibration error, 0..1.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    num_utterances: np.ndarray
    error: float


class Mistake(NamedTuple):
    """A wrong prediction.

    Attributes:
      row: of the predictions.
      probability: of the predicted category.
      probability_of_truth: of the true one.
    """

    row: int
    probability: float
    probability_of_truth: float


def with_temperature(scores: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """Divides the logits of probabilities [..., C] by a temperature, or by one each, [..., 1]."""
    logits = np.log(np.maximum(scores.astype(np.float64), SMALLEST)) / temperature
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)


def reliability(scores: np.ndarray, truth: np.ndarray, *, num_bins: int = NUM_BINS) -> Reliability:
    """Compares confidence with accuracy in bins of equal width.

    Args:
      scores: float64 [N, C], probabilities.
      truth: int [N], index of the true category.
      num_bins: K; a bin has its lower end, the last one also 1.

    Returns:
      The bins; the error is NaN without utterances.

    Source: Guo et al. 2017 (1706.04599), eq. 3; differs: bins have their lower end.
    """
    confidence, right = scores.max(1), scores.argmax(1) == truth
    place = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    count = np.bincount(place, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, confidence, num_bins) / count
        accuracy = np.bincount(place, right, num_bins) / count
    gaps = np.abs(np.nan_to_num(mean - accuracy))
    error = float((count * gaps).sum() / len(truth)) if len(truth) else float("nan")
    return Reliability(mean, accuracy, count, error)


def bins_of(calibration: Mapping[str, Any]) -> Reliability:
    """Makes the bins of what `calibration_scores` wrote into results.json."""
    bins = calibration["reliability"]
    mean, accuracy = (
        np.array([np.nan if value is None else value for value in bins[name]], np.float64)
        for name in ("confidence", "accuracy")
    )
    return Reliability(mean, accuracy, np.array(bins["count"]), float(calibration["ece"]))


def reliability_of(predictions: Predictions) -> Reliability:
    """Compares confidence with accuracy over the utterances that have a category."""
    rows, truth = _labelled(predictions)
    return reliability(predictions.scores[rows], truth)


def worst_mistakes(predictions: Predictions, *, most: int = 10) -> list[Mistake]:
    """Finds the wrong predictions with the highest probability, the highest first.

    An utterance that is there once per seed is listed once.
    """
    rows, truth = _labelled(predictions)
    scores = predictions.scores[rows]
    wrong = np.flatnonzero(scores.argmax(1) != truth)
    order = wrong[np.argsort(-scores[wrong].max(1), kind="stable")]
    text = predictions.text
    names = np.char.add(np.char.add(text["corpus"].astype(str), "/"), text["utterance_id"])
    first = np.sort(np.unique(names[rows[order]], return_index=True)[1])
    order = order[first][:most]
    return [
        Mistake(int(rows[i]), float(scores[i].max()), float(scores[i, truth[i]])) for i in order
    ]


def _labelled(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Gives rows [M] that have a category and its index [M]."""
    category = predictions.text["category"]
    rows = np.flatnonzero(category != "")
    return rows, metrics.indices(category[rows], predictions.names)
