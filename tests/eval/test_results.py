import csv
import json

import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.eval import results
from sersl.eval.predictions import read_predictions, write_predictions
from sersl.eval.workdir_files import read_results
from tests.eval.fake_run import NAMES, make_predictions, write_run


@pytest.fixture
def scored(tmp_path):
    predictions = write_run(tmp_path)
    return predictions, results.score_workdir(tmp_path), tmp_path


def test_results_when_written_then_they_have_every_key_of_the_contract(scored):
    _, result, workdir = scored
    assert json.loads((workdir / "results.json").read_text()) == result
    assert {"schema", "protocol", "corpus", "folds", "metrics", "confidence", "baseline"} <= set(
        result
    )
    assert {"init_from", "seed", "versions"} <= set(result)
    assert result["schema"] == 1
    assert result["protocol"]["name"] == "k-fold-by-speaker"
    assert result["corpus"]["num_utterances"] == 240
    assert result["corpus"]["num_speakers"] == 12
    assert result["corpus"]["fingerprint"] == "ab" * 32
    assert result["init_from"] == "runs/pretrain"
    assert set(result["versions"]) == {"python", "jax", "flax", "numpy", "sersl"}
    assert [fold["fold"] for fold in result["folds"]] == ["1", "2", "3", "4"]
    assert set(result["folds"][0]) >= {"test_speakers", "num_test", "metrics", "checks"}


def test_metrics_when_compared_with_plain_numpy_then_equal(scored):
    predictions, result, _ = scored
    truth, predicted = predictions.text["category"], predictions.text["predicted"]
    recall = {n: np.mean(predicted[truth == n] == n) for n in predictions.names}
    assert result["metrics"]["recall"] == pytest.approx(recall)
    assert result["metrics"]["uar"] == pytest.approx(np.mean(list(recall.values())))
    assert result["metrics"]["accuracy"] == pytest.approx(np.mean(truth == predicted))
    known = ~np.isnan(predictions.truth[:, 0])
    x, y = predictions.truth[known, 0], predictions.predicted[known, 0]
    expected = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert result["metrics"]["ccc"]["arousal"] == pytest.approx(expected, abs=1e-5)
    assert set(result["metrics"]["ccc"]) == {"arousal", "dominance", "valence"}
    low, high = result["confidence"]["uar"]
    assert low < result["metrics"]["uar"] < high
    assert result["baseline"]["majority"]["uar"] == pytest.approx(0.2)
    assert result["baseline"]["chance"]["accuracy"] == pytest.approx(0.2)
    in_fold = predictions.text["fold"] == "2"
    assert result["folds"][1]["metrics"]["accuracy"] == pytest.approx(
        np.mean(truth[in_fold] == predicted[in_fold])
    )


def test_scoring_when_repeated_then_the_same_file(scored):
    _, _, workdir = scored
    before = (workdir / "results.json").read_bytes()
    results.score_workdir(workdir)
    assert (workdir / "results.json").read_bytes() == before


def test_scoring_when_there_are_no_dimensions_then_no_ccc(tmp_path):
    write_run(tmp_path, make_predictions(dimensions=False))
    result = results.score_workdir(tmp_path)
    assert result["metrics"]["ccc"] == {}
    assert result["dimensions"] == []


def test_scoring_when_there_are_no_categories_then_only_ccc(tmp_path):
    predictions = make_predictions()
    predictions.text["category"][:] = ""
    predictions.text["predicted"][:] = ""
    bare = type(predictions)(
        text=predictions.text,
        names=(),
        scores=predictions.scores[:, :0],
        truth=predictions.truth,
        predicted=predictions.predicted,
    )
    write_run(tmp_path, bare)
    result = results.score_workdir(tmp_path)
    assert "uar" not in result["metrics"]
    assert result["baseline"] == {}
    assert result["metrics"]["num_with_dimensions"] == 205


def test_scoring_when_an_utterance_has_no_category_then_it_is_left_out_and_counted(tmp_path):
    predictions = make_predictions()
    predictions.text["category"][:40] = ""
    write_run(tmp_path, predictions)
    result = results.score_workdir(tmp_path)
    assert result["metrics"]["num_with_category"] == 200
    assert np.sum(result["metrics"]["confusion"]["counts"]) == 200


def _edit(path, change):
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    change(rows)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def _swap_prediction(rows):
    rows[3][6] = next(name for name in NAMES if name != rows[3][6])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[0].__setitem__(2, "speeker"), "no column 'speaker'"),
        (lambda rows: rows.append(rows[1]), "line 242: utterance 'utterance-0000'.*twice"),
        (lambda rows: rows[3].__setitem__(7, "much"), "line 4: column 'score_angry' has 'much'"),
        (lambda rows: rows[3].__setitem__(7, "nan"), "'nan', which is not a finite number"),
        (lambda rows: rows[3].__setitem__(7, "1e999"), "'1e999', which is not a finite number"),
        (lambda rows: rows[3].__setitem__(7, ""), "'', which is not a finite number"),
        (lambda rows: rows[3].__setitem__(-1, "inf"), "predicted_valence' has 'inf'"),
        (lambda rows: rows[3].__setitem__(7, "1.5"), "line 4: a probability is not between"),
        (lambda rows: rows[3].__setitem__(7, "-0.1"), "line 4: a probability is not between"),
        (lambda rows: rows[3].__setitem__(7, "0.9"), "line 4: the probabilities add up to"),
        (_swap_prediction, "line 4: the predicted '.*' does not have the highest probability"),
        (lambda rows: rows[3].__setitem__(6, ""), "line 4: column 'predicted': unknown category"),
        (lambda rows: rows[3].__delitem__(slice(5, None)), "line 4 does not have 18 values"),
        (lambda rows: rows[3].append("1"), "line 4 does not have 18 values"),
        (lambda rows: rows[0].__setitem__(1, "speaker"), "no column 'fold'"),
        (lambda rows: rows[0].__setitem__(8, "score_angry"), "has 2 columns 'score_angry'"),
        (lambda rows: rows.pop(), "59 predictions of fold '4', and folds.json lists 60"),
        (lambda rows: rows[3].__setitem__(1, "2"), "fold '1', and folds.json lists 60"),
        (lambda rows: rows.__delitem__(slice(1, None)), "has no rows"),
        (lambda rows: rows[3].__setitem__(1, "9"), "fold '9', which folds.json does not list"),
        (lambda rows: rows[3].__setitem__(5, "angyr"), "did you mean 'angry'"),
    ],
)
def test_scoring_when_predictions_are_damaged_then_one_sentence_says_where(
    tmp_path, change, message
):
    write_run(tmp_path, curves=False)
    _edit(tmp_path / "predictions.csv", change)
    with pytest.raises(UserError, match=message):
        results.score_workdir(tmp_path)


@pytest.mark.parametrize("name", ["predictions.csv", "folds.json", "config.json", "corpora.json"])
def test_scoring_when_a_file_is_missing_then_it_is_named(tmp_path, name):
    write_run(tmp_path, curves=False)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=name):
        results.score_workdir(tmp_path)


@pytest.mark.parametrize("name", ["predictions.csv", "results.json"])
def test_scoring_when_any_byte_has_changed_since_then_is_refused(scored, name):
    workdir = scored[2]
    path = workdir / name
    content = path.read_bytes()
    random = np.random.default_rng(0)
    for place in [0, len(content) - 2, *random.integers(0, len(content), 30).tolist()]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(random.integers(0, 7))
        path.write_bytes(damaged)
        try:
            results.score_workdir(workdir)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            # A space more or less is the same JSON.
            assert name == "results.json" and json.loads(damaged) == json.loads(content)
    for damaged in (b"", content[: len(content) // 2], b"[]", b"null", b"[" * 100_000):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=name):
            results.score_workdir(workdir)
    path.write_bytes(content)
    results.score_workdir(workdir)


def test_scoring_when_the_predictions_are_new_then_older_results_do_not_matter(scored):
    _, result, workdir = scored
    write_predictions(workdir / "predictions.csv", make_predictions(seed=5))
    with pytest.raises(UserError, match="has changed since it was scored: rerun `sersl finetune`"):
        results.score_workdir(workdir)
    again = results.score_workdir(workdir, predictions_are_new=True)
    assert again["metrics"]["uar"] != result["metrics"]["uar"]


def test_results_when_written_by_an_earlier_version_then_they_are_read(scored):
    _, result, workdir = scored
    old = {k: v for k, v in result.items() if k not in ("sha256", "predictions_sha256")}
    (workdir / "results.json").write_text(json.dumps(old))
    assert read_results(workdir) == old
    results.score_workdir(workdir)


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        '[{"fold": 1}]',
        '[{"fold": "1", "num_train": 1, "num_test": "2", "test_speakers": [], "checks": {}}]',
        "[3]",
        '[{"fold": "1", "num_train": 1, "num_test": 1e999}]',
    ],
)
def test_scoring_when_the_folds_are_damaged_then_one_sentence_names_the_file(tmp_path, content):
    write_run(tmp_path, curves=False)
    (tmp_path / "folds.json").write_text(content)
    with pytest.raises(UserError, match=r"folds\.json"):
        results.score_workdir(tmp_path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("what", ["scores", "predicted"])
def test_predictions_when_they_are_not_finite_then_are_not_written(tmp_path, what, bad):
    predictions = make_predictions(rows=20)
    getattr(predictions, what)[3, 1] = bad
    with pytest.raises(UserError, match=r"1 of 20 utterances, e\.g\. 'utterance-0003', are not"):
        write_predictions(tmp_path / "predictions.csv", predictions)
    assert not (tmp_path / "predictions.csv").exists()


def test_scoring_when_the_workdir_is_missing_then_said(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        results.score_workdir(tmp_path / "nowhere")


def test_predictions_when_written_and_read_then_the_same(tmp_path):
    predictions = write_run(tmp_path, curves=False)
    again = read_predictions(tmp_path / "predictions.csv")
    assert again.names == predictions.names
    for name, values in predictions.text.items():
        np.testing.assert_array_equal(again.text[name], values)
    np.testing.assert_allclose(again.truth, predictions.truth, atol=1e-5)
    np.testing.assert_allclose(again.predicted, predictions.predicted, atol=1e-5)
