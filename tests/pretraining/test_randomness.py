"""Randomness is addressed by global row: every preset has one loss, whatever the mesh."""

import dataclasses
import functools
import runpy

import jax
import numpy as np
import pytest
from flax import nnx

from sersl.config.load import load_config
from sersl.config.schema import FrontendConfig, MeshConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.corpora.words import CANONICAL
from sersl.data.batch import VIEW, batch_arrays
from sersl.models.encoder import SpeechEncoder
from sersl.parallel.mesh import make_mesh
from sersl.parallel.random import run_key
from sersl.parallel.sharding import batch_sharding, logical_axes, param_shardings
from sersl.pretraining.task import PretrainTask
from sersl.pretraining.terms.language import LEVELS, PROPERTIES
from sersl.pretraining.terms.statistics import view_name
from sersl.runs.initial_weights import InitialWeights
from sersl.training.accumulate import loss_and_gradient
from sersl.training.step import make_teacher
from sersl.training.task import StepContext
from tests.pretraining.test_frame_recipes import FOLDER
from tests.tolerances import LOSS_ACROSS_MESHES

B, N = 8, 16_080
TEACHER_LAYERS, TEACHER_WIDTH = 3, 16
DROPOUT = ("encoder.dropout=0.2", "encoder.remat=none")
OF_TRANSFORMER = ("encoder.layer_drop=0.3", "encoder.activation_dropout=0.1")


def recipes():
    found = []
    for file in sorted(FOLDER.glob("*.py")):
        names = runpy.run_path(str(file))
        presets = names.get("PRESETS") or names["STEPS"]
        found += [f"{file.stem}:{name}" for name in presets if name.startswith("nano")]
    return found


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    acoustic = [f"{name}={level}" for name in PROPERTIES for level in LEVELS]
    folder = tmp_path_factory.mktemp("texts")
    for describe, names in (("category", CANONICAL), ("acoustics", acoustic)):
        embeddings = np.random.default_rng(0).normal(size=(len(names), 6))
        np.savez(folder / f"{describe}.npz", names=np.array(names), embeddings=embeddings)
    return folder


def teacher_of(config: PretrainConfig, number: int) -> InitialWeights:
    encoder = dataclasses.replace(
        type(config.encoder)(),
        num_layers=TEACHER_LAYERS,
        width=TEACHER_WIDTH,
        num_heads=2,
        mlp_width=16,
    )
    frontend = FrontendConfig(num_mels=16)
    model = SpeechEncoder(frontend, encoder, key=run_key(number, "teacher"))
    params = {"encoder": nnx.to_pure_dict(nnx.split(model)[1])}
    return InitialWeights(params, frontend, encoder, "teacher")


def task_of(recipe, texts):
    name = str(FOLDER / recipe.replace(":", ".py:"))
    plain = load_config(PretrainConfig, name, ())
    # One layer compiles faster; Vesper needs a lower and an upper half.
    settings = [*DROPOUT, f"encoder.num_layers={2 if plain.objectives.vesper.weight else 1}"]
    if plain.encoder.kind == "transformer":
        settings += OF_TRANSFORMER
    if plain.objectives.language.weight:
        file = texts / f"{plain.objectives.language.describe}.npz"
        settings.append(f"objectives.language.file={file}")
    config = load_config(PretrainConfig, name, settings)
    frozen = [teacher_of(config, i) for i, _ in enumerate(config.frozen_teachers)]
    kept = [teacher_of(config, i) for i, _ in enumerate(config.kept_teachers)]
    return PretrainTask(config, frozen=frozen, kept=kept)


def batch_of(task):
    rng = np.random.default_rng(0)
    batch = {}
    for name, array in batch_arrays(task.needs, rows=B, num_samples=N).items():
        if array.dtype == np.int32:
            batch[name] = rng.integers(0, 3, array.shape, dtype=np.int32)
        else:
            batch[name] = (0.1 * rng.normal(size=array.shape)).astype(array.dtype)
    batch["valid"] = np.arange(N) < rng.integers(9_000, N, B)[:, None]
    batch["utterance_index"] = np.arange(B, dtype=np.int32)
    if "intensity" in batch:
        batch["intensity"] = rng.uniform(size=batch["intensity"].shape).astype(np.float32)
    for number, _ in enumerate(task.config.kept_teachers):
        statistics = rng.normal(size=(B, TEACHER_LAYERS + 1, 2, TEACHER_WIDTH))
        batch[VIEW + view_name(number)] = statistics.astype(np.float16)
    return batch


def loss_on(task, batch, sizes, num_parts):
    devices = jax.devices()[: int(np.prod(sizes))]
    mesh = make_mesh(
        MeshConfig(**dict(zip(("data", "fsdp", "tensor"), sizes, strict=True))), devices
    )
    with jax.set_mesh(mesh):
        params = nnx.to_pure_dict(nnx.split(task.make_model())[1])
        params = jax.device_put(
            params, param_shardings(params, logical_axes(task.abstract), mesh)[0]
        )
        context = functools.partial(
            StepContext, make_teacher(task, params), task.constants(mesh), np.int32(3)
        )

        def loss_fn(params, batch, key):
            return task.loss(params, batch, context(key))

        run = jax.jit(
            functools.partial(loss_and_gradient, loss_fn, num_parts=num_parts),
        )
        (loss, _), _ = run(params, jax.device_put(batch, batch_sharding(mesh)), run_key(0, "step"))
        return float(loss)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", recipes())
def test_loss_when_a_batch_with_dropout_comes_in_parts_then_meshes_agree(
    recipe, texts, quick_compilation
):
    task = task_of(recipe, texts)
    batch = batch_of(task)
    try:
        alone = loss_on(task, batch, (1, 1, 1), num_parts=2)
        parts = 2
    except UserError as error:
        assert "train.accumulate_steps" in str(error)
        alone, parts = loss_on(task, batch, (1, 1, 1), num_parts=1), 1
    found = loss_on(task, batch, (2, 2, 2), num_parts=parts)
    np.testing.assert_allclose(found, alone, **LOSS_ACROSS_MESHES)
    assert np.isfinite(alone)
