"""`sersl benchmark` from its command line to its table; the probes themselves are made up."""

import csv
import json

import numpy as np
import pytest

from sersl.cli import benchmark
from sersl.cli.main import main
from sersl.config.schema import EncoderConfig, FrontendConfig
from sersl.core.errors import UserError
from sersl.eval.benchmark_table import HEADER, Cell, table_rows
from sersl.eval.over_seeds import score_seeds
from sersl.eval.published_scores import published_scores
from sersl.eval.results import score_workdir
from sersl.runs.initial_weights import InitialWeights
from sersl.runs.leaks import Seen
from tests.cli.test_bad_input import CONFIGS
from tests.eval.fake_run import write_run


@pytest.fixture
def probes(tmp_path, monkeypatch):
    """Replaces training by a made-up run; lists the workdirs that were trained."""
    trained = []

    def finetune(runs, *, score, preempted, weights):
        if "broken" in runs[0].workdir.parts:
            raise UserError("a fold has nothing to train on")
        trained.append(runs[0].workdir)
        for one in runs:
            write_run(one.workdir)
            config = json.loads((one.workdir / "config.json").read_text())
            config["train"]["seed"] = one.config.train.seed
            (one.workdir / "config.json").write_text(json.dumps(config))

    def weights(folder, output):
        return InitialWeights(
            params={"encoder": {"kernel": np.zeros((1000, 500))}},
            frontend=FrontendConfig(),
            encoder=EncoderConfig(),
            source=str(folder),
        )

    monkeypatch.setattr(benchmark.distributed, "initialize", lambda **options: None)
    monkeypatch.setattr(benchmark, "finetune_seeds", finetune)
    monkeypatch.setattr(benchmark, "_weights", weights)
    monkeypatch.setattr(benchmark, "report", lambda config, folder: score_workdir(folder))
    monkeypatch.setattr(
        benchmark, "report_seeds", lambda config, folder: score_seeds(folder, config.train.seeds)
    )
    monkeypatch.setattr(benchmark, "prepared_corpora", lambda data_dir: ["own", "ravdess"])
    monkeypatch.setattr(benchmark, "load_index", lambda data_dir, corpus: corpus)
    monkeypatch.setattr(
        benchmark, "seen_of", lambda index, corpora: Seen(index == "own", index == "own")
    )
    monkeypatch.setattr(
        benchmark,
        "differences",
        lambda index: ["ravdess is not complete: 9 utterances"] if index == "ravdess" else [],
    )
    return trained


def command(tmp_path, *models, **more):
    words = ["benchmark", "--model", *(str(tmp_path / model) for model in models)]
    words += ["--data_dir", str(tmp_path), "--output", str(tmp_path / "out")]
    words += ["--config", CONFIGS["finetune"]]
    return [*words, *(word for name, value in more.items() for word in (f"--{name}", value))]


def test_benchmark_when_run_then_a_row_each_beside_the_published_ones(probes, tmp_path, capsys):
    assert main(command(tmp_path, "a", "b", seeds="0,5")) == 0
    out = capsys.readouterr().out
    with open(tmp_path / "out" / "benchmark.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["corpus"], row["model"]) for row in rows[:2]] == [("own", "a"), ("own", "b")]
    assert all("LEAK" in row["note"] for row in rows[:2])
    assert [row["folds"] for row in rows[:2]] == ["leave-one-speaker-out"] * 2
    ravdess = [row for row in rows if row["corpus"] == "ravdess"]
    assert [row["model"] for row in ravdess[:3]] == ["a", "b", "Whisper large v3 (EmoBox)"]
    assert ravdess[2]["UAR (UA)"] == "0.753" and len(ravdess) == 12
    assert ravdess[0]["note"] == "ravdess is not complete: 9 utterances"
    assert ravdess[0]["seeds"] == "2" and "±" in ravdess[0]["UAR (UA)"]
    assert ravdess[0]["parameters (M)"] == "0.5"
    page = (tmp_path / "out" / "benchmark.html").read_text()
    assert "Whisper large v3 (EmoBox)" in page and "LEAK" in page
    assert "Whisper large v3" in out and "page:" in out
    assert (tmp_path / "out" / "benchmark.md").read_text().startswith("| corpus |")


def test_benchmark_when_run_again_then_finished_corpora_are_read(probes, tmp_path):
    assert main(command(tmp_path, "a", seeds="0")) == 0
    assert len(probes) == 2
    (tmp_path / "out" / "a" / "own" / "cell.json").unlink()
    assert main(command(tmp_path, "a", seeds="0")) == 0
    assert probes[2:] == [tmp_path / "out" / "a" / "own"]


def test_benchmark_when_a_model_cannot_be_scored_then_the_others_are(probes, tmp_path, capsys):
    assert main(command(tmp_path, "broken", "a", seeds="0")) == 2
    with open(tmp_path / "out" / "benchmark.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["note"] == "not scored: a fold has nothing to train on"
    assert rows[0]["UAR (UA)"] == "-" and rows[1]["UAR (UA)"] != "-"


@pytest.mark.parametrize(
    ("models", "more", "reason"),
    [
        (("x/a", "y/a"), {}, "several folders named a"),
        (("a",), {"seeds": "0,x"}, "seeds"),
        (("a",), {"config": "missing.py"}, "missing.py"),
    ],
)
def test_benchmark_when_an_argument_is_wrong_then_one_sentence(
    probes, tmp_path, capsys, models, more, reason
):
    assert main(command(tmp_path, *models, **more)) == 2
    printed = capsys.readouterr()
    assert reason in printed.err + printed.out


def test_benchmark_when_the_folds_are_others_then_no_published_rows():
    cell = Cell("a", "ravdess", "leave-one-speaker-out", 1, 1.0, "", {})
    assert len(table_rows([cell])) == 1
    emobox = table_rows([cell._replace(protocol="emobox")])
    assert len(emobox) == 1 + len(published_scores("ravdess"))
    assert all(len(row) == len(HEADER) for row in emobox)
