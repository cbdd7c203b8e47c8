"""Published networks over features and over the frames of an encoder, trained."""

import csv
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sersl.config.frame_network import NetworkConfig
from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig, PoolingConfig
from sersl.core.errors import UserError
from sersl.corpora.prepare import prepare
from sersl.eval.answers import Answers
from sersl.eval.evaluator import validation_scores
from sersl.finetuning.run import finetune
from sersl.models.networks.all_networks import NETWORKS, SPECTRAL
from sersl.models.pooling.pooling import Pooling
from tests.models.small import compiled
from tests.tiny_runs import ROOT, never, values_of
from tests.tolerances import FP32

KEY = jax.random.key(0)
T, D = 20, 24
CONFIGS = ROOT / "configs" / "finetune"


def pooling_of(name, **changes):
    network = NetworkConfig(
        kind=name,
        windows_per_frame=2 if name in SPECTRAL else 1,
        width=8,
        depth=2,
        num_heads=2,
        dropout=0.0,
    )
    config = PoolingConfig(**{"kind": "mean", "layers": "last", "network": network} | changes)
    return Pooling(1, D, config, key=KEY)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_network_when_trained_on_eight_utterances_then_it_tells_them_apart(kind):
    rng = np.random.default_rng(0)
    states = rng.normal(size=(2, 8, T, D)).astype(np.float32)
    valid = np.arange(T) < rng.integers(T // 2, T + 1, 8)[:, None]
    target = np.arange(8) % 4
    pooling = pooling_of(kind)
    params, run = compiled(pooling)
    head = 0.1 * rng.normal(size=(pooling.num_outputs, 4)).astype(np.float32)
    optimizer = optax.adam(1e-2)

    def loss(both):
        logits = run(both[0], states, valid)[0] @ both[1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, target).mean()

    @jax.jit
    def step(both, moments):
        value, gradient = jax.value_and_grad(loss)(both)
        change, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(both, change), moments, value

    both = (params, jnp.asarray(head))
    moments, values = optimizer.init(both), []
    for _ in range(150):
        both, moments, value = step(both, moments)
        values.append(float(value))
    assert values[0] > 1.0
    assert values[-1] < 0.1


@pytest.mark.parametrize("kind", ["mean", "max", "attentive_statistics"])
def test_network_when_pooled_from_kept_frames_then_equal_to_the_call(kind):
    params, run = compiled(pooling_of("frame_graph", kind=kind))
    pooling = pooling_of("frame_graph", kind=kind)
    states = np.random.default_rng(1).normal(size=(2, 3, T, D)).astype(np.float32)
    valid = np.arange(T) < np.array([20, 11, 1])[:, None]
    vector, frames = run(params, states, valid)
    assert vector.shape == (3, pooling.num_outputs)
    assert frames.shape == (3, T, pooling.num_outputs)
    kept = pooling.outputs(states, valid)
    assert kept.shape == (3, 1, T, D)
    np.testing.assert_allclose(pooling.of_outputs(kept, valid), vector, **FP32)


def test_network_when_all_layers_are_pooled_then_user_error():
    with pytest.raises(UserError, match=r"and a network, which pools the sum of layers"):
        pooling_of("frame_graph", layers="all")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "preset"),
    [("networks", "nano"), ("networks", "blstm"), ("windows", "dwformer")],
)
def test_finetune_when_a_network_is_trained_for_twenty_steps_then_scored(
    file, preset, data_dir, tmp_path
):
    config = load_config(
        FinetuneConfig,
        f"{CONFIGS / file}.py:{preset}",
        [
            f"data.data_dir={data_dir}",
            *("protocol.num_folds=2", "protocol.final_model=false", "train.num_steps=20"),
            *("train.log_every_steps=5", "evaluate_every_steps=10", "data.num_buckets=1"),
            *("data.max_seconds=1.2", "data.seconds_per_batch=9.6", "pooling.network.width=4"),
        ],
    )
    if file == "windows":  # without weights to start from the encoder trains as well
        encoder = dataclasses.replace(
            config.encoder, num_layers=1, width=16, num_heads=2, mlp_width=16
        )
        pooling = dataclasses.replace(config.pooling, standardize_outputs=False)
        config = dataclasses.replace(
            config, encoder=encoder, pooling=pooling, unfreeze=((".*", 0),)
        )
    one = jax.devices()[:1]
    finetune(config, tmp_path, score=validation_scores, preempted=never, devices=one)
    for fold in sorted((tmp_path / "folds").iterdir()):
        losses = [line["loss"] for line in values_of(fold) if "loss" in line]
        assert len(losses) >= 4 and np.isfinite(losses).all()
        assert np.isfinite(Answers.load(fold / "answers.npz").scores).all()


@pytest.mark.slow
@pytest.mark.corpora
def test_finetune_when_a_network_reads_real_speech_for_twenty_steps_then_the_loss_falls(
    corpora_dir, tmp_path
):
    folder = corpora_dir / "ravdess"
    with open(folder / "manifest.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["emotion"] in ("angry", "sad")]
    with open(tmp_path / "few.csv", "w") as file:
        file.write("path,speaker,emotion\n")
        file.writelines(
            f"{folder / row['path']},{row['speaker']},{row['emotion']}\n"
            for row in rows
            if row["speaker"] in ("01", "02", "03", "04")
        )
    data = tmp_path / "data"
    prepare(data_dir=data, manifest=tmp_path / "few.csv", name="few", allow_outside_paths=True)
    settings = (
        *(f"data.data_dir={data}", "data.corpora=few", "data.max_seconds=2.4"),
        *("data.num_buckets=1", "data.seconds_per_batch=38.4", "train.log_every_steps=1"),
        *("protocol.num_folds=2", "protocol.final_model=false"),
    )
    config = load_config(FinetuneConfig, f"{CONFIGS}/networks.py:nano", settings)
    workdir = tmp_path / "run"
    one = jax.devices()[:1]
    finetune(config, workdir, score=validation_scores, preempted=never, devices=one)
    for fold in sorted((workdir / "folds").iterdir()):
        losses = [line["loss"] for line in values_of(fold) if "loss" in line]
        assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:3])
