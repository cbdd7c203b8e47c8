"""Runs whose heads are solved in closed form, with speed-changed copies."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from sersl.core.errors import UserError
from sersl.data.sources import CorpusSource
from sersl.data.speed_view import SpeedView
from sersl.eval.answers import Answers
from sersl.finetuning.ridge.ridge_trainer import RidgeTrainer
from sersl.runs.checkpoint import load_params
from sersl.runs.initial_weights import with_sizes
from sersl.runs.kept_outputs import OutputStore
from tests.finetuning.test_kept_outputs import config_of, fine_tuned, weights_of
from tests.tiny_runs import values_of

RIDGE = ("solver.kind=ridge", "heads.bounded=false", "views.speeds=0.9")
CLOSE = 5e-3  # of logits: kept outputs are float16


def test_ridge_when_a_fold_is_solved_then_the_heads_are_those_of_scikit_learn(own_data, tmp_path):
    config = config_of(own_data, "protocol.folds=('fold1',)", "solver.penalties=0.5", *RIDGE)
    folder = fine_tuned(config, tmp_path / "run")
    source = CorpusSource(own_data, "synthetic")
    store = OutputStore(with_sizes(config, weights_of()), weights_of())
    kept = [store.open(one, [].append) for one in (source, SpeedView(source, 0.9))]
    assert len(list(own_data.glob("synthetic/*/outputs/*"))) == 2
    tested = json.loads((tmp_path / "run" / "folds.json").read_text())[0]["test_speakers"]
    train = np.flatnonzero(~np.isin(source.index.column("speaker"), tested))
    plain, copies = (
        np.stack([reader.read(row) for row in train]).astype(np.float64).reshape(len(train), -1)
        for reader in kept
    )
    center, scale = plain.mean(0), np.maximum(plain.std(0), 1e-3)
    x = (np.concatenate([plain, copies]) - center) / scale
    names = json.loads((tmp_path / "run" / "corpora.json").read_text())["categories"]
    category = np.array([names.index(word) for word in source.index.column("category")[train]])
    weights = len(train) / (len(names) * np.bincount(category))
    category = np.tile(category, 2)
    fitted = Ridge(alpha=0.5 * x.shape[1])
    fitted.fit(x, np.eye(len(names))[category], sample_weight=weights[category])
    choice = json.loads((folder / "choice.json").read_text())
    assert choice["num_rows"] == 2 * len(train)
    params = load_params(folder)
    expected = choice["category"]["scale"] * fitted.coef_.T
    np.testing.assert_allclose(params["category"]["output"]["kernel"], expected, atol=CLOSE)
    answers = Answers.load(folder / "answers.npz")
    assert set(answers.rows) == set(np.setdiff1d(np.arange(len(source)), train))
    np.testing.assert_allclose(answers.scores.sum(1), 1.0, atol=1e-5)
    for name in answers.dimension_names:
        assert choice[f"dimensions/{name}"]["penalty"] == 0.5

    # Another seed gives the same heads.
    again = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=7))
    other = load_params(fine_tuned(again, tmp_path / "seed7"))
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(
            other["category"]["output"][name], params["category"]["output"][name]
        )


@pytest.mark.parametrize(
    ("layers", "blocks"),
    [("all", [("", 96), ("side", 32)]), ("2-3", [("", 32), ("side", 32)]), ("3", [("", 32)])],
)
def test_ridge_when_the_encoder_has_a_side_branch_then_its_weight_is_that_of_its_layers(
    own_data, tmp_path, layers, blocks
):
    weights, shares = weights_of(side_layers=1, side_from=1), {}
    for weight in (0.0, 1.0):
        config = config_of(
            own_data,
            "protocol.folds=('fold1',)",
            "solver.penalties=0.5",
            f"solver.side_weights={weight:g}",
            f"pooling.layers={layers}",
            *RIDGE[:2],
        )
        folder = fine_tuned(config, tmp_path / f"{weight:g}", weights=weights)
        kernel = load_params(folder)["category"]["output"]["kernel"]
        assert len(kernel) == sum(width for _, width in blocks)
        choice = json.loads((folder / "choice.json").read_text())["category"]
        shares[weight] = np.abs(kernel[blocks[0][1] :]).sum()
        assert choice.get("side_weight") == (weight if len(blocks) > 1 else None)
    # The layers of the branch alone are the main block.
    assert shares[0.0] == 0 and bool(shares[1.0]) == (len(blocks) > 1)


@pytest.mark.parametrize(("kind", "weighed"), [("early", {"side", "view"}), ("late", {"side"})])
def test_ridge_when_there_are_a_side_branch_and_views_then_both_are_weighed_where_lined_up(
    own_data, tmp_path, kind, weighed
):
    settings = ["protocol.folds=('fold1',)", "solver.penalties=0.5", *RIDGE[:2]]
    settings += [f"fusion.kind={kind}", "fusion.views=('functionals=functionals',)"]
    settings += ["solver.view_weights=0.2"] if kind == "early" else []
    config = config_of(own_data, *settings)
    folder = fine_tuned(config, tmp_path / "run", weights=weights_of(side_layers=1, side_from=1))
    choice = json.loads((folder / "choice.json").read_text())["category"]
    assert {name.removesuffix("_weight") for name in choice if "_weight" in name} == weighed


def test_ridge_when_killed_before_its_answers_then_a_rerun_ends_as_an_unbroken_run(
    own_data, tmp_path, monkeypatch
):
    settings = ("protocol.folds=('fold1',)", "solver.penalties=0.5", *RIDGE[:2])
    config = config_of(own_data, *settings)

    def die(*arguments):
        raise KeyboardInterrupt  # after the parameters were saved

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RidgeTrainer, "_test", die)
        fine_tuned(config, tmp_path / "killed")
    folder = tmp_path / "killed" / "folds" / "fold1"
    assert (folder / "best").exists() and not (folder / "answers.npz").exists()
    fine_tuned(config, tmp_path / "killed")
    (folder / "checkpoints" / "0").mkdir(parents=True)  # as of a kill while they are removed
    fine_tuned(config, tmp_path / "killed")
    assert not (folder / "checkpoints").exists()
    whole = fine_tuned(config, tmp_path / "whole")
    assert (folder / "choice.json").read_bytes() == (whole / "choice.json").read_bytes()
    found, expected = (Answers.load(one / "answers.npz") for one in (folder, whole))
    for name in ("rows", "scores", "dimensions"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    jax.tree.map(np.testing.assert_array_equal, load_params(folder), load_params(whole))


def test_ridge_when_utterances_are_too_short_to_train_on_then_no_head_is_solved_from_them(
    own_data, tmp_path
):
    source = CorpusSource(own_data, "synthetic")
    shortest = float(np.median(source.num_samples)) / 16_000
    settings = ("protocol.folds=('fold1',)", "solver.penalties=0.5", *RIDGE[:2])
    config = config_of(own_data, f"data.min_seconds={shortest}", *settings)
    folder = fine_tuned(config, tmp_path / "run")
    (fold,) = json.loads((tmp_path / "run" / "folds.json").read_text())
    assert fold["num_too_short"] > 0
    choice = json.loads((folder / "choice.json").read_text())
    assert choice["num_rows"] == fold["num_train"] - fold["num_too_short"]


def test_gradient_when_there_are_copies_then_they_train(own_data, tmp_path):
    config = config_of(own_data, "protocol.folds=('fold1',)", "views.speeds=0.9,1.1")
    folder = fine_tuned(config, tmp_path / "run")
    plain = dataclasses.replace(config, views=dataclasses.replace(config.views, speeds=()))
    other = load_params(fine_tuned(plain, tmp_path / "plain"))
    found = load_params(folder)
    # Standardized by the plain utterances, trained on other rows.
    np.testing.assert_array_equal(found["pooling"]["center"], other["pooling"]["center"])
    assert (
        np.abs(found["category"]["output"]["kernel"] - other["category"]["output"]["kernel"]).max()
        > 1e-4
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("heads.kind=gelu",), "heads.kind='gelu' has a hidden layer"),
        (("pooling.layers=weighted",), "pooling.layers='weighted' has weights"),
        (("pooling.kind=attention", "pooling.layers=last", "pooling.standardize_outputs=false"),
         "pooling.kind='attention'"),
        (("pooling.network.kind=blstm", "pooling.layers=last", "pooling.standardize_outputs=false"),
         "pooling.network.kind='blstm' is trained by gradient"),
        (("heads.category_loss=focal",), "heads.category_loss='focal' is trained by gradient"),
        (("heads.bounded=true",), "heads.bounded bends the values"),
        (("tasks.gender_weight=0.1",), "tasks is for training by gradient"),
        (("data.weights=1,2",), "one positive number for each of the 1 corpora"),
    ],
)  # fmt: skip
def test_ridge_when_a_setting_needs_gradients_then_user_error(
    data_dir, tmp_path, settings, message
):
    with pytest.raises(UserError, match=message):
        fine_tuned(config_of(data_dir, *RIDGE, *settings), tmp_path / "run")


def test_copies_when_outputs_are_not_kept_then_they_train_too(own_data, tmp_path):
    settings = (
        "protocol.folds=('fold1',)",
        "store=off",
        "train.num_steps=2",
        "train.log_every_steps=1",
    )
    config = config_of(own_data, *settings)
    pooling = dataclasses.replace(config.pooling, standardize_outputs=False)
    config = dataclasses.replace(config, pooling=pooling)
    losses = {}
    for speeds in ((), (0.5, 2.0)):
        own = dataclasses.replace(config, views=dataclasses.replace(config.views, speeds=speeds))
        folder = fine_tuned(own, tmp_path / f"run{len(speeds)}")
        losses[speeds] = [step["loss"] for step in values_of(folder)]
        assert np.isfinite(losses[speeds]).all()
    assert losses[()] != losses[0.5, 2.0]
    assert not list(own_data.glob("synthetic/*/outputs"))
