"""Tables of vectors beside audio in prediction, embedding, passes with dropout and evaluation."""

import csv

import numpy as np
import pytest
import soundfile

import sersl
from sersl.cli.main import main
from sersl.config.fusion import ViewConfig
from sersl.config.schema import PoolingConfig
from sersl.core.errors import UserError
from sersl.corpora.prepare import prepare
from sersl.eval.predictions import read_predictions
from sersl.release.predict.dropout import dropout_passes
from sersl.release.predict.predictor import load
from tests.fake_speech import RATE, make_voice
from tests.release import fake_model

VIEW = ViewConfig(
    name="text", kind="table", pooling=PoolingConfig(kind="mean"), width=5, num_vectors=1
)
IDS = ("one", "two", "three")
VECTORS = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
SAME = 1e-5


def table_of(path, ids=IDS, vectors=VECTORS, **columns):
    np.savez(path, utterance_id=np.array(ids), vectors=vectors, **columns)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    fake_model.write_fake(folder / "model", views=(VIEW,), heads={"dropout": 0.3})
    with open(folder / "mine.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "utterance_id", "speaker", "category"])
        for number, name in enumerate(IDS):
            soundfile.write(folder / f"{name}.wav", make_voice(1.0, number), RATE)
            writer.writerow([f"{name}.wav", name, f"s{number}", ("angry", "sad", "happy")[number]])
    prepare(data_dir=folder / "data", manifest=folder / "mine.csv", name="mine")
    table_of(folder / "text.npz")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return load(folder / "model", tables={"text": folder / "text.npz"})


def scores_of(answer):
    return np.array([*answer["scores"].values(), *answer["dimensions"].values()])


def test_predict_when_vectors_come_with_audio_then_as_from_the_table(folder, model):
    path = folder / "two.wav"
    waveform, _ = soundfile.read(path, dtype="float32")
    by_path, by_name, by_vectors, without = (
        scores_of(model.predict(source, sample_rate=rate))
        for source, rate in (
            (path, None),
            (sersl.WithViews(waveform, name="two"), RATE),
            (sersl.WithViews(waveform, vectors={"text": VECTORS[1].tolist()}), RATE),
            (waveform, RATE),
        )
    )
    np.testing.assert_allclose(by_name, by_path, atol=SAME)
    np.testing.assert_allclose(by_vectors, by_path, atol=SAME)
    assert np.abs(without - by_path).max() > 100 * SAME
    # The vector that the heads read holds the view too.
    np.testing.assert_allclose(model.embed(path), model.predict([path])[0]["embedding"], atol=SAME)
    own, other = (
        next(dropout_passes(model, [source], num_passes=3, seed=1, sample_rate=RATE))
        for source in (sersl.WithViews(waveform, name="two"), waveform)
    )
    assert np.abs(own - other).max() > 100 * SAME


def test_predict_when_the_table_names_corpora_then_a_path_finds_an_id_of_one_alone(folder, model):
    table = table_of(
        folder / "corpora.npz",
        ids=("one", "two", "two"),
        corpus=np.array(["mine", "mine", "other"]),
    )
    named = load(folder / "model", tables={"text": table})
    paths = [folder / "one.wav", folder / "two.wav"]
    alone, unclear = (scores_of(answer) for answer in named.predict(paths))
    np.testing.assert_allclose(alone, scores_of(model.predict(paths[0])), atol=SAME)
    without = soundfile.read(paths[1], dtype="float32")[0]
    np.testing.assert_allclose(
        unclear, scores_of(model.predict(without, sample_rate=RATE)), atol=SAME
    )
    source = sersl.WithViews(paths[1], name="two", corpus="mine")
    found = scores_of(named.predict(source))
    np.testing.assert_allclose(found, scores_of(model.predict(paths[1])), atol=SAME)


@pytest.mark.parametrize(
    ("vectors", "sentence"),
    [
        ({"txt": [1.0] * 5}, "no view 'txt'"),
        ({"text": [1.0] * 4}, "1 vectors of 4 numbers"),
        ({"text": ["a"] * 5}, "not a list of 5 finite numbers"),
        ({"text": [[1.0], [1.0, 2.0]]}, "not a list of 5 finite numbers"),
        ({"text": [float("nan")] * 5}, "not a list of 5 finite numbers"),
        ({"text": 3}, "not a list of 5 finite numbers"),
    ],
)
def test_predict_when_vectors_are_wrong_then_one_sentence(model, vectors, sentence):
    source = sersl.WithViews(make_voice(1.0), vectors=vectors)
    with pytest.raises(UserError, match=sentence):
        model.predict(source, sample_rate=RATE)


def test_evaluate_when_a_model_reads_a_table_then_its_rows_are_found_by_utterance(
    folder, model, tmp_path, capsys
):
    command = ["evaluate", "--model", str(folder / "model"), "--corpus", "mine"]
    command += ["--data_dir", str(folder / "data"), "--output", str(tmp_path / "scores")]
    assert main([*command, "--table", f"text={folder / 'text.npz'}"]) == 0
    found = read_predictions(tmp_path / "scores" / "predictions.csv")
    names = ("angry", "happy", "sad")  # that the corpus has
    for row, name in enumerate(found.text["utterance_id"]):
        answer = model.predict(folder / f"{name}.wav")["scores"]
        expected = np.array([answer[one] for one in names])
        order = [found.names.index(one) for one in names]
        np.testing.assert_allclose(found.scores[row][order], expected / expected.sum(), atol=1e-3)
    capsys.readouterr()
    table = table_of(tmp_path / "two.npz", ids=IDS[:2], vectors=VECTORS[:2])
    assert main([*command, "--table", f"text={table}"]) == 2
    assert "lacks utterance 'three'" in capsys.readouterr().err
    assert main(["evaluate", "--workdir", "run", "--table", f"text={table}"]) == 2
    assert "--table belongs to --model" in capsys.readouterr().err
