"""Outputs of predict, embed, export, evaluate: checked before the work, safe to print and open."""

import csv
import json
import os

import numpy as np
import pytest
import soundfile

import sersl
from sersl.cli import evaluate, export, import_model
from sersl.cli.main import main
from sersl.eval.predictions import TEXT_COLUMNS, Predictions, read_predictions, write_predictions
from tests.release import fake_model

RATE = 16_000
TONE = 0.2 * np.sin(np.arange(RATE) / 12) * np.sin(np.arange(RATE) / 900)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return fake_model.write_fake(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def audio(tmp_path):
    soundfile.write(tmp_path / "a.wav", TONE, RATE)
    return tmp_path / "a.wav"


def ends_with_a_sentence(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    return said


@pytest.fixture
def places(tmp_path):
    """Folders and files that cannot be written."""
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


@pytest.mark.parametrize(
    "output",
    ["file/a{}", "folder{}", "loop/a{}", "/proc/nothing/a{}", "x" * 300 + "{}"],
    ids=["under a file", "a folder", "a loop", "no such place", "too long"],
)
@pytest.mark.parametrize("verb", ["predict", "embed"])
def test_output_when_it_cannot_be_written_then_found_before_the_model_is_loaded(
    audio, places, capsys, monkeypatch, verb, output
):
    def load(*arguments, **options):
        raise AssertionError("the work was begun")

    monkeypatch.setattr(sersl, "load", load, raising=False)
    before = sorted(os.listdir(places))
    output = places / output.format(".csv" if verb == "predict" else ".npz")
    ends_with_a_sentence(capsys, verb, "--model", "m", audio, "--output", output)
    assert sorted(os.listdir(places)) == before


@pytest.mark.parametrize("output", ["file/a", "file", "loop/a", "/proc/nothing/a", "x" * 300])
@pytest.mark.parametrize("verb", ["export", "import"])
def test_model_folder_when_it_cannot_be_written_then_found_before_the_work(
    places, capsys, monkeypatch, verb, output
):
    def work(*arguments, **options):
        raise AssertionError("the work was begun")

    monkeypatch.setattr(export, "_export", work)
    monkeypatch.setattr("sersl.release.huggingface.importing.open_weights", work)
    (places / "run").mkdir()
    source = ["--workdir" if verb == "export" else "--source", places / "run"]
    ends_with_a_sentence(capsys, verb, *source, "--output", places / output)
    assert import_model and (places / "file").read_text() == "not a folder"


def test_report_when_it_would_replace_the_config_of_a_model_or_run_then_refused(
    model, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(evaluate, "load", None)  # never called
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for output in (model, tmp_path / "run", tmp_path / "file" / "x"):
        (tmp_path / "file").write_text("not a folder")
        arguments = ["--model", model, "--corpus", "mine", "--data_dir", tmp_path]
        ends_with_a_sentence(capsys, "evaluate", *arguments, "--output", output)
    assert sorted(os.listdir(tmp_path / "run")) == ["checkpoints"]


NAMES = [
    "=cmd|calc.wav",
    "+1.wav",
    "-1.wav",
    "@sum.wav",
    "new\nline.wav",
    "\x1b]0;title\x07.wav",
    "right\u202eleft.wav",
    "c1\x9b31m.wav",
    os.fsdecode(b"caf\xe9.wav"),
    "ärger.wav",
    "'=quoted.wav",
]


def printable(text):
    return all(c.isprintable() for line in text.splitlines() for c in line.replace("\r", ""))


@pytest.fixture
def odd(tmp_path):
    for name in NAMES:
        soundfile.write(tmp_path / "a.wav", TONE, RATE)
        os.rename(tmp_path / "a.wav", tmp_path / name)
    (tmp_path / "bad\x1b[2J.wav").write_text("not audio")
    return tmp_path


def test_predictions_when_names_are_odd_then_no_cell_is_a_formula_and_every_name_is_found(
    model, odd, tmp_path_factory, capsys, monkeypatch
):
    output = tmp_path_factory.mktemp("out") / "a.csv"
    monkeypatch.chdir(odd)
    arguments = ["--model", str(model), "--", *sorted(os.listdir())]
    assert main(["predict", "--output", str(output), *arguments]) == 0
    with open(output, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + len(NAMES) + 1
    for row in rows:
        assert not any(cell[:1] in tuple("=+-@\t\r") for cell in row[:5] if cell)
    assert printable(output.read_text())
    found = {row[0] for row in rows}
    assert {"'=cmd|calc.wav", "new\\nline.wav", "ärger.wav", "''=quoted.wav"} <= found
    told = capsys.readouterr()
    assert printable(told.out + told.err)

    jsonl = output.with_name("a.jsonl")
    assert main(["predict", "--output", str(jsonl), *arguments]) == 0
    text = jsonl.read_text()
    assert printable(text)
    assert {json.loads(line)["file"] for line in text.splitlines()} >= {*NAMES}

    capsys.readouterr()
    assert main(["predict", *arguments]) == 0
    told = capsys.readouterr()
    assert printable(told.out + told.err) and len(told.out.splitlines()) == 1 + len(NAMES) + 1

    vectors = output.with_name("a.npz")
    assert main(["embed", "--output", str(vectors), *arguments]) == 0
    told = capsys.readouterr()
    assert printable(told.out + told.err)
    with np.load(vectors) as content:
        assert {*content["files"].tolist()} == {*NAMES}


def test_predictions_of_a_run_when_names_are_formulas_then_they_are_text_and_come_back(tmp_path):
    names = np.array(["=1+1", "-a", "@b", "+c", "plain", "'=d", "'e"])
    happy = np.full(len(names), "happy")
    text = dict.fromkeys(TEXT_COLUMNS, names) | {"category": happy, "predicted": happy}
    written = Predictions(
        text=text,
        names=("happy",),
        scores=np.ones((len(names), 1)),
        truth=np.full((len(names), 3), 0.5),
        predicted=None,
    )
    write_predictions(tmp_path / "predictions.csv", written)
    with open(tmp_path / "predictions.csv", newline="") as file:
        cells = [row[: len(TEXT_COLUMNS)] for row in csv.reader(file)]
    assert not any(cell[0] in "=+-@" for row in cells for cell in row)
    read = read_predictions(tmp_path / "predictions.csv")
    assert all((read.text[column] == text[column]).all() for column in TEXT_COLUMNS)
