"""`sersl evaluate --robustness`: conditions, resumed, and refused for those of another test."""

import csv
import json

import numpy as np
import pytest
import soundfile

from sersl.cli.main import main
from sersl.corpora.prepare import prepare
from sersl.data.sources import CorpusSource
from sersl.release import robustness
from sersl.release.robustness import Robustness
from tests.release import fake_model

RATE = 16_000
CHOSEN = ("white_5dB", "babble_0dB", "room_0.6s", "mu_law", "recorded_0dB")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Three speakers with two categories each, and a corpus of noise."""
    folder, data = tmp_path_factory.mktemp("audio"), tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    time = np.arange(RATE // 2) / RATE
    for name, columns in (("mine", ["path", "speaker", "category"]), ("hum", ["path"])):
        rows = []
        for i in range(6 if name == "mine" else 2):
            tone = 0.3 * np.sin(2 * np.pi * (150 + 90 * i) * time) * np.sin(2 * np.pi * 3 * time)
            tone = tone if name == "mine" else 0.1 * random.normal(size=len(time))
            soundfile.write(folder / f"{name}{i}.wav", tone, RATE)
            rows.append([f"{name}{i}.wav", f"s{i % 3}", ("angry", "sad")[i // 3]][: len(columns)])
        with open(folder / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
        prepare(data_dir=data, manifest=folder / f"{name}.csv", name=name)
    return data


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return fake_model.write_fake(tmp_path_factory.mktemp("models") / "model")


def evaluate(model, data_dir, output, *more):
    words = ["evaluate", "--model", model, "--corpus", "mine", "--data_dir", data_dir]
    return main([str(word) for word in [*words, "--output", output, "--robustness", *more]])


def test_robustness_when_stopped_and_rerun_then_only_the_rest_is_predicted(
    model, data_dir, tmp_path, capsys, monkeypatch
):
    options = ("--noise_corpora", "hum", "--conditions", *CHOSEN)
    assert evaluate(model, data_dir, tmp_path / "whole", *options) == 0
    printed = capsys.readouterr()
    assert "white noise, 5 dB" in printed.out and "room, T60 0.6 s" in printed.out
    done = []

    def stop(path, predictions):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(path.name)
        return write(path, predictions)

    write = robustness.write_predictions
    monkeypatch.setattr(robustness, "write_predictions", stop)
    evaluate(model, data_dir, tmp_path / "twice", *options)
    assert len(done) == 2
    monkeypatch.setattr(robustness, "write_predictions", write)
    kept = tmp_path / "twice" / "conditions" / done[0]
    before = kept.stat().st_mtime_ns
    assert evaluate(model, data_dir, tmp_path / "twice", *options) == 0
    assert kept.stat().st_mtime_ns == before
    whole, twice = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "twice")
    )
    assert whole["robustness"] == twice["robustness"]
    found = whole["robustness"]["conditions"]
    assert set(found) == {"clean", *CHOSEN}
    assert found["clean"]["changes"]["uar"] == 0
    for name, one in found.items():
        change = one["scores"]["uar"] - found["clean"]["scores"]["uar"]
        assert one["changes"]["uar"] == pytest.approx(change), name
    for name in ("robustness.csv", "robustness.md", "report.html"):
        assert "mu" in (tmp_path / "twice" / name).read_text()
    assert "Robustness" in (tmp_path / "twice" / "report.html").read_text()
    capsys.readouterr()
    assert evaluate(model, data_dir, tmp_path / "twice", *options, "--seed", "1") == 2
    said = capsys.readouterr().err
    assert "conditions of another test (other seed)" in said and "Traceback" not in said


def test_robustness_when_arguments_are_wrong_then_one_sentence_before_the_work(
    model, data_dir, tmp_path, capsys
):
    for options, message in (
        (("--conditions", "loud"), "'loud'"),
        (("--conditions", "recorded"), "recorded noise needs --noise_corpora"),
        (("--noise_corpora", "rain"), "'rain'"),
    ):
        assert evaluate(model, data_dir, tmp_path / "x", *options) == 2
        said = capsys.readouterr().err
        assert message in said and "Traceback" not in said
    assert not (tmp_path / "x").exists()
    assert main(["evaluate", "--workdir", str(tmp_path), "--robustness"]) == 2
    assert "--robustness needs a model" in capsys.readouterr().err
    assert main(["evaluate", "--workdir", str(tmp_path), "--conditions", "room"]) == 2
    assert "--conditions belongs to --robustness" in capsys.readouterr().err


def test_evaluate_when_speakers_are_chosen_then_their_answers_as_of_the_whole_corpus(
    model, data_dir, tmp_path, capsys
):
    words = ["evaluate", "--model", model, "--corpus", "mine", "--data_dir", data_dir, "--output"]

    def scored(name, *options):
        assert main([str(word) for word in [*words, tmp_path / name, *options]]) == 0
        with open(tmp_path / name / "predictions.csv", newline="") as file:
            return list(csv.DictReader(file))

    whole = scored("whole")
    expected = [row for row in whole if row["speaker"] in ("s0", "s2")]
    assert 0 < len(expected) < len(whole)
    assert scored("two", "--speakers", "s2,s0") == expected
    results = json.loads((tmp_path / "two" / "results.json").read_text())
    assert results["protocol"]["speakers"] == ["s0", "s2"]
    assert results["corpus"]["num_utterances"] == len(expected)
    assert scored("again", "--speakers", "s2", "s0") == expected
    capsys.readouterr()
    wrong = [*words, tmp_path / "x", "--speakers", "s0", "s9"]
    assert main([str(word) for word in wrong]) == 2
    said = capsys.readouterr().err
    assert "unknown speaker of corpus 'mine' 's9'" in said and len(said.splitlines()) == 1
    for option, value in (("speakers", "s0"), ("precision", "int8")):
        assert main(["evaluate", "--workdir", str(tmp_path), f"--{option}", value]) == 2
        assert f"--{option} belongs to --model" in capsys.readouterr().err


def test_evaluate_when_a_precision_is_given_then_scores_in_it(model, data_dir, tmp_path, capsys):
    words = ["evaluate", "--model", model, "--corpus", "mine", "--data_dir", data_dir, "--output"]
    scores = {}
    for kind in ("float32", "int8"):
        given = [*words, tmp_path / kind, "--precision", kind]
        assert main([str(word) for word in given]) == 0
        results = json.loads((tmp_path / kind / "results.json").read_text())
        assert results["protocol"]["precision"] == kind
        with open(tmp_path / kind / "predictions.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        scores[kind] = np.array([float(row["score_angry"]) for row in rows])
    difference = np.abs(scores["float32"] - scores["int8"]).max()
    assert 0 < difference < 0.05
    capsys.readouterr()
    assert main([str(word) for word in [*words, tmp_path / "x", "--precision", "int4"]]) == 2
    assert "unknown precision 'int4'" in capsys.readouterr().err


def test_babble_when_made_then_it_is_a_sum_of_other_speakers_at_one_level(data_dir):
    source = CorpusSource(data_dir, "mine")
    test = Robustness(source, names=("babble_0dB",), seed=3)
    draws = np.random.default_rng(7)
    found = test._babble(0, np.random.default_rng(7), 4000)
    speakers = source.index.column("speaker").astype(str)
    others = np.flatnonzero(speakers != speakers[0])
    expected = np.zeros(4000)
    for row in draws.choice(others, 6, replace=True):
        whole = source.waveform(int(row)).astype(np.float64)
        start = int(draws.integers(len(whole)))
        voice = np.concatenate([whole[start:], whole[:start]])[:4000]
        expected += voice / np.sqrt(np.mean(voice**2))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_change_when_repeated_then_equal_and_noise_is_the_same_at_every_ratio(data_dir):
    source = CorpusSource(data_dir, "mine")
    clean = source.waveform(2)

    def noise(seed, name):
        test = Robustness(source, names=(name,), seed=seed)
        added = test.change(test.conditions[1])(2, clean).astype(np.float64) - clean
        return added / np.sqrt(np.mean(added**2))

    np.testing.assert_array_equal(noise(0, "pink_0dB"), noise(0, "pink_0dB"))
    np.testing.assert_allclose(noise(0, "pink_0dB"), noise(0, "pink_-5dB"), atol=1e-3)
    assert np.abs(noise(0, "pink_0dB") - noise(1, "pink_0dB")).max() > 0.5
