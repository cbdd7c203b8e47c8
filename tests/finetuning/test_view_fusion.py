"""Runs with further views beside the main encoder: from kept outputs and tables to predictions."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import Ridge

from sersl.cli.main import main
from sersl.corpora.sidecar import RECORDS_FILE
from sersl.data.sources import CorpusSource
from sersl.eval.answers import Answers
from sersl.release.predict import predictor
from sersl.runs.checkpoint import load_params
from sersl.runs.initial_weights import with_sizes
from sersl.runs.kept_outputs import OutputStore
from tests.finetuning.test_kept_outputs import config_of, fine_tuned, stores, weights_of

RIDGE = ("solver.kind=ridge", "heads.bounded=false", "solver.penalties=0.5")
ONE_FOLD = "protocol.folds=('fold1',)"
CLOSE = 5e-3  # of logits: kept outputs are float16
KEPT = 1e-2  # of probabilities and values: kept outputs are float16
OTHER = {"seed": 1, "width": 8, "num_heads": 1}  # a second encoder of other sizes


def train(config, workdir, *, devices=1, **views):
    fold = fine_tuned(config, workdir, devices=devices, **views)
    return Answers.load(fold / "answers.npz")


def fused(data_dir, kind, *views, settings=RIDGE):
    own = (f"fusion.kind={kind}", f"fusion.views={','.join(views)}", ONE_FOLD)
    return config_of(data_dir, *own, *settings)


def write_table(path, data_dir, *, missing=(), fill=None, width=3, seed=0):
    """Vectors that depend on the category, float32 [n, width]; rows `missing` have none."""
    index = CorpusSource(data_dir, "synthetic").index
    words = index.column("category")
    rng = np.random.default_rng(seed)
    centers = {word: rng.normal(size=width) for word in sorted(set(words))}
    vectors = np.stack([centers[word] + rng.normal(size=width) for word in words])
    rows = [one.tolist() for one in vectors.astype(np.float32)]
    for row in missing:
        rows[row] = fill
    ids = [str(one) for one in index.column("utterance_id")]
    kind = pa.list_(pa.float32())
    pq.write_table(pa.table({"utterance_id": ids, "vectors": pa.array(rows, kind)}), path)
    return path


def test_early_when_an_encoder_is_kept_beside_another_then_ridge_reads_both_and_computes_once(
    own_data, tmp_path
):
    main_weights, other = weights_of(), weights_of(**OTHER)
    config = fused(own_data, "early", "other=runs/other", "spectrum=mfcc")
    for weights in (main_weights, other):
        store = OutputStore(with_sizes(config, weights), weights)
        store.open(CorpusSource(own_data, "synthetic"), [].append)
    made = {path: (path / RECORDS_FILE).stat().st_mtime_ns for path in stores(own_data)}
    answers = train(config, tmp_path / "run", other=other)
    # The features of the frontend are new, the outputs of both encoders were there.
    assert len(stores(own_data)) == 3
    assert all((path / RECORDS_FILE).stat().st_mtime_ns == made[path] for path in made)

    source = CorpusSource(own_data, "synthetic")
    train_rows = np.setdiff1d(np.arange(len(source)), answers.rows)
    blocks = []
    for weights in (main_weights, other):
        reader = OutputStore(with_sizes(config, weights), weights).open(source, [].append)
        kept = np.stack([reader.read(row) for row in train_rows]).astype(np.float64)
        blocks.append(kept.reshape(len(kept), -1))
    params = load_params(tmp_path / "run" / "folds" / "fold1")
    kernel = np.asarray(params["category"]["output"]["kernel"])
    widths = [block.shape[1] for block in blocks]
    mfcc = len(kernel) - sum(widths)
    assert mfcc == 2 * 2 * 40  # mean and deviation of two windows of 40 coefficients

    # Without the features, the heads are those of scikit-learn on both encoders side by side.
    config = fused(own_data, "early", "other=runs/other")
    train(config, tmp_path / "two", other=other)
    x = np.concatenate(
        [(block - block.mean(0)) / np.maximum(block.std(0), 1e-3) for block in blocks], axis=1
    )
    names = json.loads((tmp_path / "two" / "corpora.json").read_text())["categories"]
    category = np.array([names.index(w) for w in source.index.column("category")[train_rows]])
    weights = len(x) / (len(names) * np.bincount(category))
    fitted = Ridge(alpha=0.5 * x.shape[1])
    fitted.fit(x, np.eye(len(names))[category], sample_weight=weights[category])
    choice = json.loads((tmp_path / "two" / "folds" / "fold1" / "choice.json").read_text())
    expected = choice["category"]["scale"] * fitted.coef_.T
    params = load_params(tmp_path / "two" / "folds" / "fold1")
    np.testing.assert_allclose(params["category"]["output"]["kernel"], expected, atol=CLOSE)


@pytest.mark.parametrize("kind", ["early", "late"])
def test_release_when_views_were_fused_then_it_gives_the_answers_of_the_fold(
    own_data, tmp_path, kind, capsys
):
    config = fused(own_data, kind, "other=runs/other", "spectrum=mfcc", "voice=functionals")
    if kind == "early":
        weighted = dataclasses.replace(config.solver, view_weights=(0.3,))
        config = dataclasses.replace(config, solver=weighted)
    answers = train(config, tmp_path / "run", other=weights_of(**OTHER))
    if kind == "early":
        choice = json.loads((tmp_path / "run" / "folds" / "fold1" / "choice.json").read_text())
        assert choice["category"]["view_weight"] == 0.3
    output = ["--output", str(tmp_path / "model"), "--licence=MIT", "--fold", "fold1"]
    assert main(["export", "--workdir", str(tmp_path / "run"), *output]) == 0
    capsys.readouterr()
    source = CorpusSource(own_data, "synthetic")
    model = predictor.load(tmp_path / "model")
    found = [
        one
        for _, one in sorted(
            model.network.scores([source.waveform(row) for row in answers.rows.tolist()])
        )
    ]
    np.testing.assert_allclose(
        np.stack([one["category"] for one in found]), answers.scores, atol=KEPT
    )
    np.testing.assert_allclose(
        np.stack([one["dimensions"] for one in found]), answers.dimensions, atol=KEPT
    )
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"{kind} fusion" in card and "runs/other" in card and "mfcc" in card
    assert main(["export", "--workdir", str(tmp_path / "model"), "--onnx", "--output", "x"]) == 2
    assert "fusion" in capsys.readouterr().err
