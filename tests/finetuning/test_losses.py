"""All losses of fine-tuning together: in parts, on many devices, and from the test side's audio."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.finetuning.loss_checks import settle
from sersl.finetuning.task import FinetuneTask
from sersl.training.step import new_state
from sersl.training.task import StepContext
from tests.tiny_runs import FINETUNE
from tests.training.test_accumulate import both, check, on_mesh

ROWS, FRAMES, WIDTH = 16, 20, 16
SETTINGS = (
    *("encoder.num_layers=2", f"encoder.width={WIDTH}", "encoder.num_heads=2", "heads.hidden=8"),
    *("encoder.mlp_width=16", "frontend.num_mels=16", "heads.dropout=0.0", "pooling.hidden=4"),
    *("pooling.kind=statistics", "train.num_steps=100"),
)
CASES = {
    "focal, mse, tasks and coral, learned weights": (
        4,
        (2, 2),
        ("heads.category_loss=focal", "heads.dimensions_loss=mse", "tasks.gender_weight=0.5"),
        ("tasks.speaker_weight=0.2", "tasks.adversary=corpus", "tasks.weighting=uncertainty"),
        ("domain.kind=coral", "distill.teacher=run", "distill.kind=decoupled"),
        ("distill.labels=noisy", "distill.confidence=0.5"),
    ),
    "evidence and pseudo-labels": (
        2,
        (1, 1),
        ("heads.category_loss=evidential", "heads.dimensions_loss=evidential"),
        ("domain.kind=pseudo_labels", "domain.confidence=0.3", "domain.source_share=0.3"),
    ),
    "prototypes, contrast and mmd": (
        1,
        (2, 4),
        ("heads.category_loss=prototypes", "heads.contrast_weight=0.3", "domain.kind=mmd"),
        ("heads.prototype_width=4", "heads.contrast_width=6", "heads.dimensions_loss=mae"),
    ),
    "annotators and transport": (
        1,
        (2, 4),
        ("heads.category_loss=annotators", "heads.annotators=('a','b')", "domain.kind=ot"),
        ("distill.teacher=run", "distill.kind=cubic"),
    ),
    "margin disparity, two heads": (
        1,
        (2, 4),
        ("domain.kind=mdd", "co_teaching.noise=0.3", "heads.prototype_refinement=0.2"),
        ("heads.category_loss=prototypes", "heads.prototype_width=4"),
    ),
    "ordinal, transcript and dann": (
        2,
        (2, 2),
        ("heads.category_loss=ordinal", "labels.categories=('low','mid','high')"),
        ("pooling.kind=tokens", "tasks.transcript_weight=0.5", "domain.kind=dann"),
    ),
}
SIZES = {"gender": 2, "speaker": 4, "adversary": 2, "transcript": 5, "domain": 2, "contrast": 6}


def made(*settings, **options):
    config = load_config(FinetuneConfig, FINETUNE, [*SETTINGS, *settings])
    tasks, domain = config.tasks, config.domain
    wanted = {
        **{name: getattr(tasks, f"{name}_weight") for name in ("gender", "speaker", "transcript")},
        "adversary": tasks.adversary != "none",
        "domain": domain.kind in ("dann", "mdd"),
        "contrast": config.heads.contrast_weight,
    }
    sizes = {name: size for name, size in SIZES.items() if wanted[name]}
    sizes |= {"domain": 3} if domain.kind == "mdd" else {}
    task = FinetuneTask(settle(config), num_categories=3, stored=True, other_sizes=sizes, **options)
    params = new_state(task, optax.identity()).params
    random = np.random.default_rng(0)
    # Zero output layers would hide what is behind them.
    params = jax.tree.map(
        lambda x: x + 0.1 * random.normal(size=x.shape).astype(np.float32), params
    )
    return task, params


def batch_and_tables(task):
    random = np.random.default_rng(1)
    vectors = FRAMES if task.config.pooling.kind == "tokens" else 2
    real = random.integers(12, FRAMES, ROWS)
    length = 320 * FRAMES + 80
    samples = 320 * real + 80
    index = np.where(np.arange(ROWS) == 4, -1, np.arange(ROWS)[::-1])
    category = np.where(np.arange(ROWS) < 3, -1, random.integers(0, 3, ROWS))
    batch = {
        "hidden_states": random.normal(size=(ROWS, 3, vectors, WIDTH)).astype(np.float16),
        "valid": np.arange(length) < samples[:, None],
        "category": category.astype(np.int32),
        "dimensions": random.uniform(size=(ROWS, 3)).astype(np.float32),
        "utterance_index": index.astype(np.int32),
    }
    batch["category"][4], batch["dimensions"][4] = -1, np.nan
    batch["dimensions"][2:7, 1] = np.nan
    n = ROWS + 3
    constants = {
        "class_weights": jnp.array([0.5, 1.0, 3.0]),
        "gender": random.integers(-1, 2, n).astype(np.int32),
        "speaker": random.integers(0, 4, n).astype(np.int32),
        "adversary": random.integers(0, 2, n).astype(np.int32),
        "annotators": random.integers(-1, 3, (n, 2)).astype(np.int32),
        "transcript": random.integers(1, 5, (n, 4)).astype(np.int32),
        "target": np.arange(n) % 3 == 0,
        "teacher_scores": np.where(np.arange(n) % 5 == 1, np.nan, 2 * random.normal(size=(3, n))).T,
        "teacher_dimensions": random.uniform(size=(n, 3)),
        "teacher_shared": random.normal(size=(n, 5)),
    }
    wanted = task.config.distill.kind
    for name in ("scores", "dimensions", "shared"):
        table = constants.pop(f"teacher_{name}").astype(np.float32)
        if task.config.distill.teacher and (name != "shared" or wanted == "cubic"):
            constants[f"teacher_{name}"] = table
    constants["transcript"][:5] = -1
    return batch, {name: jnp.asarray(table) for name, table in constants.items()}


def loss_fn_of(task, constants, step=50):
    def loss_fn(params, batch, key):
        return task.loss(params, batch, StepContext(None, constants, jnp.int32(step), key))

    return loss_fn


@pytest.mark.parametrize("case", CASES)
def test_losses_when_in_parts_or_on_eight_devices_then_those_of_the_whole_batch(case):
    num_parts, mesh, *settings = CASES[case]
    task, params = made(*[text for group in settings for text in group])
    batch, constants = batch_and_tables(task)
    loss_fn = loss_fn_of(task, constants)
    whole, parts = both(loss_fn, params, batch, num_parts=num_parts, mesh=on_mesh(*mesh))
    check(whole, parts)
    (loss, _), gradient = whole
    assert np.isfinite(loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    # Everything that is made is trained by something, but for the frozen encoder.
    trained = {name: part for name, part in gradient.items() if name != "encoder"}
    if task.config.domain.kind == "pseudo_labels":
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(trained):
        assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


CHANGED = ("gender", "adversary")


def test_losses_when_labels_of_the_test_side_change_then_nothing_does():
    task, params = made("domain.kind=mmd", "tasks.gender_weight=1.0", "tasks.adversary=speaker")
    batch, constants = batch_and_tables(task)
    target = np.asarray(constants["target"])[np.maximum(batch["utterance_index"], 0)]
    target &= batch["utterance_index"] >= 0
    changed = dict(batch)
    changed["category"] = np.where(target, 2, batch["category"]).astype(np.int32)
    changed["dimensions"] = np.where(target[:, None], 0.9, batch["dimensions"]).astype(np.float32)
    tables = {
        **constants,
        **{name: jnp.where(constants["target"], 1, constants[name]) for name in CHANGED},
    }
    key = jax.random.key(0)
    loss, metrics = jax.jit(loss_fn_of(task, constants))(params, batch, key)
    other, _ = jax.jit(loss_fn_of(task, tables))(params, changed, key)
    assert loss == other
    assert metrics["domain_loss"].value() > 0


def test_losses_when_pseudo_labels_have_begun_then_labels_of_the_source_change_nothing():
    task, params = made("domain.kind=pseudo_labels", "domain.source_share=0.5")
    batch, constants = batch_and_tables(task)
    changed = {**batch, "category": np.roll(batch["category"], 3)}
    key = jax.random.key(0)
    found = [
        [jax.jit(loss_fn_of(task, constants, step))(params, b, key)[0] for b in (batch, changed)]
        for step in (10, 60)
    ]
    assert found[0][0] != found[0][1]
    assert found[1][0] == found[1][1]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (("heads.category_loss=ordinal",), r"list them in labels\.categories"),
        (
            ("heads.category_loss=focus",),
            "'focus'",
        ),
        (("heads.dimensions_loss=rmse",), r"heads\.dimensions_loss"),
        (("tasks.gender_weight=1", "combine.mixup_probability=0.5"), "combine mixes utterances"),
        (("tasks.weighting=uncertainty", "heads.dimensions_loss=evidential"), "may be negative"),
        (("co_teaching.noise=0.1", "combine.mixup_probability=0.5"), "combine mixes utterances"),
        (("co_teaching.noise=0.1", "heads.category_loss=votes"), "the raters' votes: leave co_t"),
        (("distill.labels=noisy",), r"there is none: give distill\.teacher"),
        (
            ("tasks.gender_weight=1", "heads.kind=linear", "pooling.layers=all"),
            r"tasks\.gender_weight changes nothing here",
        ),
    ],
)
def test_losses_when_settings_do_not_go_together_then_user_error(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        made(*settings)


def test_losses_when_several_categories_may_apply_then_only_cross_entropy():
    with pytest.raises(UserError, match=r"several may apply here: set it to 'cross_entropy'"):
        made("heads.category_loss=focal", multi=True)
    with pytest.raises(UserError, match=r"domain\.kind='mdd' is for one category per utterance"):
        made("domain.kind=mdd", multi=True)
