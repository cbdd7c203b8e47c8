import csv
import dataclasses
import json
from argparse import Namespace

import numpy as np
import pytest
import soundfile

from sersl.cli import evaluate, export, predict
from sersl.cli.arguments import make_parser
from sersl.config import load, schema
from sersl.core.errors import UserError
from sersl.corpora.catalog.registry import CORPORA
from sersl.corpora.prepare import prepare
from sersl.eval.analysis.calibration import fit_temperature
from sersl.eval.answers import VALIDATION, Answers
from sersl.release.folder import read_model, write_model
from sersl.release.label_facts import LabelFacts
from sersl.release.predict import predictor
from sersl.runs.checkpoint import Checkpoints
from tests.eval.fake_run import write_run
from tests.release import fake_model

RATE = 16_000


def _run(**options):
    names = ("workdir", "model", "corpus", "data_dir", "output", "listen")
    return evaluate.run(Namespace(**dict.fromkeys(names) | options))


def test_evaluate_when_given_a_workdir_then_scores_page_and_table(tmp_path, capsys):
    write_run(tmp_path)
    assert _run(workdir=str(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert "majority" in printed
    assert f"report: {tmp_path / 'report.html'}" in printed
    assert (tmp_path / "results.json").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--model, --corpus, --data_dir, --output is missing"),
        ({"model": "m", "corpus": "c", "output": "o"}, "--data_dir is missing"),
        ({"workdir": "w", "model": "m"}, "not both"),
        ({"workdir": "nowhere"}, "nowhere does not exist"),
        ({"workdir": "w", "listen": True}, "--listen needs the recordings: give --data_dir"),
    ],
)
def test_evaluate_when_arguments_are_wrong_then_one_sentence(options, message):
    with pytest.raises(UserError, match=message):
        _run(**options)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A prepared corpus: three speakers, a category that the model lacks, and a silent file."""
    folder = tmp_path_factory.mktemp("mine")
    rows = []
    for i, category in enumerate(("angry", "happy", "sad", "angry", "boredom", "happy", "sad")):
        time = np.arange(RATE) / RATE
        level = 0.0 if i == 6 else 0.1 + 0.1 * i
        tone = level * np.sin(2 * np.pi * (120 + 40 * i) * time) * np.sin(2 * np.pi * 3 * time)
        soundfile.write(folder / f"{i}.wav", tone, RATE)
        rows.append([f"{i}.wav", f"s{i % 3}", category, f"{i / 7:.3f}", "0.5", "0.5"])
    with open(folder / "mine.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "speaker", "category", "arousal", "dominance", "valence"])
        writer.writerows(rows)
    data_dir = tmp_path_factory.mktemp("data")
    prepared = prepare(data_dir=data_dir, manifest=folder / "mine.csv", name="mine")
    return data_dir, prepared.summary


def _model(
    folder,
    fingerprint="ab" * 32,
    categories=fake_model.NAMES,
    dimensions=fake_model.DIMENSIONS,
    corpora=None,
    view="corpus",
    labels=None,
):
    config = dataclasses.replace(fake_model.make_config(), labels=schema.LabelsConfig(view=view))
    return write_model(
        folder,
        params=fake_model.make_params(
            config, num_categories=len(categories), num_dimensions=len(dimensions)
        ),
        config=config,
        categories=categories,
        dimensions=dimensions,
        results=None,
        corpora=corpora or [{**fake_model.CORPORA[0], "fingerprint": fingerprint}],
        labels=labels,
    )


def test_evaluate_when_given_a_model_and_a_corpus_then_names_are_matched(corpus, tmp_path, capsys):
    data_dir, _ = corpus
    model, output = _model(tmp_path / "model"), tmp_path / "scores"
    given = {"corpus": "mine", "data_dir": str(data_dir), "output": str(output)}
    _run(model=str(model), listen=True, **given)
    told = capsys.readouterr()
    assert "left out, as the model does not know them: boredom 1" in told.err
    assert "the corpus does not have them: neutral" in told.err
    assert "1 utterances were not scored: {'silent': 1}" in told.err
    assert "warning" not in told.err
    assert "CCC arousal" in told.out
    results = json.loads((output / "results.json").read_text())
    assert results["categories"] == ["angry", "happy", "sad"]
    assert results["metrics"]["num_with_category"] == 5
    assert results["metrics"]["num_with_dimensions"] == 6
    assert results["protocol"]["categories_only_in_corpus"] == ["boredom: 1"]
    assert not results["protocol"]["trained_on_this_corpus"]
    assert "boredom: 1" in (output / "report.html").read_text()
    with open(output / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["predicted"] for row in rows} <= {"angry", "happy", "sad"}
    wrong = [row for row in rows if row["category"] and row["category"] != row["predicted"]]
    page = (output / "report.html").read_text()
    assert page.count("<audio") == page.count("data:audio/flac;base64,Zkxh") == len(wrong) > 0
    for row in rows:
        total = sum(float(row[f"score_{name}"]) for name in results["categories"])
        assert total == pytest.approx(1, abs=1e-4)


def test_evaluate_when_the_model_was_trained_on_the_corpus_then_it_warns(corpus, tmp_path, capsys):
    data_dir, summary = corpus
    model = _model(tmp_path / "model", fingerprint=summary["fingerprint"])
    arguments = {"corpus": "mine", "data_dir": str(data_dir), "output": str(tmp_path / "scores")}
    _run(model=str(model), **arguments)
    assert "LEAK: the model was trained with labels of 'mine'" in capsys.readouterr().err
    results = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert results["protocol"]["trained_on_this_corpus"]


@pytest.mark.parametrize(("labels", "word"), [(True, "LEAK"), (False, "without labels")])
def test_evaluate_when_a_known_corpus_was_prepared_otherwise_then_it_is_the_same(
    corpus, tmp_path, capsys, monkeypatch, labels, word
):
    # Fine-tuning refuses to start from such weights by the same rule.
    monkeypatch.setitem(CORPORA, "mine", None)
    own = {**fake_model.CORPORA[0], "corpus": "mine", "fingerprint": "cd" * 32}
    model = _model(tmp_path / "model", corpora=[own | {"labels_used": labels}])
    arguments = {"corpus": "mine", "data_dir": str(corpus[0]), "output": str(tmp_path / "scores")}
    _run(model=str(model), **arguments)
    assert word in capsys.readouterr().err
    protocol = json.loads((tmp_path / "scores" / "results.json").read_text())["protocol"]
    assert protocol["trained_on_this_corpus"] and protocol["labels_of_this_corpus_used"] is labels


# A model of an earlier version has no pairs of merged categories; a temperature changes nothing.
@pytest.mark.parametrize("labels", [None, LabelFacts(temperature=2.0)])
def test_evaluate_when_the_model_merges_categories_then_those_of_the_corpus_are_merged(
    tmp_path, capsys, labels
):
    time = np.arange(RATE) / RATE
    rows = [["path", "speaker", "category"]]
    for i, category in enumerate(("angry", "happy", "excited", "excited", "calm", "sad")):
        soundfile.write(tmp_path / f"{i}.wav", 0.3 * np.sin((700 + 100 * i) * time), RATE)
        rows.append([f"{i}.wav", f"s{i % 3}", category])
    with open(tmp_path / "mine.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    prepare(data_dir=tmp_path / "data", manifest=tmp_path / "mine.csv", name="mine")
    names = ("angry", "happy", "sad", "neutral")
    model = _model(tmp_path / "model", categories=names, view="4class", labels=labels)
    output = tmp_path / "scores"
    _run(model=str(model), corpus="mine", data_dir=str(tmp_path / "data"), output=str(output))
    told = capsys.readouterr().err
    assert "merged as the model was trained: excited as happy 2" in told
    assert "left out, as the model does not know them: calm 1" in told
    results = json.loads((output / "results.json").read_text())
    assert results["metrics"]["num_with_category"] == 5
    with open(output / "predictions.csv", newline="") as file:
        truth = [row["category"] for row in csv.DictReader(file)]
    assert truth == ["angry", "happy", "happy", "happy", "", "sad"]


def test_evaluate_when_the_model_has_one_dimension_then_only_it_is_scored(corpus, tmp_path):
    model = _model(tmp_path / "model", dimensions=("arousal",))
    output = tmp_path / "scores"
    _run(model=str(model), corpus="mine", data_dir=str(corpus[0]), output=str(output))
    results = json.loads((output / "results.json").read_text())
    assert results["dimensions"] == ["arousal"] and set(results["metrics"]["ccc"]) == {"arousal"}
    header = (output / "predictions.csv").read_text().splitlines()[0].split(",")
    assert "predicted_arousal" in header and "predicted_valence" not in header
    assert "over arousal<" in (output / "report.html").read_text()


def test_evaluate_when_nothing_is_shared_then_said(corpus, tmp_path):
    names = ("calm", "contempt", "fear", "disgust")
    model = _model(tmp_path / "model", categories=names, dimensions=())
    with pytest.raises(UserError, match="share no category and no dimension"):
        _run(model=str(model), corpus="mine", data_dir=str(corpus[0]), output=str(tmp_path / "x"))


def test_evaluate_when_the_workdir_is_a_model_folder_then_said(tmp_path):
    model = _model(tmp_path / "model")
    with pytest.raises(
        UserError, match=r"is a model folder, not the workdir .* give it as --model"
    ):
        _run(workdir=str(model))


def test_evaluate_when_one_category_is_shared_then_no_score_that_is_always_right(corpus, tmp_path):
    model = _model(tmp_path / "model", categories=("boredom", "calm", "fear"), dimensions=())
    with pytest.raises(UserError, match="share one category, boredom, so every answer would be"):
        _run(model=str(model), corpus="mine", data_dir=str(corpus[0]), output=str(tmp_path / "x"))


def _save_checkpoint(folder, params):
    checkpoints = Checkpoints(folder / "checkpoints", keep_last=1)
    checkpoints.save(5, {"params": params}, config={})
    checkpoints.close()


def _export(workdir, output, fold="final", licence="Apache-2.0"):
    words = ["export", "--workdir", str(workdir), "--output", str(output), "--fold", fold]
    return export.run(make_parser().parse_args([*words, "--licence", licence]))


@pytest.fixture
def finished(tmp_path):
    """A finetuning run with one trained fold, as `sersl finetune` leaves it."""
    workdir = tmp_path / "run"
    write_run(workdir)
    config = schema.FinetuneConfig(
        **{
            name: getattr(fake_model.make_config(), name)
            for name in ("frontend", "encoder", "pooling", "heads")
        },
        labels=schema.LabelsConfig(dimensions=True),
    )
    load.save_json(config, workdir / "config.json")
    params = fake_model.make_params(config, num_categories=5)
    _save_checkpoint(workdir / "folds" / "final", params)
    return workdir, params


def test_export_when_a_run_is_scored_then_the_model_predicts_and_its_card_has_scores(
    finished, tmp_path, capsys
):
    workdir, params = finished
    _run(workdir=str(workdir))
    assert _export(workdir, tmp_path / "model", licence="CC BY-NC-SA 4.0") == 0
    released = read_model(tmp_path / "model")
    np.testing.assert_array_equal(
        released.params["pooling"]["layer_weights"], params["pooling"]["layer_weights"]
    )
    assert released.architecture.categories == ("angry", "happy", "sad", "neutral", "fear")
    card = (tmp_path / "model" / "README.md").read_text()
    for part in (
        *("license: cc-by-nc-sa-4.0", "pipeline_tag: audio-classification", "| majority | 0.200 |"),
        *("| arousal | 0.", "was not trained on its speaker", "released under CC BY-NC-SA 4.0"),
    ):
        assert part in card
    assert "\n\n|" in card
    soundfile.write(tmp_path / "a.wav", 0.1 * np.sin(np.arange(RATE) / 10), RATE)
    names = ("output", "window", "hop", "rttm", "list", "shard", "precision", "dialogues")
    options = {
        **dict.fromkeys(names),
        "frames": False,
        "speech": False,
        "no_verify": False,
        "no_average": False,
        "table": [],
    }
    model = str(tmp_path / "model")
    assert predict.run(Namespace(model=model, inputs=[str(tmp_path / "a.wav")], **options)) == 0


def test_export_when_not_scored_then_it_says_so(finished, tmp_path, capsys):
    _export(finished[0], tmp_path / "model")
    assert "is not scored" in capsys.readouterr().err
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Not scored." in card
    assert "license: apache-2.0" in card
    with pytest.raises(UserError, match="a released model needs a licence"):
        _export(finished[0], tmp_path / "again", licence="")


def test_export_when_there_are_validation_answers_then_scores_are_tempered_powers_of_the_runs(
    finished, tmp_path, capsys
):
    # The rule of docs/evaluation.md: p ** (1 / T), to sum 1; the predicted category is the same.
    workdir = finished[0]
    _export(workdir, tmp_path / "plain")
    assert "the probabilities are not calibrated" in capsys.readouterr().err
    random = np.random.default_rng(3)
    truth = random.integers(0, 5, 60)
    logits = 4 * random.normal(size=(60, 5)) + 3 * np.eye(5)[truth]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    empty = np.zeros((60, 0))
    Answers(
        rows=np.arange(60),
        scores=scores.astype(np.float32),
        dimensions=empty,
        dimension_names=np.array([], str),
        true_category=truth.astype(np.int32),
        true_dimensions=empty,
        true_dimension_names=np.array([], str),
        true_categories=empty,
        thresholds=np.zeros(0),
    ).save(workdir / "folds" / "1" / VALIDATION)
    _export(workdir, tmp_path / "tempered")
    assert "not calibrated" not in capsys.readouterr().err
    temperature = read_model(tmp_path / "tempered").labels.temperature
    assert temperature == pytest.approx(fit_temperature(truth, scores), rel=1e-3)
    assert abs(temperature - 1) > 0.1
    waveform = (0.1 * np.sin(np.arange(RATE) / 10)).astype(np.float32)
    plain, tempered = (
        predictor.load(tmp_path / name).predict(waveform, sample_rate=RATE)["scores"]
        for name in ("plain", "tempered")
    )
    powers = np.array(list(plain.values())) ** (1 / temperature)
    np.testing.assert_allclose(list(tempered.values()), powers / powers.sum(), atol=1e-5)
    assert list(plain) == list(tempered)


def test_export_when_the_fold_or_run_is_missing_then_said(finished, tmp_path):
    with pytest.raises(UserError, match=r"no fold '9' \(there are: 1, 2, 3, 4, final\)"):
        _export(finished[0], tmp_path / "model", fold="9")
    with pytest.raises(UserError, match="does not exist"):
        _export(tmp_path / "nowhere", tmp_path / "model")
    (finished[0] / "config.json").write_text("{}")
    with pytest.raises(UserError, match="is neither of `sersl finetune` nor"):
        _export(finished[0], tmp_path / "model")


@pytest.mark.parametrize("teacher", [False, True])
def test_export_when_the_run_is_pretraining_then_the_encoder_alone(tmp_path, teacher):
    workdir = tmp_path / "run"
    config = schema.PretrainConfig(
        frontend=fake_model.make_config().frontend, encoder=fake_model.make_config().encoder
    )
    workdir.mkdir()
    load.save_json(config, workdir / "config.json")
    corpora = [{k: v for k, v in fake_model.CORPORA[0].items() if k != "licence"}]
    (workdir / "corpora.json").write_text(json.dumps(corpora))
    encoder = fake_model.make_params(fake_model.make_config())["encoder"]
    items = {"params": {"encoder": encoder, "prosody": {"kernel": np.ones(2, np.float32)}}}
    if teacher:
        items["teacher"] = {"encoder": {**encoder, "mask_embedding": encoder["mask_embedding"] + 1}}
    checkpoints = Checkpoints(workdir / "checkpoints", keep_last=1)
    checkpoints.save(5, items, config={})
    checkpoints.close()
    _export(workdir, tmp_path / "model")
    released = read_model(tmp_path / "model")
    assert set(released.params) == {"encoder"}
    assert released.about["heads"] is None
    np.testing.assert_array_equal(
        released.params["encoder"]["mask_embedding"], encoder["mask_embedding"] + teacher
    )
    assert "without heads" in (tmp_path / "model" / "README.md").read_text()
