"""Scores of categories and dimensions, and what guessing would score.

`uar` is what papers call UA or balanced accuracy, `accuracy` what they call WA. Everything works on
whole sets of predictions; nothing here is averaged over batches.
"""

from collections.abc import Sequence

import numpy as np

from sersl.core.errors import UserError, unknown_name

Array = np.ndarray


def indices(values: Sequence[str], names: Sequence[str]) -> Array:
    """Maps category names to their positions in a list of names.

    Args:
      values: N names.
      names: C distinct names.

    Returns:
      int64 [N] in 0..C-1.

    Raises:
      UserError: a value is not in `names`.
    """
    position = {name: i for i, name in enumerate(names)}
    for value in set(values):
        if value not in position:
            raise unknown_name("category", str(value), names)
    return np.array([position[value] for value in values], np.int64)


def confusion_matrix(truth: Array, predicted: Array, num_categories: int) -> Array:
    """Counts how often each category was taken for each other.

    Args:
      truth: integers [N] in 0..C-1.
      predicted: integers [N] in 0..C-1.
      num_categories: C.

    Returns:
      int64 [C, C]; rows are the truth, columns the prediction.
    """
    cells = truth.astype(np.int64) * num_categories + predicted
    counts = np.bincount(cells, minlength=num_categories**2)
    return counts.reshape(num_categories, num_categories)


def recalls(confusion: Array) -> Array:
    """Gives the share of each category that was found.

    Args:
      confusion: counts [C, C], rows are the truth.

    Returns:
      float64 [C] in 0..1; NaN for a category that never occurs in the truth.
    """
    total = confusion.sum(axis=1)
    found = np.diag(confusion) / np.maximum(total, 1)
    return np.where(total > 0, found, np.nan)


def uar(confusion: Array) -> float:
    """Gives the unweighted average recall (UA) over the categories that occur in the truth.

    Args:
      confusion: counts [C, C], rows are the truth.

    Returns:
      A float in 0..1; NaN of nothing.
    """
    recall = recalls(confusion)
    present = recall[~np.isnan(recall)]
    return float(present.mean()) if present.size else float("nan")


def accuracy(confusion: Array) -> float:
    """Gives the share of right answers (WA).

    Args:
      confusion: counts [C, C], rows are the truth.

    Returns:
      A float in 0..1; NaN of nothing.
    """
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def macro_f1(confusion: Array) -> float:
    """Gives the mean F1 over the categories that occur in the truth or among the predictions.

    Args:
      confusion: counts or shares [C, C], rows are the truth.

    Returns:
      A float in 0..1; NaN of nothing. The same categories as scikit-learn's default count.
    """
    # F1 = 2 TP / (2 TP + FP + FN), and TP + FN, TP + FP are the row and column sums.
    both = confusion.sum(axis=1) + confusion.sum(axis=0)
    f1 = 2 * np.diag(confusion) / np.where(both > 0, both, 1)
    return float(f1[both > 0].mean()) if (both > 0).any() else float("nan")


def category_scores(truth: Array, predicted: Array, num_categories: int) -> dict[str, float]:
    """Gives the three scores of a categorical prediction.

    Args:
      truth: integers [N] in 0..C-1.
      predicted: integers [N] in 0..C-1.
      num_categories: C.

    Returns:
      {"uar", "accuracy", "macro_f1"}, each in 0..1.
    """
    confusion = confusion_matrix(truth, predicted, num_categories)
    return {
        "uar": uar(confusion),
        "accuracy": accuracy(confusion),
        "macro_f1": macro_f1(confusion),
    }


def ccc(truth: Array, predicted: Array) -> float:
    """Gives the concordance correlation coefficient of one dimension, with population moments.

    Args:
      truth: floats [N]; rows with NaN are left out.
      predicted: floats [N].

    Returns:
      2 cov / (var + var + (mean - mean)^2) in -1..1. 0 when both sides are the same constant, where
      the ratio is 0/0 and nothing was shown; NaN when no row has a truth.

    Source: Lin, "A concordance correlation coefficient to evaluate reproducibility", 1989, eq. 4.
    """
    known = ~np.isnan(truth)
    if not known.any():
        return float("nan")
    x = truth[known].astype(np.float64)
    y = predicted[known].astype(np.float64)
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    below = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    # Rounding alone makes a variance of about eps^2 out of a constant.
    tiny = np.finfo(np.float64).eps * max(1.0, float(np.abs(x).max()), float(np.abs(y).max()))
    return float(2 * covariance / below) if below > tiny else 0.0


def majority_baseline(truth: Array, names: Sequence[str]) -> dict:
    """Scores the answer that always names the most frequent category.

    Args:
      truth: integers [N] in 0..C-1.
      names: C names.

    Returns:
      {"category": its name, "uar", "accuracy", "macro_f1"}.

    Raises:
      UserError: there is no truth to count.
    """
    if not len(truth):
        raise UserError("no utterance has a category: there is no majority to compare with")
    most = int(np.bincount(truth, minlength=len(names)).argmax())
    scores = category_scores(truth, np.full_like(truth, most), len(names))
    return {"category": names[most], **scores}


def chance_baseline(truth: Array, num_categories: int) -> dict[str, float]:
    """Gives the expected scores of guessing each category equally often.

    Args:
      truth: integers [N] in 0..C-1.
      num_categories: C.

    Returns:
      {"uar", "accuracy", "macro_f1"}; uar and accuracy are exactly 1/C, macro_f1 is that of the
      expected counts.
    """
    frequency = np.bincount(truth, minlength=num_categories) / max(1, len(truth))
    expected = np.outer(frequency, np.full(num_categories, 1 / num_categories))
    return {
        "uar": 1 / num_categories,
        "accuracy": 1 / num_categories,
        "macro_f1": macro_f1(expected),
    }
