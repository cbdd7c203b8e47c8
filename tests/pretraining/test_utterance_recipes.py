"""The recipes of workers, views, texts and teachers: 20 steps of the nano preset on real speech."""

import csv
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

from sersl.annotation.annotate import annotate_corpus
from sersl.config.load import load_config
from sersl.config.schema import PretrainConfig
from sersl.corpora.prepare import prepare
from sersl.corpora.words import canonical
from sersl.pretraining.run import pretrain
from sersl.pretraining.terms.language import LEVELS, PROPERTIES
from sersl.release.starting_weights import read_weights
from tests.tiny_runs import ROOT, never, values_of

FOLDER = ROOT / "configs" / "pretrain"
# Recipe and preset to the objectives that its metrics must show.
RECIPES = {
    "pase_plus:nano": ("workers", "workers_gammatone_long", "information"),
    "multiview:nano": ("multiview", "multiview_speech_functionals"),
    "byol:nano": ("instances",),
    "byol:nano_simclr": ("instances", "instances_accuracy"),
    "vesper:nano": ("vesper", "vesper_low", "vesper_high", "vesper_cross"),
    "distilhubert:nano": ("layers",),
    "noisy_student:nano": ("denoise", "denoise_accuracy"),
    "emotion_clap:nano": ("language",),
    "emotion_clap:nano_acoustics": ("language",),
    "continue_emotion:nano": ("functionals", "multiview"),
    "student:nano": ("statistics",),
    "emotion2vec_s:nano": ("distill", "utterance", "supervised"),
}
TAUGHT = ("vesper", "distilhubert")


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory):
    """Sixteen utterances of four actors, annotated, with categories; and texts about them."""
    corpora = Path(__file__).parents[3] / "shared" / "corpora"
    folder = tmp_path_factory.mktemp("ravdess")
    with open(corpora / "ravdess" / "manifest.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["speaker"] in ("01", "02", "03", "04")]
    with open(folder / "few.csv", "w") as file:
        file.write("path,speaker,emotion\n")
        file.writelines(
            f"{corpora / 'ravdess' / row['path']},{row['speaker']},{row['emotion']}\n"
            for row in rows[::15]
        )
    data_dir = folder / "data"
    prepare(data_dir=data_dir, manifest=folder / "few.csv", name="few", allow_outside_paths=True)
    annotate_corpus("signal", "few", data_dir=data_dir)
    categories = sorted({canonical(row["emotion"]) for row in rows})
    acoustic = [f"{name}={level}" for name in PROPERTIES for level in LEVELS]
    for name, words in (("category", categories), ("acoustics", acoustic)):
        embeddings = np.random.default_rng(0).normal(size=(len(words), 8))
        np.savez(folder / f"{name}.npz", names=np.array(words), embeddings=embeddings)
    return data_dir


def config_of(recipe, data_dir, *settings):
    return load_config(
        PretrainConfig,
        f"{FOLDER / recipe.replace(':', '.py:')}",
        [
            *(f"data.data_dir={data_dir}", "data.corpora=few", "train.log_every_steps=1"),
            *settings,
        ],
    )


@pytest.fixture(scope="module")
def teacher(ravdess, tmp_path_factory):
    """A run of two steps whose encoder teaches."""
    workdir = tmp_path_factory.mktemp("teacher") / "run"
    config = config_of("multiview:nano", ravdess, "train.num_steps=2")
    pretrain(config, workdir, preempted=never, devices=jax.devices()[:1])
    return workdir


@pytest.mark.corpora
@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_when_run_for_20_steps_on_real_speech_then_it_learns(
    recipe, ravdess, teacher, tmp_path
):
    name, settings, frozen, kept = recipe.partition(":")[0], [], [], []
    if name == "student":
        settings, kept = [f"kept_teachers={teacher}"], [read_weights(teacher)]
    if name in TAUGHT:
        settings, frozen = [f"frozen_teachers={teacher}"], [read_weights(teacher)]
    if name == "emotion_clap":
        texts = "acoustics" if recipe.endswith("acoustics") else "category"
        settings = [f"objectives.language.file={ravdess.parent / texts}.npz"]
    config = config_of(recipe, ravdess, *settings)
    assert config.train.num_steps == 20
    pretrain(
        config,
        tmp_path / "run",
        preempted=never,
        frozen=frozen,
        kept=kept,
        devices=jax.devices()[:1],
    )
    lines = values_of(tmp_path / "run")
    assert [line["step"] for line in lines] == list(range(1, 21))
    for metric in ("loss", "feature_variance", *RECIPES[recipe]):
        values = np.array([line[metric] for line in lines])
        assert np.isfinite(values).all(), metric
    losses = [line["loss"] for line in lines]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_recipes_when_listed_then_every_nano_preset_of_these_is_run():
    found = set()
    for name in {recipe.partition(":")[0] for recipe in RECIPES}:
        steps = runpy.run_path(str(FOLDER / f"{name}.py"))["STEPS"]
        found |= {f"{name}:{preset}" for preset in steps if preset.startswith("nano")}
    assert found == set(RECIPES)


def test_emotion2vec_s_when_it_goes_on_from_emotion2vec_then_the_encoders_are_the_same():
    for preset in ("nano", "base"):
        first, second = (
            load_config(PretrainConfig, f"{FOLDER / name}.py:{preset}", [])
            for name in ("emotion2vec", "emotion2vec_s")
        )
        assert first.frontend == second.frontend and first.encoder == second.encoder
