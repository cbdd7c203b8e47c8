"""Labels of one's own, from a manifest to scores, a released folder and predictions."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sersl
from sersl.cli.finetune import report
from sersl.cli.main import main
from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.corpora.index import load_index
from sersl.corpora.label_columns import words
from sersl.corpora.prepare import prepare
from sersl.corpora.protocols.protocol import make_folds
from sersl.eval.evaluator import validation_scores
from sersl.eval.predictions import read_predictions
from sersl.finetuning.label_choice import choose_view, unused_words, with_pairs
from sersl.finetuning.run import finetune
from tests.tiny_runs import FINETUNE, never

RATE = 16_000
WORDS = ("relaxed", "stressed", "joy")
SETTINGS = (
    *("encoder.num_layers=1", "encoder.width=16", "encoder.num_heads=2", "encoder.mlp_width=16"),
    *("frontend.num_mels=16", "pooling.hidden=8", "heads.hidden=8"),
    *("data.num_buckets=1", "data.max_seconds=0.6", "data.seconds_per_batch=9.6"),
    *("train.num_steps=4", "train.log_every_steps=2", "evaluate_every_steps=2"),
    "protocol.num_folds=2",
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    """Four speakers, three words, a list of words, and a dimension of its own on 1 to 7."""
    folder = tmp_path_factory.mktemp("own_labels")
    rng = np.random.default_rng(0)
    rows = []
    for speaker in ("anna", "ben", "cleo", "dan"):
        for number in range(6):
            path, word = folder / f"{speaker}{number}.wav", WORDS[number % 3]
            soundfile.write(path, 0.1 * rng.normal(size=int(RATE * 0.5)), RATE)
            both = f"{word};tired" if number % 2 else word
            row = {"path": path.name, "speaker": speaker, "mood": word, "moods": both}
            rows.append(row | {"warmth": rng.integers(1, 8), "cv": f"part{number % 2}"})
    with (folder / "own.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "own.csv"


def run(manifest: Path, workdir: Path, columns: str, *settings: str) -> dict:
    """Trains and scores as `sersl finetune --manifest` does, and gives the results."""
    config = prepared(manifest, workdir / "data", columns, *settings)
    finetune(config, workdir, score=validation_scores, preempted=never)
    report(config, workdir)
    return json.loads((workdir / "results.json").read_text())


def prepared(manifest: Path, data_dir: Path, columns: str, *settings: str) -> FinetuneConfig:
    prepare(data_dir=data_dir, manifest=manifest, columns=columns, scale="warmth=1..7")
    given = (f"data.data_dir={data_dir}", "data.corpora=own", *SETTINGS, *settings)
    return load_config(FinetuneConfig, FINETUNE, list(given))


def test_own_words_and_dimensions_when_trained_then_by_name_up_to_predict(manifest, tmp_path):
    results = run(manifest, tmp_path / "run", "emotion=mood")
    names = ["happy", "relaxed", "stressed"]
    assert results["categories"] == names and results["dimensions"] == ["warmth"]
    assert set(results["metrics"]["ccc"]) == {"warmth"}
    predictions = read_predictions(tmp_path / "run/predictions.csv")
    assert predictions.dimensions == ("warmth",) and len(predictions) == 24
    model = tmp_path / "model"
    export = ["export", "--workdir", str(tmp_path / "run"), "--output", str(model)]
    assert main([*export, "--licence=MIT"]) == 0
    card = (model / "README.md").read_text()
    assert "warmth" in card and "stressed" in card and "1 to 7" in card
    loaded = sersl.load(model)
    answer = loaded.predict(manifest.parent / "anna0.wav")
    assert list(answer["scores"]) == names and list(answer["dimensions"]) == ["warmth"]
    assert loaded.labels.scales == {"warmth": (1.0, 7.0)}


def test_several_words_when_trained_then_probabilities_thresholds_and_scores_of_each(
    manifest, tmp_path
):
    results = run(manifest, tmp_path / "run", "categories=moods")
    names = ["happy", "relaxed", "stressed", "tired"]
    assert list(results["metrics"]["labels"]) == names
    assert {"macro_f1", "micro_f1", "average_precision"} <= set(results["metrics"])
    assert results["metrics"]["labels"]["tired"]["num_utterances"] == 12
    predictions = read_predictions(tmp_path / "run/predictions.csv")
    assert predictions.labelled is not None and predictions.labelled.all()
    assert set(predictions.text["category"]) >= {"happy", "stressed;tired"}
    model = tmp_path / "model"
    export = ["export", "--workdir", str(tmp_path / "run"), "--output", str(model)]
    assert main([*export, "--licence=MIT"]) == 0
    loaded = sersl.load(model)
    answer = loaded.predict(manifest.parent / "anna0.wav")
    applies = [n for n in names if answer["scores"][n] >= loaded.labels.thresholds[n]]
    assert answer["applies"] == applies
    table = tmp_path / "scores.csv"
    files = [str(manifest.parent / "anna0.wav"), "--output", str(table)]
    assert main(["predict", "--model", str(model), *files]) == 0
    (row,) = csv.DictReader(table.open())
    assert row["category"] == ";".join(applies) and "score_tired" in row
    config = json.loads((model / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"


def view_of(manifest: Path, folder: Path, *settings: str, columns: str = "emotion=mood"):
    config = prepared(manifest, folder, columns, *settings)
    index = load_index(folder, "own")
    return choose_view(with_pairs(config.labels), [index]), index, config


def test_view_when_words_are_mapped_on_the_command_line_then_classes_are_merged(manifest, tmp_path):
    view, index, _ = view_of(
        manifest, tmp_path, "labels.mapping=relaxed=good,joy=good,stressed=bad"
    )
    assert view.names == ("bad", "good")
    assert np.bincount(view.indices(words(index))).tolist() == [8, 16]


def test_view_when_a_mapping_file_and_a_named_view_then_both_apply(manifest, tmp_path):
    file = tmp_path / "mapping.json"
    file.write_text(json.dumps({"stressed": "anger", "joy": "", "*": "neutral", "gone": "sad"}))
    view, index, config = view_of(
        manifest,
        tmp_path,
        *("labels.view=4class", f"labels.mapping={file}", "labels.categories=neutral,angry"),
    )
    assert view.names == ("neutral", "angry")
    assert set(view.indices(words(index))[:3]) == {0, 1, -1}
    pairs = with_pairs(config.labels)
    assert pairs.mapping == ("stressed=anger", "joy=", "*=neutral", "gone=sad")
    said = unused_words(dataclasses.replace(config, labels=pairs), [index])
    assert said == ["labels.mapping names gone, which no utterance has"]


def test_view_when_raw_then_words_as_they_are(manifest, tmp_path):
    view, index, _ = view_of(manifest, tmp_path, "labels.view=raw")
    assert view.names == tuple(sorted(WORDS)) and view.raw
    assert (view.indices(words(index, raw=True)) >= 0).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (("labels.mapping=stressed",), "'stressed' is not|cannot be read"),
        (("labels.mapping=joy=a,happy=b",), "gives 'happy' two categories, 'a' and 'b'"),
        (("labels.mapping=joy=../x",), "'../x' cannot be the name of a category"),
        (("labels.categories=strssed",), "did you mean 'stressed'"),
        (("labels.categories=happy,happy",), "names a category twice"),
        (("labels.kind=many",), "known: auto, multi, single"),
    ],
)
def test_view_when_a_setting_is_wrong_then_one_sentence(manifest, tmp_path, settings, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        view_of(manifest, tmp_path, *settings)
    assert "\n" not in str(error.value)


def test_protocol_when_several_columns_divide_then_folds_of_each(manifest, tmp_path):
    prepare(data_dir=tmp_path, manifest=manifest, columns="fold=cv,fold=speaker")
    (index,) = [load_index(tmp_path, "own")]
    folds = make_folds(
        "official", [index], num_folds=2, validation_fraction=0, seed=0, allow_speaker_overlap=True
    )
    assert [fold.name for fold in folds] == [
        *("cv-fold-part0", "cv-fold-part1", "speaker-fold-anna", "speaker-fold-ben"),
        *("speaker-fold-cleo", "speaker-fold-dan"),
    ]
    assert [len(fold.test) for fold in folds] == [12, 12, 6, 6, 6, 6]
