"""Metrics of categories and dimensions, and the scores of guessing.

`uar` is what papers call UA or balanced accuracy, `accuracy` what they call WA. All metrics are
computed over whole sets of predictions, never averaged over batches. A metric that is not defined
is NaN: None in JSON, "-" in tables, and never a number that could win a comparison.
"""

from collections.abc import Sequence

import numpy as np

from sersl.core.errors import UserError, unknown_name

Array = np.ndarray
UNRATED = "no utterance is rated"


def indices(values: Sequence[str] | Array, names: Sequence[str]) -> Array:
    """Maps category names to their positions in a list of names.

    Args:
      values: [N] names.
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
    """Counts how often each category was predicted for each true category.

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
    """Computes the recall of each category.

    Args:
      confusion: counts [C, C], rows are the truth.

    Returns:
      float64 [C] in 0..1; NaN for a category that does not occur in the truth.
    """
    total = confusion.sum(axis=1)
    found = np.diag(confusion) / np.maximum(total, 1)
    return np.where(total > 0, found, np.nan)


def uar(confusion: Array) -> float:
    """Computes the unweighted average recall (UA) over the categories that occur in the truth.

    Args:
      confusion: counts [C, C], rows are the truth.

    Returns:
      In 0..1, as `sklearn.metrics.balanced_accuracy_score`; NaN without a count.
    """
    recall = recalls(confusion)
    present = recall[~np.isnan(recall)]
    return float(present.mean()) if present.size else float("nan")


def accuracy(confusion: Array) -> float:
    """Computes the share of correct predictions (WA).

    Args:
      confusion: counts [C, C], rows are the truth.

    Returns:
      In 0..1; NaN without a count.
    """
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def macro_f1(confusion: Array) -> float:
    """Computes the mean F1 over the categories that occur in the truth or the predictions.

    Args:
      confusion: counts or shares [C, C], rows are the truth.

    Returns:
      In 0..1, as `sklearn.metrics.f1_score` with average="macro"; NaN without a count.
    """
    # F1 = 2 TP / (2 TP + FP + FN), and TP + FN, TP + FP are the row and column sums.
    both = confusion.sum(axis=1) + confusion.sum(axis=0)
    f1 = 2 * np.diag(confusion) / np.where(both > 0, both, 1)
    return float(f1[both > 0].mean()) if (both > 0).any() else float("nan")


def category_scores(truth: Array, predicted: Array, num_categories: int) -> dict[str, float]:
    """Computes the three scores of a categorical prediction.

    Args:
      truth: integers [N] in 0..C-1.
      predicted: integers [N] in 0..C-1.
      num_categories: C.

    Returns:
      {"uar", "accuracy", "macro_f1"}, each in 0..1; NaN without an utterance.
    """
    confusion = confusion_matrix(truth, predicted, num_categories)
    return {
        "uar": uar(confusion),
        "accuracy": accuracy(confusion),
        "macro_f1": macro_f1(confusion),
    }


def ccc(truth: Array, predicted: Array) -> float:
    """Computes the concordance correlation coefficient of one dimension, with population moments.

    Args:
      truth: floats [N]; rows with NaN are left out.
      predicted: floats [N].

    Returns:
      2 cov / (var + var + (mean - mean)^2) in -1..1. NaN where `undefined_ccc` has a reason.

    Source: Lin, "A concordance correlation coefficient to evaluate reproducibility", 1989, eq. 4.
    """
    if undefined_ccc(truth, predicted):
        return float("nan")
    known = ~np.isnan(truth)
    x = truth[known].astype(np.float64)
    y = predicted[known].astype(np.float64)
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def undefined_ccc(truth: Array, predicted: Array) -> str:
    """Explains why the concordance correlation coefficient is not defined.

    Args:
      truth: floats [N]; rows with NaN are left out.
      predicted: floats [N].

    Returns:
      The reason; "" if it is defined. A constant truth is one: every prediction would score 0.
    """
    known = ~np.isnan(truth)
    if not known.any():
        return UNRATED
    if not np.isfinite(predicted[known]).all():
        return "a prediction is not a finite number"
    return "" if is_measurable(truth) else "all ratings are the same"


def is_measurable(truth: Array) -> bool:
    """Tells whether ratings [N], NaN where there is none, differ, so that a correlation exists."""
    known = truth[~np.isnan(truth)]
    return bool(len(known) and np.ptp(known) > 0)


def majority_baseline(truth: Array, names: Sequence[str]) -> dict:
    """Scores the constant prediction of the most frequent category.

    Args:
      truth: integers [N] in 0..C-1.
      names: C names.

    Returns:
      {"category": its name, "uar", "accuracy", "macro_f1"}.

    Raises:
      UserError: no utterance has a category.
    """
    if not len(truth):
        raise UserError("no utterance has a category: there is no majority to compare with")
    most = int(np.bincount(truth, minlength=len(names)).argmax())
    scores = category_scores(truth, np.full_like(truth, most), len(names))
    return {"category": names[most], **scores}


def chance_baseline(truth: Array, num_categories: int) -> dict[str, float]:
    """Computes the expected scores of guessing each category equally often.

    Args:
      truth: integers [N] in 0..C-1.
      num_categories: C.

    Returns:
      {"uar", "accuracy", "macro_f1"}: uar and accuracy are 1/C, macro_f1 is that of the expected
      counts; NaN without an utterance.
    """
    if not len(truth):
        return dict.fromkeys(("uar", "accuracy", "macro_f1"), float("nan"))
    frequency = np.bincount(truth, minlength=num_categories) / len(truth)
    expected = np.outer(frequency, np.full(num_categories, 1 / num_categories))
    return {
        "uar": 1 / num_categories,
        "accuracy": 1 / num_categories,
        "macro_f1": macro_f1(expected),
    }
