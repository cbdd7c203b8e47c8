"""Fine-tuning on distorted and joined rows, from records to finite losses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sersl.config.schema import CombineConfig, FinetuneConfig
from sersl.eval.evaluator import validation_scores
from sersl.finetuning.run import finetune
from sersl.finetuning.task import FinetuneTask
from sersl.parallel.random import run_key
from sersl.training.task import StepContext
from tests.tiny_runs import finetune_config, never, values_of

SETTINGS = (
    *("distortion.speed_probability=0.5", "distortion.shuffle_probability=0.3"),
    *("distortion.noise_probability=0.5", "distortion.vtlp_probability=0.5"),
    *("combine.mixup_probability=0.5", "combine.copy_paste_probability=0.5"),
    *("train.num_steps=10", "evaluate_every_steps=10", "protocol.folds=('fold1',)"),
)


def small(**combine):
    config = finetune_config("nowhere", "encoder.num_layers=1", "encoder.dropout=0.0")
    heads = dataclasses.replace(config.heads, dropout=0.0)
    return dataclasses.replace(config, heads=heads, combine=CombineConfig(**combine))


def loss_of(config: FinetuneConfig):
    task = FinetuneTask(config, num_categories=3)
    params = nnx.to_pure_dict(nnx.split(task.make_model())[1])
    rng = np.random.default_rng(0)
    batch = {
        "waveform": jnp.asarray(0.1 * rng.normal(size=(4, 8_000)), jnp.float32),
        "valid": jnp.arange(8_000) < jnp.array([8_000, 4_000, 8_000, 6_000])[:, None],
        "category": jnp.array([0, 1, 0, -1]),
        "dimensions": jnp.asarray(rng.random((4, 3)), jnp.float32),
    }
    constants = {"class_weights": jnp.ones(3)}
    key = run_key(0, "step")
    batch = task.mix_rows(batch, key)
    return task.loss(params, batch, StepContext(None, constants, 0, key))[0]


def test_loss_when_rows_are_never_joined_then_that_of_the_plain_batch():
    assert loss_of(small()) == loss_of(small(mixup_alpha=2.0))
    assert abs(loss_of(small()) - loss_of(small(mixup_probability=1.0))) > 1e-4


@pytest.mark.slow
def test_finetune_when_rows_are_distorted_and_joined_then_losses_are_finite(data_dir, tmp_path):
    config = finetune_config(data_dir, *SETTINGS)
    finetune(
        config,
        tmp_path / "run",
        score=validation_scores,
        preempted=never,
        devices=jax.devices()[:1],
    )
    log = sorted((tmp_path / "run" / "folds").iterdir())[0]
    losses = [line["loss"] for line in values_of(log) if "loss" in line]
    assert len(losses) == 10 and np.isfinite(losses).all()
