"""How well measures of uncertainty tell wrong predictions from right ones.

Of M models, or M passes of one with dropout, the entropy of the mean probabilities is the total
uncertainty; the mean entropy of each is that of the data, and their difference, the mutual
information, is that of the model.

Source: Depeweg et al., "Decomposition of uncertainty", 2018, eq. 3; Gal & Ghahramani, "Dropout as a
Bayesian approximation", 2016.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import rankdata

from sersl.eval.analysis.calibration import risk_by
from sersl.eval.metrics import accuracy, confusion_matrix, indices, uar
from sersl.eval.predictions import Predictions

_SMALLEST = 1e-12  # probability
Array = np.ndarray


def entropy(scores: Array) -> Array:
    """Computes the entropy of probabilities, in nats: [..., C] to [...]."""
    scores = scores.astype(np.float64)
    return -(scores * np.log(np.maximum(scores, _SMALLEST))).sum(axis=-1)


def mutual_information(members: Array) -> Array:
    """Computes entropy of the mean minus mean entropy: probabilities [M, N, C] to [N], >= 0."""
    found = entropy(members.astype(np.float64).mean(axis=0)) - entropy(members).mean(axis=0)
    return np.maximum(found, 0.0)


def error_auroc(wrong: Array, uncertainty: Array) -> float:
    """Computes the probability that a wrong prediction is more uncertain than a right one.

    Args:
      wrong: bool [N].
      uncertainty: [N], higher is less certain; ties count one half.

    Returns:
      0..1, 0.5 for a measure without information; NaN unless there are wrong and right ones.
    """
    num_wrong = int(wrong.sum())
    num_right = len(wrong) - num_wrong
    if not num_wrong or not num_right:
        return float("nan")
    ranks = rankdata(uncertainty)[wrong].sum()
    return float((ranks - num_wrong * (num_wrong + 1) / 2) / (num_wrong * num_right))


def judged(
    truth: Array,
    scores: Array,
    *,
    members: Array | None = None,
    others: Mapping[str, Array] | None = None,
) -> dict[str, Any]:
    """Judges measures of uncertainty by the errors of predictions.

    Args:
      truth: integers [N] in 0..C-1.
      scores: probabilities [N, C]; of several members their mean.
      members: [M, N, C], probabilities of each; None for one model.
      others: name to [N], more measures, higher is less certain.

    Returns:
      {"num_utterances", "accuracy", "uar", "measures": {name: {"auroc", "aurc", "mean"}}}. AUROC is
      that of telling errors (1 is best), AURC the area under the risk-coverage curve (0 is best).
    """
    measures = {"1 - confidence": 1.0 - scores.max(axis=1), "entropy": entropy(scores)}
    if members is not None:
        measures["mean entropy"] = entropy(members).mean(axis=0)
        measures["mutual information"] = mutual_information(members)
    measures |= others or {}
    predicted = scores.argmax(axis=1)
    wrong = predicted != truth
    counts = confusion_matrix(truth, predicted, scores.shape[1])
    return {
        "num_utterances": len(truth),
        "accuracy": accuracy(counts),
        "uar": uar(counts),
        "measures": {
            name: {
                "auroc": error_auroc(wrong, values),
                "aurc": float(risk_by(wrong, values)[1].mean()),
                "mean": float(values.mean()),
            }
            for name, values in measures.items()
        },
    }


def uncertainty_of(
    predictions: Predictions,
    *,
    members: Array | None = None,
    others: Mapping[str, Array] | None = None,
) -> dict[str, Any] | None:
    """Judges measures for the utterances of predictions that have a category, see `judged`.

    Args:
      predictions: of N utterances.
      members: as for `judged`, [M, N, C]; their mean takes the place of the scores.
      others: as for `judged`.

    Returns:
      None where several categories may apply or none is labelled.
    """
    category = predictions.text["category"]
    rows = np.flatnonzero(category != "")
    if predictions.labelled is not None or not predictions.names or not len(rows):
        return None
    scores = predictions.scores if members is None else members.astype(np.float64).mean(axis=0)
    return judged(
        indices(category[rows], predictions.names),
        scores[rows],
        members=None if members is None else members[:, rows],
        others={name: values[rows] for name, values in (others or {}).items()},
    )
