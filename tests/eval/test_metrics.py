import math

import audmetric
import numpy as np
import pytest
from sklearn import metrics as reference

from sersl.core.errors import UserError
from sersl.eval import metrics
from tests.tolerances import FP32, METRIC

NAMES = ("angry", "happy", "sad", "neutral")


@pytest.fixture
def labels():
    random = np.random.default_rng(0)
    truth = random.choice(4, 200, p=[0.5, 0.2, 0.2, 0.1])
    predicted = np.where(random.random(200) < 0.6, truth, random.integers(0, 4, 200))
    return truth, predicted


def test_confusion_when_counted_then_rows_are_the_truth(labels):
    truth, predicted = labels
    expected = np.zeros((4, 4), int)
    for t, p in zip(truth, predicted, strict=True):
        expected[t, p] += 1
    np.testing.assert_array_equal(metrics.confusion_matrix(truth, predicted, 4), expected)


def test_scores_when_compared_with_plain_numpy_and_sklearn_then_equal(labels):
    truth, predicted = labels
    scores = metrics.category_scores(truth, predicted, 4)
    recall = [np.mean(predicted[truth == c] == c) for c in range(4)]
    f1 = []
    for c in range(4):
        precision = np.mean(truth[predicted == c] == c)
        f1.append(2 * precision * recall[c] / (precision + recall[c]))
    np.testing.assert_allclose(scores["uar"], np.mean(recall), **FP32)
    np.testing.assert_allclose(scores["accuracy"], np.mean(truth == predicted), **FP32)
    np.testing.assert_allclose(scores["macro_f1"], np.mean(f1), **FP32)
    sklearn = reference.f1_score(truth, predicted, average="macro")
    np.testing.assert_allclose(scores["macro_f1"], sklearn, **FP32)
    sklearn = reference.balanced_accuracy_score(truth, predicted)
    np.testing.assert_allclose(scores["uar"], sklearn, **FP32)


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [
        ([0, 0, 1, 1], [0, 3, 1, 1]),  # a category that is only predicted, and one that is not
        ([0, 0, 0, 0], [0, 1, 2, 0]),  # a constant truth
        ([0, 1, 2, 3], [2, 2, 2, 2]),  # a constant prediction
        ([3], [3]),  # a single utterance
        ([3], [0]),
    ],
)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_scores_when_categories_are_missing_then_as_scikit_learn_defines_them(truth, predicted):
    scores = metrics.category_scores(np.array(truth), np.array(predicted), 4)
    assert scores["accuracy"] == reference.accuracy_score(truth, predicted)
    assert scores["uar"] == pytest.approx(reference.balanced_accuracy_score(truth, predicted))
    f1 = reference.f1_score(truth, predicted, average="macro")
    assert scores["macro_f1"] == pytest.approx(f1)
    recall = reference.recall_score(
        truth, predicted, labels=range(4), average=None, zero_division=np.nan
    )
    found = metrics.recalls(metrics.confusion_matrix(np.array(truth), np.array(predicted), 4))
    np.testing.assert_array_equal(found, recall)  # NaN where there is no such utterance


def test_uar_when_a_category_never_occurs_then_it_is_left_out():
    truth, predicted = np.array([0, 0, 1, 1]), np.array([0, 3, 1, 1])
    confusion = metrics.confusion_matrix(truth, predicted, 4)
    assert metrics.uar(confusion) == pytest.approx(0.75)
    assert np.isnan(metrics.recalls(confusion)[2:]).all()
    # Category 3 was predicted, so it counts with an F1 of 0; category 2 does not occur at all.
    assert metrics.macro_f1(confusion) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_scores_when_there_is_nothing_then_nan():
    empty = np.zeros(0, int)
    assert all(math.isnan(value) for value in metrics.category_scores(empty, empty, 4).values())
    assert all(math.isnan(value) for value in metrics.chance_baseline(empty, 4).values())
    assert math.isnan(metrics.ccc(np.full(3, np.nan), np.zeros(3)))


def test_ccc_when_compared_with_plain_numpy_then_equal_and_unlabelled_rows_left_out():
    random = np.random.default_rng(1)
    truth = random.random(50)
    predicted = 0.5 * truth + 0.3 * random.random(50)
    cov = np.cov(truth, predicted, bias=True)
    expected = 2 * cov[0, 1] / (cov[0, 0] + cov[1, 1] + (truth.mean() - predicted.mean()) ** 2)
    np.testing.assert_allclose(metrics.ccc(truth, predicted), expected, **FP32)
    with_gap = np.concatenate([truth, [np.nan]])
    assert metrics.ccc(with_gap, np.concatenate([predicted, [9.0]])) == pytest.approx(expected)


@pytest.mark.parametrize("constant", [0.0, 0.3, 1.0])
def test_ccc_when_the_prediction_is_constant_then_zero_and_when_the_truth_is_then_undefined(
    constant,
):
    varied, same = np.linspace(0, 1, 10), np.full(10, constant)
    assert metrics.ccc(varied, same) == pytest.approx(0.0)
    # Every prediction would score 0, which beats an honest -0.1.
    for predicted in (varied, same, np.full(10, 0.1)):
        assert math.isnan(metrics.ccc(same, predicted))
    assert metrics.undefined_ccc(same, varied) == "all ratings are the same"
    assert math.isnan(metrics.ccc(np.array([0.4, np.nan]), np.array([0.4, 0.1])))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_ccc_when_a_prediction_is_not_finite_then_undefined(bad):
    truth = np.linspace(0, 1, 10)
    predicted = truth.copy()
    predicted[3] = bad
    assert math.isnan(metrics.ccc(truth, predicted))
    assert metrics.undefined_ccc(truth, predicted) == "a prediction is not a finite number"
    truth[3] = np.nan  # is not scored
    assert metrics.ccc(truth, predicted) == pytest.approx(1.0)
    assert metrics.undefined_ccc(np.full(3, np.nan), np.zeros(3)) == "no utterance is rated"


def test_ccc_when_prediction_is_the_truth_then_one():
    truth = np.linspace(0, 1, 10)
    assert metrics.ccc(truth, truth) == pytest.approx(1.0)
    assert metrics.ccc(truth, 1 - truth) == pytest.approx(-1.0)


def test_majority_when_scored_then_it_names_the_most_frequent(labels):
    truth, _ = labels
    baseline = metrics.majority_baseline(truth, NAMES)
    assert baseline["category"] == "angry"
    assert baseline["uar"] == pytest.approx(0.25)
    assert baseline["accuracy"] == pytest.approx(np.mean(truth == 0))
    with pytest.raises(UserError, match="no utterance has a category"):
        metrics.majority_baseline(np.zeros(0, int), NAMES)


def test_chance_when_compared_with_many_guesses_then_close(labels):
    truth, _ = labels
    random = np.random.default_rng(2)
    guesses = [metrics.category_scores(truth, random.integers(0, 4, 200), 4) for _ in range(400)]
    chance = metrics.chance_baseline(truth, 4)
    for name in ("uar", "accuracy", "macro_f1"):
        assert chance[name] == pytest.approx(np.mean([g[name] for g in guesses]), abs=0.01)


def test_indices_when_a_name_is_unknown_then_the_nearest_is_named():
    np.testing.assert_array_equal(metrics.indices(["sad", "angry"], NAMES), [2, 0])
    with pytest.raises(UserError, match="did you mean 'happy'"):
        metrics.indices(["hapy"], NAMES)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("num_predicted", [4, 2])  # 2: two categories are never predicted
def test_category_scores_when_compared_with_scikit_learn_and_audmetric_then_equal(num_predicted):
    random = np.random.default_rng(3)
    truth = random.choice(4, 500, p=[0.6, 0.2, 0.15, 0.05])
    predicted = np.where(random.random(500) < 0.5, truth, random.integers(0, 4, 500))
    predicted = predicted % num_predicted
    scores = metrics.category_scores(truth, predicted, 4)
    weighted = reference.f1_score(truth, predicted, average="weighted")
    np.testing.assert_allclose(scores["weighted_f1"], weighted, **METRIC)
    macro = reference.f1_score(truth, predicted, average="macro")
    np.testing.assert_allclose(scores["macro_f1"], macro, **METRIC)
    uar = audmetric.unweighted_average_recall(truth, predicted)
    np.testing.assert_allclose(scores["uar"], uar, **METRIC)
    np.testing.assert_allclose(scores["accuracy"], audmetric.accuracy(truth, predicted), **METRIC)
    confusion = metrics.confusion_matrix(truth, predicted, 4)
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        truth, predicted, zero_division=np.nan
    )
    np.testing.assert_allclose(metrics.precisions(confusion), precision, **METRIC)
    np.testing.assert_allclose(metrics.recalls(confusion), recall, **METRIC)
    # scikit-learn's F1 of a category that is never predicted is 0, as ours.
    np.testing.assert_allclose(metrics.f1_scores(confusion), f1, **METRIC)


def test_dimension_scores_when_compared_with_scikit_learn_and_audmetric_then_equal():
    random = np.random.default_rng(4)
    truth = random.random(300)
    predicted = 0.4 * truth + 0.3 + 0.2 * random.normal(size=300)
    unrated = truth.copy()
    unrated[::3] = np.nan
    known = ~np.isnan(unrated)
    x, y = truth[known], predicted[known]
    ccc = audmetric.concordance_cc(x, y)
    np.testing.assert_allclose(metrics.ccc(unrated, predicted), ccc, **METRIC)
    pearson = audmetric.pearson_cc(x, y)
    np.testing.assert_allclose(metrics.pearson(unrated, predicted), pearson, **METRIC)
    rmse = reference.root_mean_squared_error(x, y)
    np.testing.assert_allclose(metrics.rmse(unrated, predicted), rmse, **METRIC)
    mae = audmetric.mean_absolute_error(x, y)
    np.testing.assert_allclose(metrics.mae(unrated, predicted), mae, **METRIC)


def test_dimension_scores_when_a_side_is_constant_then_correlations_stay_undefined():
    constant, varied = np.full(20, 0.5), np.linspace(0, 1, 20)
    assert np.isnan(metrics.ccc(constant, varied)) and np.isnan(metrics.pearson(constant, varied))
    assert metrics.ccc(varied, constant) == 0.0
    assert np.isnan(metrics.pearson(varied, constant))
    assert metrics.rmse(varied, constant) == pytest.approx(varied.std())
    nothing = np.full(20, np.nan)
    assert all(np.isnan(score(nothing, varied)) for score in metrics.DIMENSION_SCORES.values())
