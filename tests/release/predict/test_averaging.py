"""Released models that average over copies of a recording at other speeds."""

import json

import numpy as np
import pytest

from sersl.audio.warp import change_speed
from sersl.cli.main import main
from sersl.core.errors import UserError
from sersl.release.folder import read_model
from sersl.release.predict.averaging import Averaging
from sersl.release.predict.predictor import load
from tests.fake_speech import make_voice
from tests.release.fake_model import seal, write_fake

SPEEDS = (0.9, 1.1)
TEMPERATURE = 2.0
RATE = 16_000
CLOSE = 1e-5  # of float32 probabilities, of which some are raised to a power


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("averaging") / "model"
    write_fake(path, heads={"category_loss": "prototypes", "dimensions_loss": "evidential"})
    about = json.loads((path / "sersl.json").read_text())
    labels = {"temperature": TEMPERATURE}
    seal(path, {**about, "average_speeds": list(SPEEDS), "labels": labels})
    return path


def single_answers(plain, waveform):
    """The answers of a model for a waveform and each copy alone."""
    return [
        plain.predict(one, sample_rate=RATE, frames=True)
        for one in (waveform, *(change_speed(waveform, speed) for speed in SPEEDS))
    ]


def values_of(answer, name):
    return np.array(list(answer[name].values()), np.float64)


def test_predict_when_a_model_averages_then_the_mean_of_single_answers_of_each_window(
    folder, quick_compilation
):
    model, plain = load(folder), load(folder, average=False)
    waveform = make_voice(2.5)
    windows = model.predict(waveform, sample_rate=RATE, window=1.0, frames=True)
    assert [row["start"] for row in windows] == [0.0, 1.0, 2.0]
    for row, start in zip(windows, range(3), strict=True):
        part = waveform[start * RATE : (start + 1) * RATE]
        alone = single_answers(plain, part)
        # The temperature is for the means, so the single answers are taken without.
        single = [values_of(one, "scores") ** TEMPERATURE for one in alone]
        mean = np.mean([one / one.sum() for one in single], axis=0) ** (1 / TEMPERATURE)
        np.testing.assert_allclose(values_of(row, "scores"), mean / mean.sum(), atol=CLOSE)
        dimensions = [values_of(one, "dimensions") for one in alone]
        np.testing.assert_allclose(
            values_of(row, "dimensions"), np.mean(dimensions, axis=0), atol=CLOSE
        )
        assert np.ptp(dimensions, axis=0).max() > 100 * CLOSE
        doubts = {name: [one["uncertainty"][name] for one in alone] for name in row["uncertainty"]}
        found = row["uncertainty"]
        np.testing.assert_allclose(found["open_set"], np.mean(doubts["open_set"]), atol=CLOSE)
        within = np.mean(np.square(doubts["valence_epistemic"]))
        between = np.var([one["dimensions"]["valence"] for one in alone])
        np.testing.assert_allclose(found["valence_epistemic"] ** 2, within + between, rtol=1e-4)
        # Of the recording itself.
        for name in ("time", "happy"):
            expected = alone[0]["frames"][name] + (start if name == "time" else 0)
            np.testing.assert_allclose(row["frames"][name], expected, atol=CLOSE)
        np.testing.assert_array_equal(row["embedding"], alone[0]["embedding"])
    whole = model.predict(waveform, sample_rate=RATE)
    np.testing.assert_array_equal(whole["embedding"], model.embed(waveform, sample_rate=RATE))


def test_averaging_when_a_copy_is_longer_than_30_seconds_then_it_has_no_share():
    asked, recordings = [], []

    def compute(part):
        asked.append([len(one) for one in part.waveforms])
        recordings.append(part.recordings)
        for place, one in enumerate(part.waveforms):
            yield place, {"category": np.array([len(one) / RATE], np.float32)}

    waveforms = [np.zeros(seconds * RATE, np.float32) for seconds in (1, 30)]
    found = dict(Averaging((0.5, 2.0), temperature=None)(compute, waveforms, ["a", "b"]))
    assert asked == [[RATE, 30 * RATE], [2 * RATE], [RATE // 2, 15 * RATE]]
    assert recordings == [["a", "b"], ["a"], ["a", "b"]]
    np.testing.assert_allclose(found[0]["category"], (1 + 2 + 0.5) / 3)
    np.testing.assert_allclose(found[1]["category"], (30 + 15) / 2)


@pytest.mark.parametrize("speeds", [[], [1.0], [0.9, 0.9], [3.0], ["fast"], 0.9])
def test_model_when_its_speeds_are_wrong_then_user_error(folder, tmp_path, speeds):
    write_fake(tmp_path / "model")
    about = json.loads((tmp_path / "model" / "sersl.json").read_text())
    seal(tmp_path / "model", {**about, "average_speeds": speeds})
    with pytest.raises(UserError, match="'average_speeds'"):
        read_model(tmp_path / "model")


def test_export_when_a_model_averages_then_its_copy_does_and_graphs_are_refused(
    folder, tmp_path, capsys
):
    export = ["export", "--workdir", str(folder), "--licence=Apache-2.0"]
    assert main([*export, "--output", str(tmp_path / "copy")]) == 0
    assert read_model(tmp_path / "copy").average_speeds == SPEEDS
    card = (tmp_path / "copy" / "README.md").read_text()
    assert "copies of it at the speeds 0.9 and 1.1, which takes about 3 times as long" in card
    capsys.readouterr()
    for option in ("--onnx", "--stablehlo"):
        assert main([*export, "--output", str(tmp_path / "graph"), option]) == 2
        assert "scores one recording" in capsys.readouterr().err
        assert not (tmp_path / "graph").exists()
