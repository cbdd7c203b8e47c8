"""A batch in parts has the loss and the gradient of the whole, whatever its means divide by."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sersl.audio.prosody import PROSODY_NAMES
from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig, MeshConfig
from sersl.core.errors import UserError
from sersl.core.lengths import num_samples
from sersl.finetuning.task import FinetuneTask
from sersl.objectives.code_prediction import code_prediction
from sersl.objectives.contrastive import diversity
from sersl.objectives.cpc import negative_pool
from sersl.objectives.distill import distill
from sersl.objectives.language import label_targets, soft_contrast
from sersl.objectives.mean import Mean
from sersl.objectives.multiview import nt_xent
from sersl.objectives.regression import prosody_regression
from sersl.parallel.mesh import make_mesh
from sersl.parallel.sharding import batch_sharding
from sersl.training.accumulate import loss_and_gradient, split_rows
from sersl.training.step import new_state
from sersl.training.task import StepContext
from tests.tiny_runs import FINETUNE
from tests.tolerances import FP32

ROWS = 16
KEY = jax.random.key(0)
# Each part draws its own random numbers, so the numbers of the whole need runs without them.
NOTHING_RANDOM = (
    "encoder.dropout=0.0",
    "heads.dropout=0.0",
    "augment.time_mask_fraction=0.0",
    "augment.band_mask_width=0",
    "augment.gain_db=0.0",
)


def on_mesh(data, fsdp, tensor=1):
    devices = jax.devices()[: data * fsdp * tensor]
    return make_mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor), devices)


def both(loss_fn, params, batch, *, num_parts, mesh):
    """Loss, metrics and gradient of the whole batch on one device, and in parts on a mesh."""

    def run(parts, key):
        return jax.jit(
            lambda p, b: loss_and_gradient(loss_fn, p, b, key, num_parts=parts),
        )

    whole = run(1, KEY)(params, batch)
    with jax.set_mesh(mesh):
        placed = jax.device_put(batch, batch_sharding(mesh))
        parts = run(num_parts, KEY)(params, placed)
    return jax.device_get(whole), jax.device_get(parts)


def check(whole, parts):
    (loss, metrics), gradient = whole
    (loss_in_parts, metrics_in_parts), gradient_in_parts = parts
    np.testing.assert_allclose(loss_in_parts, loss, **FP32)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        other = dict(jax.tree_util.tree_leaves_with_path(gradient_in_parts))[path]
        np.testing.assert_allclose(other, leaf, err_msg=jax.tree_util.keystr(path), **FP32)
    assert metrics.keys() == metrics_in_parts.keys()
    for name, mean in metrics.items():
        if mean.weight:
            ratio = metrics_in_parts[name].total / metrics_in_parts[name].weight
            np.testing.assert_allclose(ratio, mean.total / mean.weight, err_msg=name, **FP32)


@pytest.mark.parametrize(("num_parts", "sizes"), [(4, (2, 2)), (2, (1, 1))])
def test_supervised_losses_in_parts_are_those_of_the_whole_batch(num_parts, sizes):
    config = load_config(FinetuneConfig, FINETUNE, NOTHING_RANDOM)
    task = FinetuneTask(config, num_categories=3)
    state = new_state(task, optax.identity())
    random = np.random.default_rng(0)
    length = num_samples(40)
    real = random.integers(2000, length, ROWS)
    # Labels lie unevenly: whole parts have none, and each dimension is known in other rows.
    category = np.where(np.arange(ROWS) < 5, -1, random.integers(0, 3, ROWS)).astype(np.int32)
    dimensions = random.uniform(size=(ROWS, 3)).astype(np.float32)
    dimensions[3:9, 0] = np.nan
    dimensions[:12, 1] = np.nan
    batch = {
        "waveform": random.normal(size=(ROWS, length)).astype(np.float32) * 0.1,
        "valid": np.arange(length) < real[:, None],
        "category": category,
        "dimensions": dimensions,
    }
    constants = {"class_weights": jnp.array([0.5, 1.0, 3.0])}

    def loss_fn(params, batch, key):
        return task.loss(params, batch, StepContext(None, constants, jnp.int32(0), key))

    check(*both(loss_fn, state.params, batch, num_parts=num_parts, mesh=on_mesh(*sizes)))


@pytest.mark.parametrize("num_parts", [2, 4])
def test_pretraining_losses_in_parts_are_those_of_the_whole_batch(num_parts):
    num_frames, width, codes = 12, 8, 5
    random = np.random.default_rng(1)
    # Rows of the first part are hardly masked: the parts' means have very different weights.
    masked = random.uniform(size=(ROWS, num_frames)) < np.linspace(0.2, 0.9, ROWS)[:, None]
    prosody = random.normal(size=(ROWS, num_frames, 6)).astype(np.float32)
    prosody[:10, :, 0] = np.nan  # F0 of voiced frames: none in some parts
    # Rows of the first part have no code.
    book = np.where(np.arange(ROWS)[:, None] % 4, random.integers(0, codes, masked.shape), -1)
    batch = {
        "book": book.astype(np.int32),
        "x": random.normal(size=(ROWS, num_frames, width)).astype(np.float32),
        "target": random.normal(size=(ROWS, num_frames, width)).astype(np.float32),
        "codes": random.integers(0, codes, (ROWS, num_frames, 2)).astype(np.int32),
        "prosody": prosody,
        "masked": masked,
    }
    params = {
        "context": random.normal(size=(width, width)).astype(np.float32),
        "logits": random.normal(size=(width, 2 * codes)).astype(np.float32),
        "prosody": random.normal(size=(width, 6)).astype(np.float32),
    }

    def loss_fn(params, batch, key):
        del key
        x, masked = batch["x"], batch["masked"]
        context = x @ params["context"]
        logits = (x @ params["logits"]).reshape(*x.shape[:2], 2, codes)

        rows = masked.astype(jnp.float32)
        metrics, total = {}, jnp.float32(0.0)
        for weight, (loss, found) in (
            (0.1, diversity(batch["codes"], jax.nn.softmax(logits), masked=masked)),
            (2.0, prosody_regression(x @ params["prosody"], batch["prosody"], weights=rows,
                                     names=PROSODY_NAMES)),
            (1.0, distill(context, batch["target"], masked=masked, weights=rows)),
            (0.5, code_prediction({"k": logits[:, :, 0]}, {"k": batch["book"]}, weights=rows,
                                  name="clusters")),
        ):  # fmt: skip
            total, metrics = total + weight * loss, metrics | found
        # Variances over the frames at hand are looked at, not trained on.
        return total, {name: m for name, m in metrics.items() if "variance" not in name}

    check(*both(loss_fn, params, batch, num_parts=num_parts, mesh=on_mesh(2, 2)))


def test_split_rows_leaves_every_row_on_its_device():
    mesh = on_mesh(2, 2)
    rows = jnp.arange(ROWS, dtype=jnp.int32)[:, None] * jnp.ones((1, 3), jnp.int32)
    with jax.set_mesh(mesh):
        compiled = (
            jax.jit(lambda x: split_rows(x, 2))
            .lower(jax.ShapeDtypeStruct(rows.shape, rows.dtype, sharding=batch_sharding(mesh)))
            .compile()
        )
        parts = compiled(jax.device_put(rows, batch_sharding(mesh)))
    np.testing.assert_array_equal(parts[0, :, 0], [0, 2, 4, 6, 8, 10, 12, 14])
    np.testing.assert_array_equal(parts[1, :, 0], [1, 3, 5, 7, 9, 11, 13, 15])
    for collective in ("all-gather", "all-to-all", "collective-permute", "all-reduce"):
        assert collective not in compiled.as_text()


def test_split_rows_when_they_do_not_divide_then_the_setting_is_named():
    with (
        jax.set_mesh(on_mesh(2, 2)),
        pytest.raises(UserError, match=r"accumulate_steps=3: set data.row_multiple to .* of 12"),
    ):
        split_rows(jnp.zeros([16, 2]), 3)


def of_speakers(x, rows):
    pool = negative_pool(rows, negatives="speaker")
    return x.sum() * pool.sum(), {"pool": Mean.of(pool)}


def of_texts(x, rows):
    targets = label_targets(rows)
    return soft_contrast(x, x, targets, log_scale=jnp.zeros([]), counted=rows >= 0)


@pytest.mark.parametrize(
    ("loss", "setting"),
    [
        (of_speakers, "cpc.negatives='speaker'"),
        (lambda x, rows: nt_xent(x, x, identity=rows, temperature=0.1), "contrast between"),
        (of_texts, "objectives.language"),
    ],
)
def test_contrast_over_the_batch_when_it_comes_in_parts_then_is_refused(loss, setting):
    batch = {"x": jnp.ones((8, 4)), "rows": jnp.arange(8, dtype=jnp.int32)}

    def loss_fn(params, batch, key):
        del key
        return loss(params * batch["x"], batch["rows"])

    with pytest.raises(UserError, match=f"{setting}.* compares all rows of a batch"):
        loss_and_gradient(loss_fn, jnp.float32(1.0), batch, KEY, num_parts=2)
