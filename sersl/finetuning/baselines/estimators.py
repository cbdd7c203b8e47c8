"""The classifiers and regressors of the baselines: scikit-learn's, behind one small interface.

Features are standardized with the mean and deviation of the utterances that are fitted, and
clipped, so that one odd recording does not dominate.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR

_LARGEST = 5.0  # deviations
_ITERATIONS = 1000
_DEGREE = 3  # of the polynomial kernel (x y / F + 1)^3
# Inverse penalties to choose from.
PENALTIES: Mapping[str, tuple[float, ...]] = {
    "majority": (1.0,),
    "logistic": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
    "svm_linear": (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 1e-2),
    "svm_rbf": (0.3, 1.0, 3.0, 10.0, 30.0),
    "svm_poly": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
}


class Standardizer:
    """Shifts and scales features to mean 0 and deviation 1 over the fitted utterances."""

    def __init__(self, features: np.ndarray):
        """Measures features [n, F]; one that does not vary becomes 0."""
        self._mean, deviation = features.mean(0), features.std(0)
        self._scale = np.where(deviation > 1e-8, 1 / np.maximum(deviation, 1e-8), 0.0)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Standardizes features [m, F]."""
        return np.clip((features - self._mean) * self._scale, -_LARGEST, _LARGEST)


def classify(
    kind: str,
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    *,
    num_categories: int,
    penalty: float,
    seed: int,
) -> np.ndarray:
    """Fits a classifier, every class weighted equally, and applies it.

    Args:
      kind: a key of `PENALTIES`.
      train: [n, F], standardized.
      labels: int [n] in 0..C-1.
      test: [m, F], standardized.
      num_categories: C.
      penalty: inverse penalty; the majority has none.
      seed: of the optimizer.

    Returns:
      float64 [m, C], rows that sum to 1; 0 for a class that was not there to fit, all equal where
      none was. Those of a support vector machine are the softmax of its margins, which are not
      probabilities.
    """
    if not len(labels):
        return np.full((len(test), num_categories), 1 / num_categories)
    shares = np.bincount(labels, minlength=num_categories) / len(labels)
    found = np.flatnonzero(shares)
    if kind == "majority" or len(found) == 1:
        return np.tile(shares, (len(test), 1))
    model: LogisticRegression | LinearSVC | SVC
    match kind:
        case "logistic":
            model = LogisticRegression(C=penalty, class_weight="balanced", max_iter=_ITERATIONS)
        case "svm_linear":
            model = LinearSVC(
                C=penalty, class_weight="balanced", max_iter=_ITERATIONS, random_state=seed
            )
        case "svm_rbf":
            model = SVC(C=penalty, class_weight="balanced", kernel="rbf")
        case "svm_poly":
            model = SVC(
                C=penalty, class_weight="balanced", kernel="poly", degree=_DEGREE, coef0=1.0
            )
        case _:
            raise ValueError(f"unknown baseline {kind!r}")
    model.fit(train, labels)
    margins = model.decision_function(test)
    if margins.ndim == 1:  # of two classes, scikit-learn gives one margin
        # Of logistic regression it is the difference of two logits, of one machine the two sides.
        margins = np.stack([np.zeros_like(margins), margins], axis=1)
    margins = margins - margins.max(1, keepdims=True)
    odds = np.exp(margins)
    scores = np.zeros((len(test), num_categories))
    scores[:, found] = odds / odds.sum(1, keepdims=True)
    return scores


def regress(
    kind: str,
    train: np.ndarray,
    ratings: np.ndarray,
    test: np.ndarray,
    *,
    penalty: float,
    seed: int,
) -> np.ndarray:
    """Fits a regression of one dimension and applies it.

    Args:
      kind: a key of `PENALTIES`.
      train: [n, F], standardized.
      ratings: [n] in 0..1.
      test: [m, F], standardized.
      penalty: inverse penalty; the majority has none.
      seed: of the optimizer.

    Returns:
      float64 [m] in 0..1; the middle where there is no rating to fit.
    """
    if not len(ratings):
        return np.full(len(test), 0.5)
    mean, deviation = ratings.mean(), ratings.std()
    if kind == "majority" or deviation == 0:
        return np.full(len(test), mean)
    model: Ridge | LinearSVR | SVR
    match kind:
        case "logistic":
            model = Ridge(alpha=1 / penalty)
        case "svm_linear":
            model = LinearSVR(C=penalty, max_iter=_ITERATIONS, random_state=seed)
        case "svm_rbf":
            model = SVR(C=penalty, kernel="rbf")
        case "svm_poly":
            model = SVR(C=penalty, kernel="poly", degree=_DEGREE, coef0=1.0)
        case _:
            raise ValueError(f"unknown baseline {kind!r}")
    model.fit(train, (ratings - mean) / deviation)
    return np.clip(model.predict(test) * deviation + mean, 0.0, 1.0)


def speaker_groups(speakers: Sequence[str] | np.ndarray, num_groups: int) -> np.ndarray:
    """Divides speakers into groups of about equal size.

    Args:
      speakers: [n] names.
      num_groups: wanted.

    Returns:
      int64 [n] group of each row; fewer groups where there are fewer speakers.
    """
    names, which, counts = np.unique(
        np.asarray(speakers, str), return_inverse=True, return_counts=True
    )
    total = np.zeros(min(num_groups, len(names)), np.int64)
    group = np.zeros(len(names), np.int64)
    for name in np.argsort(-counts, kind="stable"):  # the largest first, into the smallest group
        group[name] = total.argmin()
        total[group[name]] += counts[name]
    return group[which]
