"""Objectives and mixing use rows of other devices; no device gathers the whole batch for it."""

import jax
import numpy as np
import pytest

from sersl.config.load import from_mapping, load_config
from sersl.config.schema import CombineConfig, FinetuneConfig, MeshConfig, PretrainConfig
from sersl.core.lengths import num_frames, num_samples
from sersl.data.buckets import Bucket
from sersl.finetuning.task import FinetuneTask
from sersl.parallel.mesh import make_mesh
from sersl.parallel.random import run_key
from sersl.parallel.sharding import batch_sharding
from sersl.pretraining.task import PretrainTask
from sersl.training.optimizer import make_optimizer
from sersl.training.step import Layout, abstract_state, make_step, new_state, param_shapes
from tests.own_rows import largest_gather
from tests.pretraining.terms.test_frame_terms import merged
from tests.tiny_runs import FINETUNE
from tests.tolerances import FP32

BUCKET = Bucket(num_samples(60), 32)
SMALL = {
    "encoder": {"num_layers": 1, "width": 16, "num_heads": 2, "mlp_width": 16, "dropout": 0.0},
    "frontend": {"num_mels": 20},
    "masking": {"rule": "none", "span": 4},
}
MIXING = {"mixing": {"probability": 1.0}, "objectives": {"denoise": {"weight": 1.0, "width": 8}}}
CASES = {
    "information": {"objectives": {"information": {"weight": 1.0, "hidden": 8, "chunk": 10}}},
    "cpc": {
        "encoder": {"kind": "gru"},
        "objectives": {"cpc": {"weight": 1.0, "steps": 2, "num_negatives": 64}},
    },
    "mixing": MIXING,
    "mixing in parts": {
        **MIXING,
        "objectives": {"denoise": {"weight": 1.0, "contrast_share": 0.0}},
        "train": {"accumulate_steps": 2},
    },
}


@pytest.mark.parametrize("case", CASES)
def test_step_when_rows_use_other_rows_then_no_device_gathers_the_batch(case):
    config = from_mapping(PretrainConfig, merged(SMALL, CASES[case]))
    task, mesh = PretrainTask(config), make_mesh(MeshConfig(data=2, fsdp=4))
    with jax.set_mesh(mesh):
        optimizer = make_optimizer(config.optimizer, param_shapes(task), num_steps=10)
        state, _ = abstract_state(task, optimizer, mesh)
        step = make_step(task, optimizer, seed=0, accumulate_steps=config.train.accumulate_steps)
        layout = Layout(mesh=mesh, buckets=[BUCKET], needs=task.needs)
        compiled = jax.jit(step).lower(state, layout.batch(BUCKET), {}).compile()
    hidden = BUCKET.rows * num_frames(BUCKET.num_samples) * config.encoder.width * 4
    assert largest_gather(compiled, mesh) < hidden / 4
    assert "collective-permute" in compiled.as_text()


@pytest.mark.parametrize("name", ["mixup_probability", "copy_paste_probability"])
def test_combined_rows_when_spread_then_those_of_one_device_and_no_device_gathers_them(name):
    config = load_config(FinetuneConfig, FINETUNE, [f"combine.{name}=1.0"])
    assert config.combine != CombineConfig()
    task, mesh = FinetuneTask(config, num_categories=3), make_mesh(MeshConfig(data=2, fsdp=4))
    rng = np.random.default_rng(0)
    lengths = rng.integers(4_000, 8_000, 16)
    valid = np.arange(8_000) < lengths[:, None]
    batch = {
        "waveform": (rng.normal(size=(16, 8_000)) * valid).astype(np.float32),
        "valid": valid,
        "category": rng.integers(-1, 3, 16).astype(np.int32),
        "dimensions": rng.random((16, 3)).astype(np.float32),
    }
    run, key = jax.jit(task.mix_rows), run_key(0, "step")
    alone = run(batch, key)
    with jax.set_mesh(mesh):
        placed = jax.device_put(batch, batch_sharding(mesh))
        compiled = run.lower(placed, key).compile()
        spread = compiled(placed, key)
    assert not np.array_equal(alone["waveform"], batch["waveform"])
    for one in alone:
        np.testing.assert_array_equal(spread[one], alone[one])
    assert largest_gather(compiled, mesh) < batch["waveform"].nbytes / 100


def test_mixing_when_the_batch_comes_in_parts_then_partners_are_of_the_whole_batch():
    config = from_mapping(PretrainConfig, merged(SMALL, CASES["mixing in parts"]))
    task, rng = PretrainTask(config), np.random.default_rng(0)
    optimizer = make_optimizer(config.optimizer, param_shapes(task), num_steps=10)
    batch = {
        "waveform": rng.normal(size=(8, 8_080)).astype(np.float32) / 9,
        "valid": np.ones((8, 8_080), bool),
        "utterance_index": np.arange(8, dtype=np.int32),
    }
    losses = []
    for parts in (1, 2, 4):
        step = jax.jit(make_step(task, optimizer, seed=0, accumulate_steps=parts))
        _, metrics = step(new_state(task, optimizer), batch, {})
        losses.append(metrics["denoise_l1"].total / metrics["denoise_l1"].weight)
    np.testing.assert_allclose(losses[1:], losses[0], **FP32)
