import csv
import json
import sys
import types

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from sersl.cli.finetune import report
from sersl.cli.main import main
from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.corpora.index import CorpusIndex
from sersl.eval.evaluator import validation_scores
from sersl.finetuning.baselines.baseline_features import logmel_statistics, read_features
from sersl.finetuning.baselines.baseline_trainer import BaselineTrainer
from sersl.finetuning.baselines.estimators import Standardizer, classify, regress, speaker_groups
from sersl.finetuning.run import finetune
from tests.tiny_runs import ROOT
from tests.tolerances import FP32

CONFIG = str(ROOT / "configs" / "finetune" / "baseline.py")


@pytest.fixture
def points():
    """Three classes of 40 points each, and 30 more to classify."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    centres = random.normal(size=(3, 6))
    train = centres[labels] + 0.8 * random.normal(size=(120, 6))
    return train, labels, centres[np.arange(30) % 3] + 0.8 * random.normal(size=(30, 6))


def test_baseline_when_speakers_of_two_corpora_have_one_name_then_they_are_told_apart(tmp_path):
    columns = [{"speaker": np.array([one, "1", ""], object)} for one in ("1", "2")]
    sources = [
        types.SimpleNamespace(index=CorpusIndex(name, "1.0.0", tmp_path, "f", 3, _columns=own))
        for name, own in zip(("first", "second"), columns, strict=True)
    ]
    config = load_config(FinetuneConfig, CONFIG)
    trainer = BaselineTrainer(config, sources, None, tmp_path, say=print)
    assert list(trainer._speakers) == ["first/1", "first/1", "", "second/2", "second/1", ""]


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("logistic", LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000)),
        ("svm_linear", LinearSVC(C=0.1, class_weight="balanced", max_iter=1000, random_state=0)),
        ("svm_rbf", SVC(C=0.1, class_weight="balanced")),
        ("svm_poly", SVC(C=0.1, class_weight="balanced", kernel="poly", coef0=1.0)),
    ],
)
def test_classifier_when_compared_with_a_pipeline_of_scikit_learn_then_the_same_classes(
    points, kind, model
):
    train, labels, test = points
    standardize = Standardizer(train)
    scores = classify(
        kind, standardize(train), labels, standardize(test), num_categories=3, penalty=0.1, seed=0
    )
    peer = make_pipeline(StandardScaler(), model).fit(train, labels)
    assert (scores.argmax(1) == peer.predict(test)).all()
    np.testing.assert_allclose(scores.sum(1), 1, **FP32)
    if kind == "logistic":
        np.testing.assert_allclose(scores, peer.predict_proba(test), **FP32)


@pytest.mark.parametrize("kind", ["logistic", "svm_linear", "svm_rbf", "svm_poly", "majority"])
def test_classifier_when_classes_are_missing_in_training_then_their_scores_are_zero(points, kind):
    train, labels, test = points
    chosen = labels > 0
    scores = classify(
        kind, train[chosen], labels[chosen], test, num_categories=4, penalty=1, seed=0
    )
    assert scores.shape == (30, 4) and (scores[:, [0, 3]] == 0).all()
    np.testing.assert_allclose(scores.sum(1), 1, **FP32)
    if kind != "majority":
        binary = LogisticRegression(class_weight="balanced").fit(train[chosen], labels[chosen])
        assert (scores.argmax(1) == binary.predict(test)).mean() > 0.8
    single = classify(kind, train[:40], labels[:40], test, num_categories=3, penalty=1, seed=0)
    assert (single == [1, 0, 0]).all()
    # As of an inner division whose speakers have no label.
    none = classify(kind, train[:0], labels[:0], test, num_categories=4, penalty=1, seed=0)
    assert (none == 0.25).all()
    assert (regress(kind, train[:0], labels[:0] / 2, test, penalty=1, seed=0) == 0.5).all()


def test_logistic_scores_when_there_are_two_classes_then_those_of_scikit_learn(points):
    train, labels, test = points
    train, labels = train[labels < 2], labels[labels < 2]
    scores = classify("logistic", train, labels, test, num_categories=2, penalty=1.0, seed=0)
    peer = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000).fit(train, labels)
    np.testing.assert_allclose(scores, peer.predict_proba(test), **FP32)


def test_regression_when_compared_with_ridge_then_equal_and_inside_of_the_scale(points):
    train, _, test = points
    ratings = np.clip(0.5 + 0.2 * train[:, 0], 0, 1)
    found = regress("logistic", train, ratings, test, penalty=0.5, seed=0)
    peer = Ridge(alpha=2.0).fit(train, (ratings - ratings.mean()) / ratings.std())
    expected = np.clip(peer.predict(test) * ratings.std() + ratings.mean(), 0, 1)
    np.testing.assert_allclose(found, expected, **FP32)
    constant = np.full(120, 0.25)
    for kind in ("logistic", "svm_linear", "svm_rbf", "svm_poly", "majority"):
        assert (regress(kind, train, constant, test, penalty=1, seed=0) == 0.25).all()
        assert np.ptp(regress(kind, train, ratings, test, penalty=1, seed=0)) <= 1


def test_speaker_groups_when_made_then_speakers_stay_together_and_sizes_are_even():
    speakers = np.repeat(["a", "b", "c", "d", "e"], [10, 8, 6, 6, 6])
    groups = speaker_groups(speakers, 3)
    assert all(len(set(groups[speakers == name])) == 1 for name in set(speakers))
    assert sorted(np.bincount(groups)) == [10, 12, 14]
    assert speaker_groups(["x"] * 4, 3).max() == 0


def test_logmel_statistics_when_compared_with_plain_numpy_then_mean_and_deviation():
    random = np.random.default_rng(0)
    waveforms = [random.normal(size=n).astype(np.float32) * 0.1 for n in (16_000, 24_000)]
    found = logmel_statistics(waveforms)
    assert found.shape == (2, 320) and np.isfinite(found).all()
    # White noise: every deviation of the log of a band's power is that of its chi-square.
    assert found[:, 160:].min() > 0.1 and found[:, 160:].max() < 2.0


def _finetune(data_dir, workdir, preset, *settings):
    config = load_config(
        FinetuneConfig,
        f"{CONFIG}:{preset}",
        [f"data.data_dir={data_dir}", "protocol.name=leave-one-speaker-out", *settings],
    )
    finetune(config, workdir, score=validation_scores, preempted=lambda _: False)
    report(config, workdir)


def test_baselines_when_run_then_their_workdirs_are_scored_reported_and_compared(
    data_dir, tmp_path, capsys
):
    for preset in ("majority", "logmel"):
        _finetune(data_dir, tmp_path / preset, preset)
    capsys.readouterr()
    results = json.loads((tmp_path / "logmel" / "results.json").read_text())
    assert results["corpus"]["num_utterances"] == 64 and len(results["folds"]) == 4
    assert results["metrics"]["uar"] > results["baseline"]["majority"]["uar"] + 0.1
    majority = json.loads((tmp_path / "majority" / "results.json").read_text())
    assert majority["metrics"]["uar"] <= 1 / len(majority["categories"]) + 1e-9
    assert (tmp_path / "logmel" / "report.html").is_file()
    choice = json.loads((tmp_path / "logmel" / "folds" / "speaker-01" / "choice.json").read_text())
    assert choice["num_groups"] == 3 and f"{choice['penalty']:g}" in choice["selection"]
    assert main(["compare", *(str(tmp_path / n) for n in ("majority", "logmel"))]) == 0
    assert "majority" in capsys.readouterr().out
    words = ["export", "--workdir", str(tmp_path / "logmel"), "--output", str(tmp_path / "m")]
    assert main(words) == 2
    assert "the run of a baseline, which has no model to export" in capsys.readouterr().err
    # Resumed: folds that are done stay, and one that is lost comes back the same.
    before = (tmp_path / "logmel" / "predictions.csv").read_bytes()
    (tmp_path / "logmel" / "folds" / "speaker-02" / "answers.npz").unlink()
    _finetune(data_dir, tmp_path / "logmel", "logmel")
    assert (tmp_path / "logmel" / "predictions.csv").read_bytes() == before
    with open(tmp_path / "logmel" / "predictions.csv", newline="") as file:
        assert {row["fold"] for row in csv.DictReader(file)} == {f"speaker-0{n}" for n in range(4)}


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("protocol.final_model=true", "there is no model for release to train"),
        ("init_from=runs/pretrain", "fits no network, so init_from has no use"),
        ("baseline.kind=svm", "unknown baseline.kind 'svm'"),
        ("baseline.penalties=0", "takes a number above 0"),
    ],
)
def test_baseline_when_a_setting_has_no_meaning_then_one_sentence(
    data_dir, tmp_path, setting, sentence
):
    with pytest.raises(UserError, match=sentence):
        _finetune(data_dir, tmp_path / "w", "majority", setting)


def test_egemaps_when_opensmile_is_missing_then_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(UserError, match=r"pip install 'sersl\[opensmile\]'"):
        read_features(tmp_path / "f.npz", [], ["egemaps"], print)
