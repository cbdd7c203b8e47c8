import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss

from sersl.eval.analysis import calibration
from sersl.eval.analysis.fairness import by_group
from sersl.eval.answers import VALIDATION, Answers
from sersl.eval.evaluator import age_group
from sersl.eval.metrics import accuracy, confusion_matrix
from sersl.eval.predictions import read_predictions
from sersl.eval.results import score_workdir
from tests.eval.fake_run import NAMES, write_run
from tests.tolerances import METRIC


@pytest.fixture
def answers():
    """Truth and over-confident probabilities of 400 utterances and four classes."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, 400)
    logits = 1.2 * np.eye(4)[truth] + random.normal(size=(400, 4))
    return truth, softmax(3.0 * logits, axis=1), logits


def test_likelihood_and_brier_when_compared_with_scikit_learn_then_equal(answers):
    truth, scores, _ = answers
    expected = log_loss(truth, scores)
    np.testing.assert_allclose(
        calibration.negative_log_likelihood(truth, scores), expected, **METRIC
    )
    expected = brier_score_loss(truth, scores, scale_by_half=False)
    np.testing.assert_allclose(calibration.brier(truth, scores), expected, **METRIC)


def test_temperature_when_fitted_then_the_best_of_a_fine_grid(answers):
    truth, scores, logits = answers
    temperature = calibration.fit_temperature(truth, scores)
    grid = np.exp(np.linspace(0.5, 1.8, 651))
    losses = [log_loss(truth, softmax(3.0 * logits / t, axis=1)) for t in grid]
    assert temperature == pytest.approx(grid[np.argmin(losses)], rel=2e-3)
    after = calibration.with_temperature(scores, temperature)
    np.testing.assert_allclose(after, softmax(3.0 * logits / temperature, axis=1), rtol=1e-6)
    assert (after.argmax(1) == scores.argmax(1)).all()
    errors = [calibration.calibration_scores(truth, s)["ece"] for s in (scores, after)]
    assert errors[1] < 0.5 * errors[0]
    assert calibration.fit_temperature(truth[:0], scores[:0]) is None


def test_risk_coverage_when_compared_with_a_plain_loop_then_equal(answers):
    truth, scores, _ = answers
    order = np.argsort(-scores.max(1), kind="stable")
    wrong = (scores.argmax(1) != truth)[order]
    expected = [wrong[: n + 1].mean() for n in range(len(truth))]
    coverage, risk = calibration.risk_coverage(truth, scores)
    np.testing.assert_allclose(risk, expected, **METRIC)
    np.testing.assert_allclose(
        calibration.area_under_risk(truth, scores), np.mean(expected), **METRIC
    )
    assert coverage[-1] == 1.0
    whole = 1 - accuracy(confusion_matrix(truth, scores.argmax(1), 4))
    np.testing.assert_allclose(risk[-1], whole, **METRIC)


def test_risk_when_all_confidences_are_the_same_then_the_order_does_not_matter(answers):
    truth, _, _ = answers
    scores = np.tile([0.4, 0.2, 0.2, 0.2], (400, 1))
    risk = calibration.risk_coverage(truth, scores)[1]
    np.testing.assert_allclose(risk, np.mean(truth != 0), **METRIC)


def _validation(fold, *, sharpness, seed):
    random = np.random.default_rng(seed)
    truth = random.integers(0, len(NAMES), 60)
    logits = 1.6 * np.eye(len(NAMES))[truth] + random.normal(size=(60, len(NAMES)))
    return Answers(
        rows=np.arange(60),
        scores=softmax(sharpness * logits, axis=1).astype(np.float32),
        dimensions=np.zeros((60, 0), np.float32),
        dimension_names=np.zeros(0, str),
        true_category=truth.astype(np.int32),
        true_dimensions=np.zeros((60, 0)),
        true_dimension_names=np.zeros(0, str),
        true_categories=np.zeros((60, 0), np.float32),
        thresholds=np.zeros(0),
    )


def test_results_when_folds_have_validation_answers_then_temperatures_come_from_them(tmp_path):
    write_run(tmp_path, curves=False)
    before = score_workdir(tmp_path)["calibration"]
    assert before["with_temperature"] is None and before["temperatures"] == {}
    for fold in "1234":
        folder = tmp_path / "folds" / fold
        folder.mkdir(parents=True)
        _validation(fold, sharpness=float(fold), seed=1).save(folder / VALIDATION)
    found = score_workdir(tmp_path)["calibration"]
    assert found["as_is"] == before["as_is"]
    # Sharper answers of the same quality need a higher temperature.
    known = found["temperatures"]
    assert known["2"] == pytest.approx(2 * known["1"], rel=1e-3)
    assert found["with_temperature"]["nll"] > found["as_is"]["nll"]  # theirs are others' answers
    (tmp_path / "folds" / "3" / VALIDATION).unlink()
    assert score_workdir(tmp_path)["calibration"]["with_temperature"] is None


def test_release_when_a_fold_has_validation_answers_then_its_temperature_and_else_that_of_all(
    tmp_path,
):
    for name in "12":
        folder = tmp_path / "folds" / name
        folder.mkdir(parents=True)
        _validation(name, sharpness=float(name), seed=int(name)).save(folder / VALIDATION)
    parts = [Answers.load(tmp_path / "folds" / name / VALIDATION) for name in "12"]
    own = [calibration.fit_temperature(one.true_category, one.scores) for one in parts]
    for name, expected in zip("12", own, strict=True):
        assert calibration.temperature_of_fold(tmp_path, name) == pytest.approx(expected)
    truth = np.concatenate([one.true_category for one in parts])
    logs = np.log(np.concatenate([one.scores for one in parts]).astype(np.float64))
    grid = np.exp(np.linspace(-1, 2, 3001))
    losses = [log_loss(truth, softmax(logs / t, axis=1)) for t in grid]
    found = calibration.temperature_of_fold(tmp_path, "final")
    assert found == pytest.approx(grid[np.argmin(losses)], rel=2e-3)
    assert min(own) < found < max(own)
    assert calibration.temperature_of_fold(tmp_path / "nothing", "final") is None


def test_groups_when_scored_then_gaps_and_their_intervals_match_a_plain_bootstrap():
    random = np.random.default_rng(0)
    speakers = np.repeat([f"s{i:02d}" for i in range(12)], 10)
    groups = np.repeat(["a", "b"], 60)
    values = np.where(groups == "a", 0.8, 0.5) + 0.05 * random.normal(size=120)
    found = by_group(lambda rows: {"mean": float(values[rows].mean())}, groups, speakers)
    gap = found["gaps"]["mean"]
    assert (gap["highest"], gap["lowest"]) == ("a", "b")
    assert gap["gap"] == pytest.approx(values[:60].mean() - values[60:].mean())
    by_speaker = values.reshape(12, 10).mean(1)
    error = np.sqrt(by_speaker[:6].var() / 6 + by_speaker[6:].var() / 6)
    low, high = gap["interval"]
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.2)
    assert found["groups"]["a"]["num_speakers"] == 6 and found["groups"]["a"]["intervals"]["mean"]


def test_groups_when_one_has_a_single_speaker_then_no_interval_and_unknown_is_left_out():
    groups = np.array(["a"] * 4 + ["b"] * 4 + [""] * 4)
    speakers = np.array(["x"] * 4 + ["y", "z"] * 2 + ["w"] * 4)
    found = by_group(lambda rows: {"rows": float(len(rows))}, groups, speakers)
    assert set(found["groups"]) == {"a", "b"}
    assert found["gaps"]["rows"]["interval"] is None
    undefined = by_group(lambda rows: {"ccc": float("nan")}, groups, speakers)
    assert undefined["gaps"] == {}


def test_results_when_scored_then_every_attribute_with_two_groups_is_there(tmp_path):
    predictions = write_run(tmp_path, curves=False)
    groups = score_workdir(tmp_path)["groups"]
    assert set(groups) == {"gender", "speaker"}  # one corpus; language and age are not known
    assert set(groups["gender"]["groups"]) == {"female", "male"}
    assert len(groups["speaker"]["groups"]) == len(set(predictions.groups))
    assert groups["speaker"]["gaps"]["uar"]["interval"] is None


def test_predictions_when_they_have_language_and_age_then_read_back_by_name(tmp_path):
    predictions = write_run(tmp_path, curves=False)
    path = tmp_path / "predictions.csv"
    text = path.read_text().splitlines()
    text[0] += ",language,age_group"
    lines = [f"{line},{'en' if i % 2 else 'de'},under 30" for i, line in enumerate(text[1:])]
    path.write_text("\n".join([text[0], *lines]) + "\n")
    found = read_predictions(path)
    assert set(found.text["language"]) == {"en", "de"} and found.rated == predictions.rated
    groups = score_workdir(tmp_path, predictions_are_new=True)["groups"]
    assert set(groups["language"]["groups"]) == {"en", "de"} and "age_group" not in groups


@pytest.mark.parametrize(
    ("extra", "group"),
    [
        ("", ""),
        ("{}", ""),
        ('{"age": 29}', "under 30"),
        ('{"age": "30"}', "30 to 49"),
        ('{"age": 50.5}', "50 and over"),
        ('{"age": "twenties"}', "twenties"),
        ('{"age": -1}', ""),
    ],
)
def test_age_group_when_read_from_the_index_then_a_range_or_the_word(extra, group):
    assert age_group(extra) == group
