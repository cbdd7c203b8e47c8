"""Heads on inner layers: trained by labels and by the last layer, and blind to padding."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.finetuning.ideas.idea_checks import exit_sizes
from sersl.finetuning.ideas.task_shapes import lay_out
from sersl.finetuning.targets import choose_targets
from sersl.finetuning.task import FinetuneTask
from sersl.training.step import new_state
from tests.finetuning.test_losses import SETTINGS, loss_fn_of
from tests.finetuning.test_targets import FOLDS, VIEW, source_of
from tests.tiny_runs import FINETUNE
from tests.tolerances import FP32
from tests.training.test_accumulate import NOTHING_RANDOM, both, check, on_mesh

ROWS, SAMPLES = 8, 4_080


def config_of(*settings):
    own = (*SETTINGS, *NOTHING_RANDOM, "distill.exit_weight=1.0", *settings)
    return load_config(FinetuneConfig, FINETUNE, own)


def batch_of(noise):
    random = np.random.default_rng(0)
    valid = np.arange(SAMPLES) < random.integers(2_000, SAMPLES, ROWS)[:, None]
    waveform = np.where(valid, 0.1 * random.normal(size=valid.shape), noise)
    return {
        "waveform": waveform.astype(np.float32),
        "valid": valid,
        "category": np.array([0, 1, 2, -1] * 2, np.int32),
        "dimensions": np.full((ROWS, 3), np.nan, np.float32),
        "utterance_index": np.arange(ROWS, dtype=np.int32),
    }


def test_exits_when_in_parts_on_four_devices_then_those_of_the_whole_and_blind_to_padding():
    task = FinetuneTask(config_of(), num_categories=3, other_sizes={"exit_1": 3})
    params = new_state(task, optax.identity()).params
    loss_fn = loss_fn_of(task, {"class_weights": jnp.ones(3)})
    whole, parts = both(loss_fn, params, batch_of(0.0), num_parts=2, mesh=on_mesh(2, 2))
    check(whole, parts)
    (loss, metrics), gradient = whole
    head = gradient["training_heads"]["exit_1"]
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(head))
    assert metrics["exit_1_loss"].weight == 6
    padded, _ = jax.jit(loss_fn)(params, batch_of(0.9), jax.random.key(0))
    np.testing.assert_allclose(padded, loss, **FP32)


def test_exits_when_layers_are_frozen_then_only_those_that_train_and_refused_without_any():
    config = config_of("encoder.num_layers=4")
    starts = {"encoder": {"context": {"layers": {i: {"bias": 0} for i in range(4)}}}}
    assert exit_sizes(config, starts, num_categories=3) == {"exit_1": 3, "exit_2": 3, "exit_3": 3}
    starts["encoder"]["context"]["layers"][0]["bias"] = -1
    assert list(exit_sizes(config, starts, num_categories=3)) == ["exit_2", "exit_3"]
    with pytest.raises(UserError, match="a layer that trains below the last one"):
        exit_sizes(config_of("encoder.num_layers=1"), starts, num_categories=3)


def test_layout_when_there_are_exits_then_their_heads_train_from_step_zero():
    config = config_of()
    targets = choose_targets(config, [source_of()], VIEW, FOLDS)
    layout = lay_out(config, targets, {})
    heads = layout.shapes["training_heads"]
    assert set(heads) == {"exit_1"} and heads["exit_1"]["kernel"].shape[1] == len(VIEW.names)
    assert set(jax.tree.leaves(layout.starts["training_heads"])) == {0}
