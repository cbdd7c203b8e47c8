"""The losses of fine-tuning where labels are missing."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sersl.finetuning.task import FinetuneTask
from sersl.parallel.random import run_key
from sersl.training.loop import read_means
from sersl.training.task import StepContext
from tests.tiny_runs import finetune_config


@pytest.mark.parametrize("labelled", [False, True])
def test_loss_when_no_row_of_a_batch_has_a_label_then_none_is_logged(labelled):
    config = finetune_config("nowhere", "encoder.num_layers=1")
    task = FinetuneTask(config, num_categories=3)
    params = nnx.to_pure_dict(nnx.split(task.make_model())[1])
    batch = {
        "waveform": jnp.ones((2, 4_000)),
        "valid": jnp.ones((2, 4_000), bool),
        "category": jnp.array([1 if labelled else -1, -1]),
        "dimensions": jnp.full((2, 3), jnp.nan),
    }
    context = StepContext(None, {"class_weights": jnp.ones(3)}, 0, run_key(0, "step"))
    loss, metrics = task.loss(params, batch, context)
    logged = read_means(metrics)
    assert np.isfinite(loss) and (loss > 0) == labelled
    assert ("loss" in logged) == labelled and ("category_loss" in logged) == labelled
    assert "dimensions_loss" not in logged
