"""The model that is part of the package, on the command line, in Python and in a wheel."""

import json
import logging
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sersl
from sersl.cli.main import main
from sersl.core.errors import UserError
from sersl.release.check import check_folder
from sersl.release.packaged import shipped
from tests.fake_speech import RATE, make_voice
from tests.release import fake_model

ROOT = Path(__file__).parents[2]
MOST_BYTES = 8_000_000
CATEGORIES = {"angry", "happy", "sad", "neutral", "fear", "surprise", "disgust", "calm"}


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, make_voice(1.0, 3), RATE)
    return path


@pytest.fixture
def unannounced(monkeypatch):
    monkeypatch.setattr(shipped, "_announced", [])


def test_shipped_model_when_checked_then_complete_small_and_honest():
    found = check_folder(shipped.SHIPPED)
    assert not found.faults
    size = sum(path.stat().st_size for path in shipped.SHIPPED.iterdir())
    assert size <= MOST_BYTES
    about = json.loads((shipped.SHIPPED / "sersl.json").read_text())
    assert set(about["categories"]) == CATEGORIES and about["weights"] == "int8"
    licences = {corpus["corpus"]: corpus["licence"] for corpus in about["corpora"]}
    acted = dict.fromkeys(("ravdess", "nemo"), "CC BY-NC-SA 4.0")
    assert licences == acted | {"librispeech_read": "CC BY 4.0"}
    card = (shipped.SHIPPED / "README.md").read_text()
    for words in (
        *(
            "No commercial use",
            "CC-BY-NC-SA-4.0",
            "Never tested on",
            "Polish",
            "six folds of EmoBox",
            "which nobody rated",
        ),
        *("sersl import", "sersl finetune", "--weights int8"),
    ):
        assert words in card, words
    notice = (shipped.SHIPPED.parent / "NOTICE").read_text()
    for words in ("Copyright (c) 2022 OpenAI", "CC BY-NC-SA 4.0", "LibriSpeech"):
        assert words in notice, words


def test_predict_when_no_model_is_given_then_the_shipped_one_answers_and_says_what_it_is(
    recording, capsys, caplog, unannounced
):
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert main(["predict", str(recording)]) == 0
    out = capsys.readouterr().out
    assert out.count("a.wav") == 2
    lines = [message for message in caplog.messages if shipped.NAME in message]
    assert len(lines) == 1
    for words in ("CC-BY-NC-SA-4.0", "no commercial use", str(shipped.SHIPPED / "README.md")):
        assert words in lines[0]


def test_load_when_no_folder_is_given_then_the_shipped_model_as_by_its_path(recording):
    answer, by_path = (
        model.predict(recording) for model in (sersl.load(), sersl.load(shipped.SHIPPED))
    )
    assert set(answer["scores"]) == CATEGORIES and answer["scores"] == by_path["scores"]
    assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-5)


def test_embed_when_no_model_is_given_then_the_shipped_one_embeds(recording, tmp_path):
    assert main(["embed", str(recording), "--output", str(tmp_path / "v.npz")]) == 0
    with np.load(tmp_path / "v.npz") as found:
        assert found["embeddings"].shape[0] == 1 and np.isfinite(found["embeddings"]).all()


def test_predict_when_the_package_lacks_its_model_then_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "gone")
    with pytest.raises(UserError, match=r"lacks its model .*install sersl again"):
        sersl.load()


def test_model_of_the_embedded_corpus_when_it_predicts_then_a_warning_each_time(
    recording, tmp_path, caplog
):
    model = sersl.load(fake_model.write_fake(tmp_path / "model"))
    for _ in range(2):
        caplog.clear()
        model.predict(recording)
        assert ["embedded synthetic corpus" in message for message in caplog.messages] == [True]
    caplog.clear()
    model.embed(recording)
    assert not caplog.messages
    about = {"corpora": [{"corpus": "synthetic"}, {"corpus": "ravdess"}]}
    assert not shipped.from_embedded_corpus(about) and not shipped.from_embedded_corpus(
        {"corpora": []}
    )
    assert "embedded synthetic corpus" in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.corpora
def test_shipped_model_when_it_hears_recordings_of_its_training_then_mostly_right():
    folder = ROOT.parent / "shared" / "corpora" / "ravdess"
    names = {
        "01": "neutral",
        "03": "happy",
        "04": "sad",
        "05": "angry",
        "06": "fear",
        "08": "surprise",
    }
    paths = sorted(folder.glob("Actor_0[1-3]/*-01-01.*")) + sorted(
        folder.glob("Actor_0[1-3]/*-02-01.*")
    )
    known = [
        (path, names[path.stem.split("-")[2]]) for path in paths if path.stem.split("-")[2] in names
    ]
    answers = sersl.load().predict([path for path, _ in known])
    right = [answer["category"] == name for answer, (_, name) in zip(answers, known, strict=True)]
    # Of other speakers it is right less often: see its card.
    assert len(right) > 5 and np.mean(right) > 0.7
    assert {answer["status"] for answer in answers} == {"ok"}


@pytest.mark.corpora
def test_shipped_model_when_it_hears_plain_speech_then_it_is_not_sad_and_not_all_of_one_category():
    # Commands from a corpus that it was not trained on.
    folder = ROOT.parent / "shared" / "corpora" / "picovoice" / "audio"
    answers = sersl.load().predict(sorted(folder.glob("*"))[::40])
    assert len(answers) > 5 and {answer["status"] for answer in answers} == {"ok"}
    found = [answer["category"] for answer in answers]
    assert found.count("sad") < 0.2 * len(found)
    assert max(map(found.count, found)) < 0.8 * len(found)


@pytest.mark.slow
def test_wheel_when_installed_alone_then_predicts_without_a_model(tmp_path, recording):
    # The checkout is copied, so that a build leaves nothing in it.
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "sersl").symlink_to(ROOT / "sersl")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*pip, "wheel", *options, "-w", tmp_path / "dist", source], check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    inside = f"sersl/release/packaged/{shipped.NAME}"
    files = (
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
        "sersl.json",
        "README.md",
    )
    assert {f"{inside}/{name}" for name in files} <= names
    assert "sersl/release/packaged/NOTICE" in names
    subprocess.run([*pip, "install", *options, "--target", tmp_path / "site", wheel], check=True)
    answer = subprocess.run(
        [sys.executable, "-m", "sersl", "predict", recording.name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert "a.wav" in answer.stdout and str(tmp_path / "site") in answer.stderr
