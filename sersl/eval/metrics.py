"""Metrics of categories and dimensions, and the scores of guessing.

`uar` is what papers call UA or balanced accuracy, `accuracy` what they call WA. All metrics are
computed over whole sets of predictions, never averaged over batches. A metric that is not defined
is NaN: None in JSON, "-" in tables, and never a number that could win a comparison.
"""

from collections.abc import Callable, Sequence

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


def precisions(confusion: Array) -> Array:
    """Computes the precision of each category.

    Args:
      confusion: counts [C, C], rows are the truth.

    Returns:
      float64 [C] in 0..1; NaN for a category that is never predicted.
    """
    return recalls(confusion.T)


def f1_scores(confusion: Array) -> Array:
    """Computes the F1 of each category, the harmonic mean of precision and recall.

    Args:
      confusion: counts or shares [C, C], rows are the truth.

    Returns:
      float64 [C] in 0..1; NaN for a category that occurs neither in the truth nor in the
      predictions.
    """
    # F1 = 2 TP / (2 TP + FP + FN), and TP + FN, TP + FP are the row and column sums.
    both = confusion.sum(axis=1) + confusion.sum(axis=0)
    return np.where(both > 0, 2 * np.diag(confusion) / np.where(both > 0, both, 1), np.nan)


def macro_f1(confusion: Array) -> float:
    """Computes the mean F1 over the categories that occur in the truth or the predictions.

    Args:
      confusion: counts or shares [C, C], rows are the truth.

    Returns:
      In 0..1, as `sklearn.metrics.f1_score` with average="macro"; NaN without a count.
    """
    f1 = f1_scores(confusion)
    known = f1[~np.isnan(f1)]
    return float(known.mean()) if known.size else float("nan")


def weighted_f1(confusion: Array) -> float:
    """Computes the mean F1, each category weighted by its number of true utterances.

    Args:
      confusion: counts or shares [C, C], rows are the truth.

    Returns:
      In 0..1, as `sklearn.metrics.f1_score` with average="weighted"; NaN without a count.
    """
    total = confusion.sum(axis=1)
    if not total.sum():
        return float("nan")
    return float(total @ np.nan_to_num(f1_scores(confusion)) / total.sum())


# What a categorical prediction is scored by, each from the confusion matrix.
CATEGORY_SCORES: dict[str, Callable[[Array], float]] = {
    "uar": uar,
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
}


def category_scores(truth: Array, predicted: Array, num_categories: int) -> dict[str, float]:
    """Computes the scores of a categorical prediction.

    Args:
      truth: integers [N] in 0..C-1.
      predicted: integers [N] in 0..C-1.
      num_categories: C.

    Returns:
      {name of `CATEGORY_SCORES`: in 0..1}; NaN without an utterance.
    """
    confusion = confusion_matrix(truth, predicted, num_categories)
    return {name: score(confusion) for name, score in CATEGORY_SCORES.items()}


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
    x, y = _rated(truth, predicted)
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def pearson(truth: Array, predicted: Array) -> float:
    """Computes the correlation coefficient of one dimension.

    Args:
      truth: floats [N]; rows with NaN are left out.
      predicted: floats [N].

    Returns:
      In -1..1; NaN where `undefined_ccc` has a reason or all predictions are the same.
    """
    if undefined_ccc(truth, predicted):
        return float("nan")
    x, y = _rated(truth, predicted)
    if not np.ptp(y):
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    # Each is divided by its own norm, so that tiny deviations do not vanish in their product.
    return float(np.clip((x / np.linalg.norm(x)) @ (y / np.linalg.norm(y)), -1, 1))


def rmse(truth: Array, predicted: Array) -> float:
    """Computes the root of the mean squared error over the rated rows of [N]; NaN without one."""
    x, y = _rated(truth, predicted)
    return float(np.sqrt(np.square(x - y).mean())) if len(x) else float("nan")


def mae(truth: Array, predicted: Array) -> float:
    """Computes the mean absolute error over the rated rows of [N]; NaN without one."""
    x, y = _rated(truth, predicted)
    return float(np.abs(x - y).mean()) if len(x) else float("nan")


# What the prediction of a dimension is scored by, on the scale 0..1.
DIMENSION_SCORES: dict[str, Callable[[Array, Array], float]] = {
    "ccc": ccc,
    "pearson": pearson,
    "rmse": rmse,
    "mae": mae,
}
LOWER_IS_BETTER = ("rmse", "mae")


def _rated(truth: Array, predicted: Array) -> tuple[Array, Array]:
    """Gives truth and prediction of the rated rows of [N], as float64."""
    known = ~np.isnan(truth)
    return truth[known].astype(np.float64), predicted[known].astype(np.float64)


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
      {"category": its name, and the names of `CATEGORY_SCORES`}.

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
      {name of `CATEGORY_SCORES`: score of the expected counts}; NaN without an utterance.
    """
    if not len(truth):
        return dict.fromkeys(CATEGORY_SCORES, float("nan"))
    frequency = np.bincount(truth, minlength=num_categories) / len(truth)
    expected = np.outer(frequency, np.full(num_categories, 1 / num_categories))
    # Of categories that do not occur, the expected recall is 1/C as well.
    guess = 1 / num_categories
    scores = {name: score(expected) for name, score in CATEGORY_SCORES.items()}
    return {**scores, "uar": guess, "accuracy": guess}
