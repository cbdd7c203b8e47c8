"""A run with several losses, other labels and the test side's audio, up to the released folder."""

import json

import numpy as np
import pytest

from sersl.cli.main import main
from sersl.release.folder import read_model
from sersl.runs.checkpoint import load_params
from tests.finetuning.test_kept_outputs import UNSCALED, config_of, run, weights_of

SETTINGS = (
    *("protocol.folds=('fold1',)", "heads.kind=gelu", "heads.hidden=8", *UNSCALED),
    *("heads.category_loss=evidential", "heads.dimensions_loss=mse", "labels.anchored=true"),
    *("tasks.gender_weight=0.3", "tasks.weighting=uncertainty", "domain.kind=coral"),
)


def test_run_when_it_adapts_and_learns_more_then_marked_and_released_without_the_rest(
    own_data,
    tmp_path,
    capsys,
):
    workdir, output = tmp_path / "run", tmp_path / "model"
    (logged,), (answers,) = run(config_of(own_data, *SETTINGS), workdir, weights_of())
    assert {"gender_loss", "domain_loss", "vacuity", "dimensions_loss"} <= logged[-1].keys()
    assert all(np.isfinite(logged[-1][name]) for name in ("loss", "gender_loss", "domain_loss"))
    names = answers.dimension_names.tolist()
    assert names[-2:] == ["arousal_from_category", "valence_from_category"]
    params = load_params(workdir / "folds" / "fold1")
    assert params["training_heads"].keys() == {"gender", "log_variances"}
    assert np.abs(params["training_heads"]["log_variances"]).min() > 0
    assert main(["evaluate", "--workdir", str(workdir)]) == 0
    results = json.loads((workdir / "results.json").read_text())
    assert any("audio of the test side" in w for w in results["protocol"]["warnings"])
    export = ["export", "--workdir", str(workdir), "--fold", "fold1", "--output", str(output)]
    assert main(export) == 0
    released = read_model(output)
    assert "training_heads" not in released.params
    assert released.architecture.dimensions == tuple(names)
    card = (output / "README.md").read_text()
    assert "audio of the test side" in card and "which nobody rated" in card
    assert "`vacuity`" in card
    capsys.readouterr()


@pytest.mark.parametrize("setting", ["speaker", "corpus"])
def test_export_when_outputs_were_standardized_by_group_then_user_error(
    own_data,
    tmp_path,
    capsys,
    setting,
):
    workdir = tmp_path / "run"
    settings = (*SETTINGS[:1], f"domain.normalize={setting}", "train.num_steps=2", *UNSCALED)
    run(config_of(own_data, *settings), workdir, weights_of())
    export = [
        "export",
        "--workdir",
        str(workdir),
        "--fold",
        "fold1",
        "--output",
        str(tmp_path / "m"),
    ]
    assert main(export) == 2
    assert f"standardizes outputs per {setting}" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
