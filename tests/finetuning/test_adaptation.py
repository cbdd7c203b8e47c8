"""A run with several losses, other labels and the test side's audio, up to the released folder."""

import numpy as np
import pytest

from sersl.cli.main import main
from sersl.corpora.index import load_index
from sersl.eval.evaluator import collect_predictions
from sersl.eval.results import score_workdir
from sersl.eval.workdir_files import read_trained
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
    config = config_of(own_data, *SETTINGS)
    (logged,), (answers,) = run(config, workdir, weights_of())
    assert {"gender_loss", "domain_loss", "vacuity", "dimensions_loss"} <= logged[-1].keys()
    assert all(np.isfinite(logged[-1][name]) for name in ("loss", "gender_loss", "domain_loss"))
    names = answers.dimension_names.tolist()
    assert names[-2:] == ["arousal_from_category", "valence_from_category"]
    params = load_params(workdir / "folds" / "fold1")
    assert params["training_heads"].keys() == {"gender", "log_variances"}
    assert np.abs(params["training_heads"]["log_variances"]).min() > 0
    collect_predictions(
        workdir,
        [("fold1", answers)],
        indexes=[load_index(own_data, "synthetic")],
        names=read_trained(workdir).categories,
    )
    results = score_workdir(workdir, predictions_are_new=True)
    assert any("audio of the test side" in w for w in results["protocol"]["warnings"])
    export = ["export", "--workdir", str(workdir), "--fold", "fold1", "--output", str(output)]
    assert main([*export, "--licence=MIT"]) == 0
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
