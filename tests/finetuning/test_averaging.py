"""Answers averaged over an utterance and its copies at other speeds, in runs and models."""

import json

import numpy as np
import pytest
import scipy.special

from sersl.cli.main import main
from sersl.core.errors import UserError
from sersl.data.sources import CorpusSource
from sersl.data.speed_view import SpeedView
from sersl.eval.answers import Answers
from sersl.release.predict import predictor
from sersl.runs.checkpoint import load_params
from sersl.runs.initial_weights import with_sizes
from sersl.runs.kept_outputs import OutputStore
from tests.finetuning.test_kept_outputs import config_of, fine_tuned, weights_of

AVERAGED = (
    *("protocol.folds=('fold1',)", "protocol.validation_fraction=0.4"),
    *("views.speeds=0.9,1.1", "views.average=true"),
)
RIDGE = ("solver.kind=ridge", "heads.bounded=false", "solver.penalties=0.5")
SINGLE = 1e-5  # of probabilities and values, computed in float64 and in float32
KEPT = 1e-2  # of probabilities and values: kept outputs are float16


def means_of_ridge(config, folder, source, rows):
    """The answers of linear heads in NumPy, for each speed alone, then their means."""
    params = load_params(folder)
    store = OutputStore(with_sizes(config, weights_of()), weights_of())
    center, scale = (params["pooling"][name].reshape(-1) for name in ("center", "scale"))
    found = []
    for one in (source, SpeedView(source, 0.9), SpeedView(source, 1.1)):
        reader = store.open(one, [].append)
        kept = np.stack([reader.read(row) for row in rows]).reshape(len(rows), -1)
        x = (kept.astype(np.float64) - center) / scale
        category, dimensions = (
            x @ params[head]["output"]["kernel"] + params[head]["output"]["bias"]
            for head in ("category", "dimensions")
        )
        found.append((scipy.special.softmax(category, axis=1), dimensions))
    return [np.mean(values, axis=0) for values in zip(*found, strict=True)]


def test_ridge_when_answers_are_averaged_then_the_means_of_single_answers(
    own_data, tmp_path, capsys
):
    config = config_of(own_data, *AVERAGED, *RIDGE)
    folder = fine_tuned(config, tmp_path / "run")
    source = CorpusSource(own_data, "synthetic")
    answers = Answers.load(folder / "answers.npz")
    assert len(set(answers.rows.tolist())) == len(answers.rows)
    tested = json.loads((tmp_path / "run" / "folds.json").read_text())[0]["test_speakers"]
    own = np.flatnonzero(np.isin(source.index.column("speaker"), tested))
    np.testing.assert_array_equal(np.sort(answers.rows), own)
    scores, dimensions = means_of_ridge(config, folder, source, answers.rows)
    np.testing.assert_allclose(answers.scores, scores, atol=SINGLE)
    np.testing.assert_allclose(answers.dimensions, dimensions, atol=SINGLE)
    validation = Answers.load(folder / "validation.npz")
    scores, _ = means_of_ridge(config, folder, source, validation.rows)
    np.testing.assert_allclose(validation.scores, scores, atol=SINGLE)

    # The released model averages as the run does.
    output = tmp_path / "model"
    export = ["export", "--workdir", str(tmp_path / "run"), "--fold=fold1", "--licence=MIT"]
    assert main([*export, "--output", str(output)]) == 0
    assert "copies of it at the speeds 0.9 and 1.1" in (output / "README.md").read_text()
    waveforms = [source.waveform(row) for row in answers.rows[:8].tolist()]
    found = list(predictor.load(output).answers(waveforms, sample_rate=16_000))
    released = [list(one.rows[0].category.values()) for one in found]
    np.testing.assert_allclose(released, answers.scores[:8], atol=KEPT)
    released = [list(one.rows[0].dimensions.values()) for one in found]
    np.testing.assert_allclose(released, answers.dimensions[:8], atol=KEPT)
    assert main([*export, "--output", str(tmp_path / "graph"), "--onnx"]) == 2
    assert "leave --onnx, --int8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("views.average=true",), "views.average averages over copies.*set views.speeds"),
        (("views.average=true", "views.speeds=1"), "views.speeds has none"),
        ((*AVERAGED, "baseline.kind=majority"), "views.average is for networks"),
    ],
)
def test_average_when_there_is_nothing_to_average_then_user_error(
    data_dir, tmp_path, settings, message
):
    with pytest.raises(UserError, match=message):
        fine_tuned(config_of(data_dir, *settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()
