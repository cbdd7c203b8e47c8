"""How far probabilities can be trusted: calibration, temperature and selective prediction.

A temperature divides the logarithms of the probabilities, which is the same as dividing the logits.
It is fitted on answers of the validation side, never on those it is then measured with.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from sersl.eval.answers import VALIDATION, Answers
from sersl.eval.confidence import NUM_BINS, SMALLEST, reliability, with_temperature
from sersl.eval.metrics import indices
from sersl.eval.predictions import Predictions

_CURVE_POINTS = 21
_RANGE = (np.log(0.05), np.log(20.0))  # of the logarithm of the temperature

Array = np.ndarray


def negative_log_likelihood(truth: Array, scores: Array) -> float:
    """Computes the mean of -log of the probability of the truth.

    Args:
      truth: integers [N] in 0..C-1.
      scores: probabilities [N, C]; those below 1e-12 count as 1e-12.
    """
    chosen = scores[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.maximum(chosen, SMALLEST)).mean())


def brier(truth: Array, scores: Array) -> float:
    """Computes the mean squared distance of probabilities [N, C] from the one-hot truth [N]."""
    one_hot = np.eye(scores.shape[1])[truth]
    return float(np.square(scores - one_hot).sum(axis=1).mean())


def fit_temperature(truth: Array, scores: Array) -> float | None:
    """Finds the temperature with the smallest negative log-likelihood.

    Args:
      truth: integers [N] in 0..C-1, of the validation side.
      scores: probabilities [N, C].

    Returns:
      A number in 0.05..20; None without an utterance.

    Source: Guo et al., "On calibration of modern neural networks", 2017, sec. 4.2.
    """
    if not len(truth):
        return None
    found = minimize_scalar(
        lambda t: negative_log_likelihood(truth, with_temperature(scores, np.exp(t))),
        bounds=_RANGE,
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def risk_coverage(truth: Array, scores: Array) -> tuple[Array, Array]:
    """Computes the error when only the most confident utterances are answered.

    Args:
      truth: integers [N] in 0..C-1.
      scores: probabilities [N, C].

    Returns:
      (coverage, risk): float64 [N]; share answered, and share of those that is wrong. Utterances of
      the same confidence share the mean of their errors, so that their order does not matter.
    """
    return risk_by(scores.argmax(axis=1) != truth, -scores.max(axis=1))


def risk_by(wrong: Array, uncertainty: Array) -> tuple[Array, Array]:
    """Computes the error when only the least uncertain utterances are answered.

    Args:
      wrong: bool [N].
      uncertainty: [N], higher is less certain.

    Returns:
      As `risk_coverage`.
    """
    _, which, count = np.unique(uncertainty, return_inverse=True, return_counts=True)
    mean = np.bincount(which, wrong.astype(np.float64)) / count
    order = np.sort(which)
    number = np.arange(1, len(wrong) + 1)
    return number / len(wrong), np.cumsum(mean[order]) / number


def area_under_risk(truth: Array, scores: Array) -> float:
    """Computes the area under the risk-coverage curve (AURC): the mean risk over all coverages.

    Args:
      truth: integers [N] in 0..C-1.
      scores: probabilities [N, C].

    Source: Geifman & El-Yaniv, "Selective classification for deep neural networks", 2017; the mean
    over N coverages as Geifman et al., "Bias-reduced uncertainty estimation", 2019.
    """
    if not len(truth):
        return float("nan")
    return float(risk_coverage(truth, scores)[1].mean())


def calibration_scores(truth: Array, scores: Array) -> dict[str, Any]:
    """Gathers everything above for probabilities [N, C] and the truth [N].

    Returns:
      {"num_bins", "ece", "nll", "brier", "aurc", "reliability", "risk_coverage"}; bins have equal
      widths, empty ones NaN; the curve has at most 21 points.
    """
    bins = reliability(scores, truth)
    coverage, risk = risk_coverage(truth, scores)
    shown = np.unique(np.linspace(0, len(truth) - 1, _CURVE_POINTS).round().astype(int))
    return {
        "num_bins": NUM_BINS,
        "ece": bins.error,
        "nll": negative_log_likelihood(truth, scores),
        "brier": brier(truth, scores),
        "aurc": area_under_risk(truth, scores),
        "reliability": {
            "count": bins.num_utterances.tolist(),
            "confidence": bins.confidence.tolist(),
            "accuracy": bins.accuracy.tolist(),
        },
        "risk_coverage": {"coverage": coverage[shown].tolist(), "risk": risk[shown].tolist()},
    }


def calibration_of(
    predictions: Predictions, validation: Mapping[str, Answers]
) -> dict[str, Any] | None:
    """Measures the calibration of test answers, as they are and with temperatures.

    Args:
      predictions: of the test sides.
      validation: fold to the answers on its validation side.

    Returns:
      {"as_is": see `calibration_scores`, "temperatures": {fold: fitted on its validation side},
      "with_temperature": the same scores, None where a fold has no temperature}; None where several
      categories may apply or none is labelled.
    """
    text = predictions.text
    rows = np.flatnonzero(text["category"] != "")
    if predictions.labelled is not None or not predictions.names or not len(rows):
        return None
    truth = indices(text["category"][rows], predictions.names)
    scores, fold = predictions.scores[rows], text["fold"][rows]
    temperatures = {name: temperature_of(answers) for name, answers in validation.items()}
    known = {name: value for name, value in temperatures.items() if value is not None}
    after = None
    if set(fold.tolist()) <= known.keys():
        own = np.array([known[name] for name in fold.tolist()])[:, None]
        after = calibration_scores(truth, with_temperature(scores, own))
    return {
        "as_is": calibration_scores(truth, scores),
        "temperatures": known,
        "with_temperature": after,
    }


def temperature_of_fold(workdir: str | Path, fold: str) -> float | None:
    """Fits the temperature of the model of a fold, for its release.

    It comes from the validation answers of the fold. A model that was trained on all speakers has
    none of its own: it gets the temperature that is best for the validation answers of all folds
    together, each of which their own model gave.

    Args:
      workdir: of a fine-tuning run.
      fold: the name of its folder.

    Returns:
      A number in 0.05..20; None where several categories may apply, or there are no validation
      answers with a category.

    Raises:
      UserError: a file is damaged.
    """
    folders = Path(workdir) / "folds"
    own = folders / fold / VALIDATION
    paths = [own] if own.is_file() else sorted(folders.glob(f"*/{VALIDATION}"))
    parts = [answers for path in paths if _has_categories(answers := Answers.load(path))]
    if not parts:
        return None
    truth = np.concatenate([answers.true_category for answers in parts])
    scores = np.concatenate([answers.scores for answers in parts])
    return fit_temperature(truth[truth >= 0], scores[truth >= 0])


def _has_categories(answers: Answers) -> bool:
    found = not answers.multi and answers.scores.shape[1] and (answers.true_category >= 0).any()
    return bool(found)


def temperature_of(answers: Answers) -> float | None:
    """Fits the temperature of answers on a validation side; None without a labelled utterance."""
    if not _has_categories(answers):
        return None
    known = answers.true_category >= 0
    return fit_temperature(answers.true_category[known], answers.scores[known])
