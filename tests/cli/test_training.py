"""The verbs annotate, pretrain and finetune from their command lines to their files."""

import csv
import json
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sersl.cli.main import main
from sersl.cli.pretrain import next_command
from sersl.config.load import from_overrides, load_config
from sersl.config.schema import FinetuneConfig, PretrainConfig
from sersl.core.lengths import SAMPLE_RATE
from sersl.parallel import distributed
from tests.cli.test_bad_input import CONFIGS

ROOT = Path(__file__).parents[2]
NUM_UTTERANCES = 24
SMALL = {
    "encoder.num_layers": 1,
    "encoder.width": 16,
    "encoder.mlp_width": 16,
    "data.seconds_per_batch": 8,
    "data.num_buckets": 1,
    "train.num_steps": 4,
    "train.log_every_steps": 2,
    "checkpoint.every_steps": 2,
}


@pytest.fixture
def sersl(monkeypatch, capsys):
    """Runs a command in this process; gives exit code, standard output and standard error."""
    monkeypatch.setattr(distributed, "initialize", lambda **options: None)
    monkeypatch.setattr(distributed, "preempted", lambda step: False)

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        return types.SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return run


@pytest.fixture
def manifest(tmp_path):
    """Tones that rise or fall, of four speakers; no ratings, votes for every third."""
    rows = ["path;speaker;emotion;votes"]
    time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    for number in range(NUM_UTTERANCES):
        happy = number % 2
        pitch = (150 + 5 * number) * (1 + (0.5 if happy else -0.5) * time)
        wave = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE)
        soundfile.write(tmp_path / f"{number:02d}.wav", wave, SAMPLE_RATE)
        votes = '{"happy": 2, "sad": 1}' if number % 3 == 0 else ""
        rows.append(f"{number:02d}.wav;s{number // 6};{'happy' if happy else 'sad'};{votes}")
    (tmp_path / "own.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "own.csv"


def settings(**more):
    values = SMALL | {key.replace("__", "."): value for key, value in more.items()}
    return [f"--config.{key}={value}" for key, value in values.items()]


def read_json_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(("start", "recipe"), [("", "emotion.py:tiny"), ("x", "frozen.py:ridge")])
def test_next_command_when_pretrained_then_it_loads_with_the_same_data(start, recipe):
    config = from_overrides(
        PretrainConfig, ["data.data_dir=my data", "data.corpora=a,b", f"init_from={start}"]
    )
    words = next_command(config, "runs/one/")
    assert words[2:6] == [
        "--config",
        f"configs/finetune/{recipe}",
        "--workdir",
        "runs/one-finetuned",
    ]
    given = [word.removeprefix("--config.") for word in words[6:]]
    follows = load_config(FinetuneConfig, str(ROOT / words[3]), given)
    assert follows.init_from == "runs/one/"
    assert (follows.data.data_dir, follows.data.corpora) == ("my data", ("a", "b"))


@pytest.mark.slow
def test_pretrain_when_run_from_files_then_annotated_trained_resumed_and_exported(
    sersl, manifest, tmp_path
):
    data_dir, workdir = tmp_path / "data", tmp_path / "pretrain"
    assert sersl("prepare", "--manifest", manifest, "--data_dir", data_dir).code == 0
    command = ["pretrain", "--config", CONFIGS["pretrain"], "--workdir", workdir]
    command += settings(data__data_dir=data_dir, data__corpora="own")

    unannotated = sersl(*command)
    assert unannotated.code == 2 and "sersl annotate" in unannotated.err
    annotate = ["annotate", "--corpus", "own", "--data_dir", data_dir]
    assert f"{NUM_UTTERANCES} utterances" in sersl(*annotate).out
    assert "already annotated" in sersl(*annotate).out

    answer = sersl(*command)
    assert answer.code == 0, answer.err
    assert f"pretrained: {workdir}" in answer.out and "pretrain 4/4" in answer.out
    assert json.loads((workdir / "config.json").read_text())["encoder"]["width"] == 16
    lines = read_json_lines(workdir / "metrics.jsonl")
    assert [line["step"] for line in lines] == [2, 4]
    assert {"loss", "contrastive", "prosody", "audio_seconds_per_second"} <= lines[0].keys()

    again = sersl(*command)
    assert again.code == 0 and "nothing to do: 4 of 4 steps are done" in again.out
    assert read_json_lines(workdir / "metrics.jsonl") == lines
    changed = sersl(*command, "--config.optimizer.learning_rate=0.1")
    assert changed.code == 2 and "optimizer.learning_rate" in changed.err

    model = tmp_path / "encoder"
    export = sersl("export", "--workdir", workdir, "--output", model, "--licence", "MIT")
    assert export.code == 0, export.err
    vectors = tmp_path / "vectors.npz"
    assert sersl("embed", "--model", model, tmp_path / "00.wav", "--output", vectors).code == 0
    assert np.load(vectors)["embeddings"].shape == (1, 16)


@pytest.mark.slow
def test_finetune_when_given_a_manifest_then_tested_reported_exported_and_predicting(
    sersl, manifest, tmp_path
):
    workdir = tmp_path / "finetune"
    command = ["finetune", "--config", CONFIGS["finetune"], "--workdir", workdir]
    command += ["--manifest", manifest]
    command += settings(
        protocol__num_folds=2,
        evaluate_every_steps=2,
        labels__dimensions="true",
        labels__soft="true",
    )

    answer = sersl(*command)
    assert answer.code == 0, answer.err
    assert "UAR (UA)" in answer.out and "majority" in answer.out
    # Nobody rated arousal, so no one is told about it.
    assert "dimensions: none" in answer.out and "nan" not in answer.out
    with open(workdir / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == NUM_UTTERANCES == len({row["utterance_id"] for row in rows})
    results = json.loads((workdir / "results.json").read_text())
    assert results["corpus"]["num_speakers"] == 4 and len(results["folds"]) == 2
    assert (workdir / "report.html").stat().st_size > 10_000

    again = sersl(*command)
    assert again.code == 0 and again.out.count("done before") == 3, again.err
    assert sersl("evaluate", "--workdir", workdir).code == 0

    model = tmp_path / "model"
    export = sersl("export", "--workdir", workdir, "--output", model, "--licence", "MIT")
    assert export.code == 0, export.err
    said = sersl("predict", "--model", model, tmp_path / "00.wav", tmp_path / "01.wav")
    assert said.code == 0 and "arousal" not in said.out
    assert len(said.out.splitlines()) == 3


def test_workdir_when_its_run_is_unfinished_then_export_and_evaluate_say_what_to_do(
    sersl, manifest, tmp_path
):
    workdir = tmp_path / "finetune"
    command = ["finetune", "--config", CONFIGS["finetune"], "--workdir", workdir]
    command += ["--manifest", manifest, *settings(data__row_multiple=3)]
    assert sersl(*command).code == 2
    for verb in (["export", "--output", tmp_path / "model"], ["evaluate"]):
        answer = sersl(*verb, "--workdir", workdir)
        assert answer.code == 2 and str(workdir) in answer.err, answer.err
        assert answer.err.count("\n") == 1
    assert not (tmp_path / "model").exists()
