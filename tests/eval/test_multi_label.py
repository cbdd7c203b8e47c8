"""Scores of categories of which several may apply, compared with scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from sersl.corpora.labels import DIMENSIONS
from sersl.eval import multi_label
from sersl.eval.answers import Answers
from tests.tolerances import METRIC

NAMES = ("low", "tense", "tired")


def case(seed, *, ties=False):
    rng = np.random.default_rng(seed)
    truth = rng.random((60, 3)) < (0.2, 0.5, 0.8)
    scores = np.clip(0.3 * truth + 0.7 * rng.random((60, 3)), 0, 1)
    return truth, np.round(scores, 1) if ties else scores


def answers_of(truth, scores):
    n = len(truth)
    return Answers(
        rows=np.arange(n),
        scores=scores.astype(np.float32),
        dimensions=np.zeros((n, 0)),
        dimension_names=np.array([], str),
        true_category=np.full(n, -1),
        true_dimensions=np.zeros((n, 0)),
        true_dimension_names=np.array([], str),
        true_categories=truth.astype(np.float32),
        thresholds=np.full(truth.shape[1], 0.5),
    )


@pytest.mark.parametrize("ties", [False, True])
def test_scores_when_compared_with_scikit_learn_then_equal(ties):
    truth, scores = case(0, ties=ties)
    predicted = scores > 0.5
    found = multi_label.label_scores(truth, predicted, scores)
    expected = {
        "macro_f1": f1_score(truth, predicted, average="macro"),
        "micro_f1": f1_score(truth, predicted, average="micro"),
        "average_precision": average_precision_score(truth, scores, average="macro"),
    }
    assert found == pytest.approx(expected, rel=METRIC["rtol"], abs=METRIC["atol"])
    by_name = multi_label.by_label(truth, predicted, scores, NAMES)
    each = f1_score(truth, predicted, average=None)
    assert [by_name[n]["f1"] for n in NAMES] == pytest.approx(
        each.tolist(), rel=METRIC["rtol"], abs=METRIC["atol"]
    )


def test_scores_when_a_category_applies_nowhere_then_it_is_left_out_of_the_means():
    truth, scores = case(1)
    truth[:, 0], scores[:, 0] = False, 0.1
    found = multi_label.label_scores(truth, scores > 0.5, scores)
    rest = multi_label.label_scores(truth[:, 1:], scores[:, 1:] > 0.5, scores[:, 1:])
    assert found["macro_f1"] == pytest.approx(rest["macro_f1"])
    assert np.isnan(multi_label.average_precision(truth[:, 0], scores[:, 0]))
    assert np.isnan(multi_label.label_scores(truth[:0], truth[:0], scores[:0])["macro_f1"])


@pytest.mark.parametrize("ties", [False, True])
def test_thresholds_when_chosen_then_no_other_has_a_better_f1(ties):
    truth, scores = case(2, ties=ties)
    truth[:, 2] = False  # applies nowhere
    found = multi_label.best_thresholds(answers_of(truth, scores))
    assert found[2] == 0.5
    kept = scores.astype(np.float32).astype(np.float64)
    for i in range(2):
        best = f1_score(truth[:, i], kept[:, i] >= found[i])
        every = [f1_score(truth[:, i], kept[:, i] >= t) for t in np.unique(kept[:, i])]
        assert best == pytest.approx(max(every), rel=METRIC["rtol"], abs=METRIC["atol"])


def test_names_when_joined_then_read_back():
    table = np.array([[True, False, True], [False, False, False]])
    texts = multi_label.joined(table, NAMES)
    assert texts.tolist() == ["low;tired", ""]
    np.testing.assert_array_equal(multi_label.applied(texts, NAMES), table)


def test_answers_when_several_apply_then_saved_and_read_back(tmp_path):
    answers = answers_of(*case(3))
    answers.save(tmp_path / "answers.npz")
    read = Answers.load(tmp_path / "answers.npz")
    assert read.multi
    np.testing.assert_array_equal(read.true_categories, answers.true_categories)


def test_answers_when_an_earlier_version_wrote_them_then_one_category(
    tmp_path,
):
    np.savez(
        tmp_path / "answers.npz",
        rows=np.arange(2),
        scores=np.full((2, 2), 0.5, np.float32),
        dimensions=np.zeros((2, 3)),
        true_category=np.zeros(2, np.int32),
        true_dimensions=np.zeros((2, 3)),
    )
    read = Answers.load(tmp_path / "answers.npz")
    assert not read.multi and read.true_dimension_names.tolist() == [*DIMENSIONS]
