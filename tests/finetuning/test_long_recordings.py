"""Utterances longer than what a network answers at once: their start is used, and that is said."""

import csv
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from sersl.cli.finetune import report
from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig
from sersl.core.lengths import SAMPLE_RATE
from sersl.corpora.prepare import prepare
from sersl.data.buckets import MAX_EVALUATION_SAMPLES
from sersl.eval.predictions import read_predictions
from tests.finetuning.test_kept_outputs import NANO, fine_tuned
from tests.tiny_runs import ROOT

CONFIGS = ROOT / "configs" / "finetune"
SIZES = ("encoder.num_layers=2", "encoder.width=16", "encoder.num_heads=2", "encoder.mlp_width=32")
FEW = ("train.num_steps=2", "train.log_every_steps=1", "evaluate_every_steps=2")


@pytest.fixture(scope="module")
def long_data(tmp_path_factory) -> Path:
    """Two speakers; one recording of 33 s of each, and its first 30 s as one of its own."""
    folder = tmp_path_factory.mktemp("long")
    rng = np.random.default_rng(0)
    rows = []
    for speaker in ("anna", "ben"):
        waves = {f"short{i}": 0.1 * rng.normal(size=8000 + 800 * i) for i in range(6)}
        waves["long"] = 0.1 * rng.normal(size=33 * SAMPLE_RATE)
        waves["start"] = waves["long"][:MAX_EVALUATION_SAMPLES]
        for i, (name, wave) in enumerate(waves.items()):
            soundfile.write(folder / f"{speaker}_{name}.flac", wave, SAMPLE_RATE)
            word = ("happy", "sad")[i % 2] if i < 6 else "happy"
            rows.append({"path": f"{speaker}_{name}.flac", "speaker": speaker, "emotion": word})
    with (folder / "longer.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    prepare(data_dir=folder / "data", manifest=folder / "longer.csv")
    return folder / "data"


def config_of(data: Path, config: str, *settings: str) -> FinetuneConfig:
    own = (f"data.data_dir={data}", "data.corpora=longer", "protocol.num_folds=2")
    fixed = ("protocol.final_model=false", "protocol.validation_fraction=0", *SIZES)
    return load_config(FinetuneConfig, config, [*own, *fixed, *settings])


def scores_of(
    config: FinetuneConfig, workdir: Path, *, devices: int = 1
) -> tuple[dict[str, np.ndarray], list[str]]:
    fine_tuned(config, workdir, devices=devices)
    report(config, workdir)
    answers = read_predictions(workdir / "predictions.csv")
    scores = dict(zip(answers.text["utterance_id"], answers.scores, strict=True))
    return scores, json.loads((workdir / "results.json").read_text())["protocol"]["warnings"]


@pytest.mark.parametrize("average", [False, True])
def test_long_recording_when_its_outputs_are_kept_then_answered_as_its_start(
    long_data, tmp_path, average
):
    settings = ("solver.kind=ridge", "views.speeds=(0.9,1.1)", "heads.kind=linear")
    average_setting = f"views.average={average}".lower()
    config = config_of(
        *(long_data, NANO, *settings, "heads.bounded=false", "heads.label_smoothing=0"),
        *(average_setting, "heads.dropout=0", "train.num_steps=1", "evaluate_every_steps=1"),
    )
    scores, warnings = scores_of(config, tmp_path / "run")
    for speaker in ("anna", "ben"):
        long, start = (scores[f"{speaker}_{name}"] for name in ("long", "start"))
        np.testing.assert_allclose(long, start, atol=1e-6)
    (said,) = [line for line in warnings if "longer than 30 s" in line]
    assert "2 of 16 utterances of corpus 'longer'" in said and "up to 33.0 s" in said


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (NANO, ("pooling.network.kind=frame_graph", "pooling.layers=weighted")),
        (f"{CONFIGS}/adapt.py:nano", ("adaptation.frame_share=1.0", "adaptation.head_steps=2")),
    ],
)
def test_long_recording_when_frames_are_kept_then_its_rows_may_exceed_the_budget(
    long_data, tmp_path, config, settings
):
    own = ("data.seconds_per_batch=64", "data.max_seconds=30", "data.num_buckets=0", *settings)
    scores, _ = scores_of(config_of(long_data, config, *own, *FEW), tmp_path / "run")
    for speaker in ("anna", "ben"):
        long, start = (scores[f"{speaker}_{name}"] for name in ("long", "start"))
        np.testing.assert_allclose(long, start, atol=1e-5)


def test_long_recording_when_a_baseline_reads_it_then_answered_as_its_start(long_data, tmp_path):
    config = config_of(long_data, f"{CONFIGS}/baseline.py:functionals")
    scores, _ = scores_of(config, tmp_path / "run", devices=jax.device_count())
    for speaker in ("anna", "ben"):
        long, start = (scores[f"{speaker}_{name}"] for name in ("long", "start"))
        np.testing.assert_array_equal(long, start)
