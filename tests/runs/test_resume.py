"""A run that is killed and started again ends as one that was not, bit for bit."""

import jax
import numpy as np
import pytest

from sersl.runs.checkpoint import load_params, newest_step
from tests.tiny_runs import arguments, run, values_of

SAVES = ("checkpoint.every_steps=3",)


def same_params(a, b) -> None:
    left, right = load_params(a), load_params(b)
    assert jax.tree.structure(left) == jax.tree.structure(right)
    jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.fixture(scope="module")
def unbroken(data_dir, tmp_path_factory):
    """Twenty steps of pretraining in one go."""
    workdir = tmp_path_factory.mktemp("unbroken")
    code, out, err = run(arguments("pretrain", data_dir, workdir, *SAVES))
    assert code == 0, out + err
    assert [line["step"] for line in values_of(workdir)] == list(range(1, 21))
    return workdir


def test_pretrain_when_killed_and_started_again_then_ends_bit_identical(
    unbroken, data_dir, tmp_path
):
    words = arguments("pretrain", data_dir, tmp_path, *SAVES)
    code, out, err = run(words, action="kill", at=11)
    assert code == -9, out + err
    assert newest_step(tmp_path / "checkpoints") in (6, 9)  # 9 may not have been complete
    assert 10 <= len(values_of(tmp_path)) < 20
    code, out, err = run(words)
    assert code == 0, out + err
    assert "resumed from" in out
    assert values_of(tmp_path) == values_of(unbroken)
    same_params(tmp_path, unbroken)
    assert newest_step(tmp_path / "checkpoints") == 20


@pytest.mark.slow
def test_pretrain_when_terminated_then_saves_exits_0_and_goes_on_identically(
    unbroken, data_dir, tmp_path
):
    words = arguments("pretrain", data_dir, tmp_path, *SAVES)
    code, out, err = run(words, action="terminate", at=4)
    assert code == 0, out + err
    step = newest_step(tmp_path / "checkpoints")
    assert 4 <= step < 20
    assert f"stopped by SIGTERM, saved at step {step}" in out
    code, out, err = run(words)
    assert code == 0, out + err
    assert f"at step {step}" in out
    assert values_of(tmp_path) == values_of(unbroken)
    same_params(tmp_path, unbroken)
    # A resumed run has early steps behind it: it hears SIGTERM as well.
    words = [*words, "--config.train.num_steps=30"]
    code, out, err = run(words, action="terminate", at=22)
    assert code == 0, out + err
    assert "stopped by SIGTERM" in out


@pytest.mark.slow
def test_finetune_when_killed_and_started_again_then_ends_bit_identical(data_dir, tmp_path):
    settings = (*SAVES, "protocol.folds=('fold1',)")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    code, out, err = run(arguments("finetune", data_dir, whole, *settings))
    assert code == 0, out + err
    words = arguments("finetune", data_dir, broken, *settings)
    code, out, err = run(words, action="kill", at=11)
    assert code == -9, out + err
    code, out, err = run(words)
    assert code == 0, out + err
    assert "resumed from" in out
    fold = "folds/fold1"
    assert [line["step"] for line in values_of(whole / fold)] == list(range(1, 21))
    assert values_of(broken / fold) == values_of(whole / fold)
    same_params(broken / fold, whole / fold)
    assert (broken / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    # Done is done: the third start trains nothing.
    code, out, err = run(words)
    assert code == 0, out + err
    assert "done before" in out and "compiled" not in out


@pytest.mark.slow
def test_pretrain_when_the_disk_is_full_then_keeps_the_last_checkpoint_and_says_so(
    unbroken, data_dir, tmp_path
):
    words = arguments("pretrain", data_dir, tmp_path, *SAVES)
    code, out, err = run(words, action="full disk", at=8)
    assert code == 2, out + err
    (sentence,) = err.strip().splitlines()
    assert sentence.startswith("sersl: a checkpoint could not be written")
    assert "File too large" in sentence
    assert "checkpoint 3 is still valid" in sentence
    assert newest_step(tmp_path / "checkpoints") == 3
    code, out, err = run(words)
    assert code == 0, out + err
    assert "at step 3" in out
    assert values_of(tmp_path) == values_of(unbroken)
    same_params(tmp_path, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_run_when_its_workdir_is_removed_then_one_sentence_and_code_2(data_dir, tmp_path, verb):
    settings = ("train.num_steps=6", "evaluate_every_steps=6")[: 1 if verb == "pretrain" else 2]
    words = arguments(verb, data_dir, tmp_path / "run", *settings, "checkpoint.every_steps=100")
    code, out, err = run(words, action="remove", at=3)
    assert code == 2, out + err
    (sentence,) = err.strip().splitlines()
    assert "was removed or replaced while the run was writing it" in sentence
    code, out, err = run(words)
    assert code == 0, out + err
