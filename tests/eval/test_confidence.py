import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.eval.confidence import reliability, reliability_of, worst_mistakes
from sersl.eval.layer_weights import read_layer_weights, write_layer_weights
from tests.eval.fake_run import make_predictions


def test_reliability_when_compared_with_loops_then_equal():
    predictions = make_predictions(rows=200)
    truth = np.array([predictions.names.index(name) for name in predictions.text["category"]])
    found = reliability(predictions.scores, truth, num_bins=5)
    error = 0.0
    for number in range(5):
        inside = [
            row
            for row, scores in enumerate(predictions.scores)
            if number / 5 <= scores.max() < (number + 1) / 5
        ]
        assert found.num_utterances[number] == len(inside)
        if not inside:
            assert np.isnan(found.accuracy[number]) and np.isnan(found.confidence[number])
            continue
        right = np.mean([predictions.scores[row].argmax() == truth[row] for row in inside])
        mean = np.mean([predictions.scores[row].max() for row in inside])
        np.testing.assert_allclose(found.accuracy[number], right)
        np.testing.assert_allclose(found.confidence[number], mean)
        error += abs(right - mean) * len(inside) / 200
    np.testing.assert_allclose(found.error, error)


def test_reliability_when_all_is_certain_and_right_then_no_error():
    scores = np.eye(3)[[0, 1, 2, 1]]
    found = reliability(scores, np.array([0, 1, 2, 1]))
    assert found.error == 0.0
    assert found.num_utterances[-1] == 4


def test_reliability_when_there_is_no_category_then_the_error_is_not_defined():
    predictions = make_predictions(rows=10)
    predictions.text["category"][:] = ""
    assert np.isnan(reliability_of(predictions).error)
    assert worst_mistakes(predictions) == []


def test_worst_mistakes_when_found_then_wrong_and_most_confident_first():
    predictions = make_predictions(rows=100)
    found = worst_mistakes(predictions, most=7)
    wrong = predictions.text["predicted"] != predictions.text["category"]
    assert len(found) == 7
    rows = [mistake.row for mistake in found]
    assert wrong[rows].all()
    confidence = predictions.scores.max(1)
    others = np.setdiff1d(np.flatnonzero(wrong), rows)
    assert confidence[rows].min() >= confidence[others].max()
    assert [m.probability for m in found] == sorted(confidence[rows], reverse=True)
    truth = [predictions.names.index(predictions.text["category"][row]) for row in rows]
    np.testing.assert_allclose(
        [m.probability_of_truth for m in found], predictions.scores[rows, truth]
    )


def test_layer_weights_when_written_then_read_as_shares_of_a_softmax(tmp_path):
    folder = tmp_path / "folds" / "1"
    folder.mkdir(parents=True)
    write_layer_weights(folder, {"pooling": {"layer_weights": np.log([1.0, 3.0, 4.0])}})
    (tmp_path / "folds" / "2").mkdir()
    write_layer_weights(tmp_path / "folds" / "2", {"pooling": {}})
    found = read_layer_weights(tmp_path, ["1", "2"])
    assert list(found) == ["1"]
    np.testing.assert_allclose(found["1"], [0.125, 0.375, 0.5], atol=1e-6)


@pytest.mark.parametrize("text", ["{}", '["a"]', "[2.0]", "[true]"])
def test_layer_weights_when_damaged_then_one_sentence(tmp_path, text):
    folder = tmp_path / "folds" / "1"
    folder.mkdir(parents=True)
    (folder / "layers.json").write_text(text)
    with pytest.raises(UserError, match=r"layers.json must be a list of shares"):
        read_layer_weights(tmp_path, ["1"])
