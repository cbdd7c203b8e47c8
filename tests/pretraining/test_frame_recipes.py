"""The recipes of frame-level objectives, each for 20 steps of its nano preset on real speech."""

import csv
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

from sersl.annotation.annotate import annotate_corpus
from sersl.annotation.codebooks.codebook import Fit, fit_codebook, write_codes
from sersl.annotation.codebooks.frame_features import mfcc_features
from sersl.config.load import load_config
from sersl.config.schema import PretrainConfig
from sersl.corpora.prepare import prepare
from sersl.data.sources import CorpusSource
from sersl.pretraining.run import pretrain
from tests.tiny_runs import ROOT, never, values_of

FOLDER = ROOT / "configs" / "pretrain"
# Recipe and preset to the objectives that its metrics must show.
RECIPES = {
    "wav2vec2:nano": ("contrastive", "penalty"),
    "hubert:nano": ("clusters", "penalty"),
    "data2vec2:nano": ("distill",),
    "emotion2vec:nano": ("distill", "utterance"),
    "best_rq:nano": ("best_rq",),
    "ptapt:nano": ("clusters", "clusters_mfcc8", "clusters_mfcc16"),
    "hflea:nano": ("clusters",),
    "cpc:nano": ("cpc",),
    "mockingjay:nano": ("reconstruction",),
    "mockingjay:nano_ems": ("reconstruction", "intensity"),
    "tera:nano": ("reconstruction",),
    "npc:nano": ("npc",),
    "npc:nano_ems": ("npc", "intensity"),
    "apc:nano": ("apc",),
}

# One layer compiles faster than two.
SHORT = ("train.log_every_steps=1", "encoder.num_layers=1")


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory):
    """Sixteen utterances of four actors, annotated and with two code books."""
    corpora = Path(__file__).parents[3] / "shared" / "corpora"
    folder = tmp_path_factory.mktemp("ravdess")
    with open(corpora / "ravdess" / "manifest.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["speaker"] in ("01", "02", "03", "04")]
    with open(folder / "few.csv", "w") as file:
        file.write("path,speaker\n")
        file.writelines(
            f"{corpora / 'ravdess' / row['path']},{row['speaker']}\n" for row in rows[::15]
        )
    data_dir = folder / "data"
    prepare(data_dir=data_dir, manifest=folder / "few.csv", name="few", allow_outside_paths=True)
    annotate_corpus("signal", "few", data_dir=data_dir)
    source, features = CorpusSource(data_dir, "few"), mfcc_features()
    for codes in (8, 16):
        name = folder / f"mfcc{codes}"
        book = fit_codebook(name, [source], features, Fit(codes), say=lambda line: None)
        write_codes(book, source, features)
    return data_dir


@pytest.mark.corpora
@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_when_run_for_20_steps_on_real_speech_then_it_learns(recipe, ravdess, tmp_path):
    config = load_config(
        PretrainConfig,
        f"{FOLDER / recipe.replace(':', '.py:')}",
        [f"data.data_dir={ravdess}", "data.corpora=few", *SHORT],
    )
    assert config.train.num_steps == 20
    pretrain(config, tmp_path / "run", preempted=never, devices=jax.devices()[:1])
    lines = values_of(tmp_path / "run")
    assert [line["step"] for line in lines] == list(range(1, 21))
    for name in ("loss", "feature_variance", *RECIPES[recipe]):
        values = np.array([line[name] for line in lines])
        assert np.isfinite(values).all(), name
    losses = [line["loss"] for line in lines]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_recipes_when_listed_then_every_nano_preset_of_the_frame_level_is_run():
    others = {"emotion_aware"}
    found = set()
    for name in {recipe.partition(":")[0] for recipe in RECIPES}:
        steps = runpy.run_path(str(FOLDER / f"{name}.py"))["STEPS"]
        found |= {f"{name}:{preset}" for preset in steps if preset.startswith("nano")}
    assert found == set(RECIPES) and not others & {r.partition(":")[0] for r in RECIPES}
