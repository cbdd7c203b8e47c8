"""A frozen encoder is saved once for all folds, and old workdirs open as before."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.finetuning.best import BestKeeper
from sersl.finetuning.shared_params import SharedParams
from sersl.runs.checkpoint import Checkpoints, load_params
from sersl.runs.param_parts import shared_folder
from sersl.training.optimizer import NEVER
from sersl.training.state import TrainState
from tests.finetuning.test_best import answers_of


def params_of(step, encoder=1.0):
    return {
        "encoder": {"layers": {0: {"kernel": jnp.full((64, 8), encoder), "lora": jnp.ones(2)}}},
        "pooling": {"center": jnp.full(3, step - 0.5)},
        "category": {"output": {"bias": jnp.full(2, float(step))}},
    }


STARTS = {
    "encoder": {"layers": {0: {"kernel": NEVER, "lora": 0}}},
    "pooling": {"center": NEVER},
    "category": {"output": {"bias": 0}},
}


def train(fold, *, steps=(1, 2), encoder=1.0, shared=True):
    """Trains a made-up fold, whose last step is the best."""
    best = Checkpoints(fold / "best", keep_last=1)
    scores = iter({"selection": 0.1 * step} for step in steps)
    keeper = BestKeeper(
        lambda params: answers_of(),
        params_of(0),
        best,
        lambda answers: next(scores),
        start_step=steps[0] - 1,
        shared=SharedParams(shared_folder(fold), STARTS) if shared else None,
    )
    for step in steps:
        state = TrainState(jnp.int32(step), params_of(step, encoder), None, ())
        keeper(state, step)
    params = keeper.params(state)
    best.close()
    return params


def same(found, wanted):
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_folds_when_the_encoder_is_frozen_then_each_saves_only_the_rest(tmp_path):
    for name in "12":
        same(train(tmp_path / "folds" / name), params_of(2))
        same(load_params(tmp_path / "folds" / name), params_of(2))
        stored = Checkpoints(tmp_path / "folds" / name / "best", keep_last=1).read_config(2)
        assert sorted(stored["arrays"]["params"]) == [
            "category/output/bias",
            "encoder/layers/0/lora",
            "pooling/center",
        ]
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["0"]


def test_fold_when_an_earlier_version_saved_everything_then_read_and_resumed(tmp_path):
    fold = tmp_path / "folds" / "1"
    train(fold, shared=False)
    assert not (tmp_path / "shared").exists()
    same(load_params(fold), params_of(2))
    same(train(fold, steps=(3, 4)), params_of(4))
    same(load_params(fold), params_of(4))
    assert (tmp_path / "shared").is_dir()


def test_fold_when_shared_weights_are_missing_or_others_then_one_sentence(tmp_path):
    train(tmp_path / "folds" / "1")
    with pytest.raises(UserError, match="or other than those of init_from"):
        train(tmp_path / "folds" / "2", encoder=2.0)
    train(tmp_path / "other" / "folds" / "1", encoder=2.0)
    shutil.rmtree(tmp_path / "shared")
    with pytest.raises(UserError, match="is missing: copy the whole workdir"):
        load_params(tmp_path / "folds" / "1")
    shutil.copytree(tmp_path / "other" / "shared", tmp_path / "shared")
    with pytest.raises(UserError, match="has other frozen weights than"):
        load_params(tmp_path / "folds" / "1")


def test_fold_when_everything_trains_then_nothing_is_shared(tmp_path):
    starts = jax.tree.map(lambda _: 0, STARTS)
    assert not SharedParams(tmp_path / "shared", starts).any
    assert SharedParams(tmp_path / "shared", STARTS).any
