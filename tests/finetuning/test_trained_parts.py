"""Adaptation of an encoder: what trains, from kept lower layers, on any number of devices."""

import dataclasses
import functools
import re
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx

from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.eval.answers import Answers
from sersl.finetuning.task import FinetuneTask
from sersl.finetuning.trained_parts import (
    Counts,
    fitting,
    num_frozen,
    scales_of,
    starts_of,
    with_copies,
)
from sersl.models.encoder import SpeechEncoder
from sersl.parallel.sharding import path_name
from sersl.runs.checkpoint import Checkpoints, load_params
from sersl.runs.initial_weights import InitialWeights
from sersl.training.loop import Preempted
from sersl.training.optimizer import NEVER
from sersl.training.step import param_shapes
from tests.finetuning.test_kept_outputs import fine_tuned
from tests.tiny_runs import ROOT, never, values_of

NANO = str(ROOT / "configs" / "finetune" / "adapt.py") + ":nano"
SMALL = tuple(
    f"encoder.{setting}" for setting in ("num_layers=3", "width=16", "num_heads=2", "mlp_width=32")
)
PLAIN = ("adaptation.head_steps=0", "pooling.standardize_outputs=false", "unfreeze=(('.*',0),)")
HALF = 5e-3  # relative: float16 has 11 bits, and training adds up


def config_of(*settings) -> FinetuneConfig:
    return load_config(FinetuneConfig, NANO, [*SMALL, "encoder.positions=sinusoidal", *settings])


@functools.cache
def weights_of(positions="sinusoidal") -> InitialWeights:
    config = config_of(f"encoder.positions={positions}")
    model = SpeechEncoder(config.frontend, config.encoder, key=jax.random.key(0))
    params = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.split(model)[1]))
    return InitialWeights(
        params={"encoder": params},
        frontend=config.frontend,
        encoder=config.encoder,
        source="a test",
    )


def run(config, workdir, *, data_dir, devices=1, preempted=never):
    data = dataclasses.replace(config.data, data_dir=str(data_dir))
    protocol = dataclasses.replace(
        config.protocol, num_folds=2, folds=("fold1",), final_model=False
    )
    config = dataclasses.replace(config, data=data, protocol=protocol)
    fold = fine_tuned(config, workdir, devices=devices, preempted=preempted, weights=weights_of())
    return values_of(fold), Answers.load(fold / "answers.npz"), load_params(fold)


def layout(*settings):
    """Gives the shapes of all parameters, and the step from which each trains."""
    config = config_of(*PLAIN, *settings)
    shapes = param_shapes(FinetuneTask(config, num_categories=3))
    return config, shapes, starts_of(config, shapes)


def trained(starts):
    flat = jax.tree_util.tree_flatten_with_path(starts)[0]
    names = {path_name(path): start for path, start in flat}
    return {name: start for name, start in names.items() if start != NEVER}


@pytest.fixture
def own_data(data_dir, tmp_path):
    """A copy of the small corpus, since outputs are kept beside it."""
    shutil.copytree(data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("outputs"))
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("settings", "pattern", "frozen"),
    [
        (("adaptation.trained_layers=0",), "encoder/", None),
        (("adaptation.trained_layers=1",), "encoder/context/(layers/2|norm)/", 2),
        (("adaptation.method=frozen",), "(?!encoder)", 3),
        (("adaptation.method=bias",), "encoder/context/.*bias", 2),
        (("adaptation.method=lora",), "encoder/context/layers/2/attention/(query|value)/ad", 2),
        (("adaptation.method=lora", "adaptation.trained_layers=0"), "encoder/.*/adapter/", 0),
        (("adaptation.method=bottleneck",), "encoder/.*/(output|mlp_out)/adapter/", 2),
        (("adaptation.method=prefix",), "encoder/context/layers/2/attention/prefix/", 2),
        (("adaptation.method=extension",), "encoder/context/layers/2/extension/", 2),
    ],
)
def test_starts_when_a_method_is_given_then_it_decides_what_trains(settings, pattern, frozen):
    config, shapes, starts = layout(*settings)
    names = trained(starts)
    of_encoder = [name for name in names if name.startswith("encoder/")]
    assert {"category/output/kernel", "category/output/bias"} <= set(names)
    assert all(re.match(pattern, name) for name in of_encoder)
    assert bool(of_encoder) == (config.adaptation.method != "frozen")
    assert num_frozen(starts, 3) == frozen
    flat = jax.tree_util.tree_flatten_with_path(shapes)[0]
    sizes = {path_name(path): leaf.size for path, leaf in flat}
    counts = Counts.of(shapes, starts)
    assert counts == (sum(sizes[name] for name in names), sum(sizes.values()))


def test_starts_when_unfreezing_gradually_then_the_top_layer_begins():
    names = trained(layout("adaptation.trained_layers=0", "adaptation.gradual_steps=10")[2])
    layers = {i: {s for n, s in names.items() if f"layers/{i}/" in n} for i in range(3)}
    assert layers == {2: {10}, 1: {20}, 0: {30}}
    assert names["encoder/context/norm/scale"] == 10 and names["category/output/bias"] == 0
    assert {start for name, start in names.items() if "frontend" in name} == {40}


def test_scales_when_the_learning_rate_decays_then_by_layer():
    config, shapes, _ = layout("adaptation.layer_decay=0.5", "encoder_learning_rate_scale=2.0")
    flat = jax.tree_util.tree_flatten_with_path(scales_of(config, shapes))[0]
    scales = {path_name(path): scale for path, scale in flat}
    found = [scales[f"encoder/context/layers/{i}/mlp_in/kernel"] for i in range(3)]
    assert found == [0.5, 1.0, 2.0] and scales["encoder/context/norm/scale"] == 2.0
    assert scales["encoder/mask_embedding"] == 0.25 and scales["category/output/bias"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("settings", [(), ("pooling.layers=last",)])
def test_finetune_when_lower_layers_are_kept_then_as_with_the_encoder_in_every_step(
    own_data, tmp_path, settings
):
    config = config_of(*PLAIN, "adaptation.frame_share=1.0", *settings)
    logged, answers, params = run(config, tmp_path / "kept", data_dir=own_data)
    assert len(list(own_data.glob("synthetic/*/outputs/*"))) == 1
    plain = dataclasses.replace(config, store="off")
    expected, expected_answers, _ = run(plain, tmp_path / "plain", data_dir=own_data)
    np.testing.assert_allclose(
        [line["loss"] for line in logged], [line["loss"] for line in expected], rtol=HALF
    )
    np.testing.assert_allclose(answers.scores, expected_answers.scores, atol=HALF)
    before = weights_of().params["encoder"]["context"]["layers"]
    after = params["encoder"]["context"]["layers"]
    for i, changed in ((0, False), (1, False), (2, True)):
        kernels = [layers[i]["mlp_in"]["kernel"] for layers in (before, after)]
        assert np.array_equal(*kernels) != changed


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "extension"])
def test_finetune_when_on_eight_devices_then_as_on_one(own_data, tmp_path, method):
    config = config_of(
        f"adaptation.method={method}",
        "encoder.dropout=0.1",
        "train.accumulate_steps=2",
        "train.num_steps=6",
        "train.log_every_steps=1",
    )
    one = run(config, tmp_path / "one", data_dir=own_data)
    eight = run(config, tmp_path / "eight", devices=8, data_dir=own_data)
    np.testing.assert_allclose(
        [line["loss"] for line in one[0]], [line["loss"] for line in eight[0]], rtol=1e-4
    )
    np.testing.assert_allclose(one[1].scores, eight[1].scores, atol=1e-4)


def test_with_copies_when_layers_are_extended_then_the_copies_have_their_weights():
    config = config_of("adaptation.method=extension", "adaptation.trained_layers=2")
    layers = with_copies(weights_of(), config).params["encoder"]["context"]["layers"]
    assert [("extension" in layers[i]) for i in range(3)] == [False, True, True]
    for name in ("attention", "mlp_in"):
        jax.tree.map(
            np.testing.assert_array_equal, layers[2]["extension"]["layer"][name], layers[2][name]
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("adaptation.trained_layers=4",), "the encoder has 3 layers: give at most"),
        (("encoder.scan_layers=true",), "encoder.scan_layers=True cannot: set it to False"),
        (("adaptation.method=lora", "adaptation.targets=nothing"), "matches no linear map"),
        (("encoder.positions=rotary",), "use the distances of frames .* set it to 1"),
    ],
)
def test_starts_when_a_setting_does_not_fit_then_user_error(settings, message):
    with pytest.raises(UserError, match=message):
        layout(*settings)


def test_finetune_when_frames_are_drawn_without_kept_outputs_then_user_error(own_data, tmp_path):
    config = config_of(*PLAIN, "store=off", "adaptation.trained_layers=1")
    with pytest.raises(UserError, match=r"frame_share needs the .* \(store=off\): set it to 1.0"):
        run(config, tmp_path / "run", data_dir=own_data)


@pytest.mark.slow
def test_finetune_when_stopped_and_resumed_then_every_parameter_is_the_same(own_data, tmp_path):
    settings = ("adaptation.method=bottleneck", "encoder.dropout=0.1", "train.num_steps=6")
    config = config_of(*settings)
    _, whole_answers, whole = run(config, tmp_path / "whole", data_dir=own_data)
    with pytest.raises(Preempted):
        run(config, tmp_path / "run", data_dir=own_data, preempted=lambda step: step == 3)
    saved = Checkpoints(tmp_path / "run" / "folds" / "fold1" / "checkpoints", keep_last=1)
    assert saved.steps() == [3]
    _, answers, params = run(config, tmp_path / "run", data_dir=own_data)
    jax.tree.map(np.testing.assert_array_equal, params, whole)
    np.testing.assert_array_equal(answers.scores, whole_answers.scores)


@pytest.mark.slow
def test_finetune_when_heads_train_first_then_they_begin_better_and_the_encoder_as_it_was(
    own_data, tmp_path
):
    settings = ("train.num_steps=1", "train.log_every_steps=1", "optimizer.learning_rate=0.01")
    still = ("encoder_learning_rate_scale=0.0", "adaptation.frame_share=1.0", "heads.dropout=0.0")
    losses = {}
    for steps in (0, 60):
        config = config_of(*settings, *still, f"adaptation.head_steps={steps}")
        logged, _, params = run(config, tmp_path / str(steps), data_dir=own_data)
        losses[steps] = logged[0]["loss"]
        kernels = [
            tree["encoder"]["context"]["layers"][2]["mlp_in"]["kernel"]
            for tree in (params, weights_of().params)
        ]
        np.testing.assert_array_equal(*kernels)
    assert losses[60] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ((), r"pooled outputs, and pooling.kind=attentive_statistics"),
        (
            ("pooling.standardize_outputs=true", "adaptation.head_steps=0"),
            "standardizes the frames of a frozen encoder, and its upper layers train",
        ),
    ],
)
def test_finetune_when_upper_layers_train_and_the_pooling_reads_frames_then_user_error(
    own_data, tmp_path, settings, sentence
):
    config = config_of(
        "pooling.kind=attentive_statistics",
        "pooling.layers=weighted",
        "pooling.standardize_outputs=false",
        *settings,
    )
    with pytest.raises(UserError, match=sentence):
        run(config, tmp_path / "run", data_dir=own_data)


@pytest.mark.parametrize(
    ("changes", "kept", "told"),
    [
        ({}, {"encoder", "pooling", "category", "dimensions"}, []),
        ({"names": ("sad", "angry")}, {"encoder", "pooling", "dimensions"}, ["category"]),
        ({"names": ("a", "b", "c")}, {"encoder", "pooling", "dimensions"}, ["category"]),
        ({"dimensions": ("valence",)}, {"encoder", "pooling", "category"}, ["dimensions"]),
        ({"pooling": 4}, {"encoder", "category", "dimensions"}, ["pooling"]),
    ],
)
def test_fitting_when_a_released_model_predicts_other_names_then_its_heads_start_anew(
    changes, kept, told
):
    wanted = {"names": ("angry", "sad"), "dimensions": ("arousal",), "pooling": 3} | changes
    targets = SimpleNamespace(
        view=SimpleNamespace(names=wanted["names"]), dimensions=wanted["dimensions"]
    )

    def params(pooling, categories):
        layers = {"context": {"layers": {0: np.zeros(2)}}}
        heads = {"category": {"k": np.zeros((3, categories))}, "dimensions": np.zeros((3, 1))}
        return {"encoder": layers, "pooling": np.zeros(pooling), **heads}

    weights = dataclasses.replace(
        weights_of(),
        params=params(3, 2),
        predicts={"category": ("angry", "sad"), "dimensions": ("arousal",)},
    )
    lines = []
    shapes = params(wanted["pooling"], len(wanted["names"]))
    found = fitting(weights, shapes, targets, say=lines.append)
    assert set(found.params) == kept
    assert [line.split("its ")[1].split()[0] for line in lines] == told
