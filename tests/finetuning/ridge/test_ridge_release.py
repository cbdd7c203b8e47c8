"""A run of ridge heads up to the released folder, on several devices and with several seeds."""

import numpy as np
import onnxruntime
import pytest

from sersl.cli.main import main
from sersl.core.errors import UserError
from sersl.corpora.index import load_index
from sersl.data.sources import CorpusSource
from sersl.eval.answers import Answers
from sersl.eval.evaluator import collect_predictions, validation_scores
from sersl.eval.results import score_workdir
from sersl.eval.workdir_files import read_trained
from sersl.finetuning.run import finetune_seeds
from sersl.finetuning.seed_runs import seed_runs
from sersl.release.predict import predictor
from sersl.release.predict.padding import padded_batch
from tests.finetuning.test_kept_outputs import config_of, fine_tuned, weights_of
from tests.tiny_runs import never

SETTINGS = ("solver.kind=ridge", "heads.bounded=false", "protocol.folds=('fold1',)")
KEPT = 1e-2  # of probabilities and values: kept outputs are float16
RUNTIMES = 1e-4  # between ONNX Runtime and JAX
DEVICES = 1e-3  # the encoder sums in another order, then rounds to float16


def solve(data_dir, workdir, *settings, devices=1) -> Answers:
    fold = fine_tuned(config_of(data_dir, *SETTINGS, *settings), workdir, devices=devices)
    return Answers.load(fold / "answers.npz")


def test_release_when_the_heads_are_ridge_then_it_and_its_graph_give_the_answers_of_the_fold(
    own_data, tmp_path, capsys
):
    answers = solve(own_data, tmp_path / "run", "views.speeds=1.1", "pooling.layers=1-2")
    trained = read_trained(tmp_path / "run")
    index = load_index(own_data, "synthetic")
    collect_predictions(
        tmp_path / "run", [("fold1", answers)], indexes=[index], names=trained.categories
    )
    scored = score_workdir(tmp_path / "run", predictions_are_new=True)
    output = ["--output", str(tmp_path / "model"), "--onnx", "--licence=MIT"]
    assert main(["export", "--workdir", str(tmp_path / "run"), "--fold", "fold1", *output]) == 0
    capsys.readouterr()

    source = CorpusSource(own_data, "synthetic")
    waveforms = [source.waveform(row) for row in answers.rows.tolist()]
    model = predictor.load(tmp_path / "model")
    assert model.categories == trained.categories
    found = [one for _, one in sorted(model.network.scores(waveforms, frames=False))]
    names = ("category", "dimensions")
    released = {name: np.stack([one[name] for one in found]) for name in names}
    np.testing.assert_allclose(released["category"], answers.scores, atol=KEPT)
    np.testing.assert_allclose(released["dimensions"], answers.dimensions, atol=KEPT)
    correct = released["category"].argmax(1) == answers.true_category
    assert abs(correct.mean() - scored["metrics"]["accuracy"]) <= 1 / len(correct)

    session = onnxruntime.InferenceSession(
        next((tmp_path / "model" / "onnx").glob("*.onnx")), providers=["CPUExecutionProvider"]
    )
    batch, valid = padded_batch(waveforms, rows=len(waveforms), length=max(map(len, waveforms)))
    values = session.run(None, {"waveform": batch, "num_samples": valid.sum(1)})
    graph = dict(zip([one.name for one in session.get_outputs()], values, strict=True))
    for name in names:
        np.testing.assert_allclose(graph[name], released[name], atol=RUNTIMES)


def test_ridge_when_on_eight_devices_then_as_on_one(own_data, tmp_path):
    one = solve(own_data, tmp_path / "one")
    for made in own_data.glob("synthetic/*/outputs"):
        made.rename(made.with_name("made_on_one"))
    eight = solve(own_data, tmp_path / "eight", devices=8)
    np.testing.assert_array_equal(eight.rows, one.rows)
    np.testing.assert_allclose(eight.scores, one.scores, atol=DEVICES)
    np.testing.assert_allclose(eight.dimensions, one.dimensions, atol=DEVICES)


def test_ridge_when_seeds_choose_the_same_folds_then_user_error(own_data, tmp_path):
    settings = (*SETTINGS[:2], "protocol.name=leave-one-speaker-out", "train.seeds=(0,1)")
    runs = seed_runs(config_of(own_data, *settings), tmp_path / "run")
    with pytest.raises(UserError, match="the same heads for every seed"):
        finetune_seeds(runs, score=validation_scores, preempted=never, weights=weights_of())
    assert not (tmp_path / "run").exists()
