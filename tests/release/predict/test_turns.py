"""Turns from RTTM files, stretches of speech, and files of a list that cannot be read."""

import numpy as np
import pytest
import soundfile

from sersl.core.errors import UserError
from sersl.release.predict import predictor
from sersl.release.predict.turns import Turn, match_turns, read_rttm
from sersl.release.predict.windows import Cutting
from tests.fake_speech import RATE, make_voice
from tests.release import fake_model

LINE = "SPEAKER {} 1 {} {} <NA> <NA> {} <NA> <NA>\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return predictor.load(fake_model.write_fake(tmp_path_factory.mktemp("models") / "model"))


@pytest.fixture
def call(tmp_path):
    soundfile.write(tmp_path / "call.wav", make_voice(6.0), RATE)
    return tmp_path / "call.wav"


def _rttm(folder, *lines):
    path = folder / "turns.rttm"
    path.write_text("".join(LINE.format(*line) for line in lines))
    return path


def test_turns_when_they_overlap_then_each_has_the_scores_of_its_stretch(model, call):
    rttm = _rttm(call.parent, ("call", 2.0, 2.5, "bob"), ("call", 0.5, 2.0, "ann"))
    rows = model.predict(call, rttm=rttm)
    assert [(r["speaker"], r["start"], r["end"]) for r in rows] == [
        ("ann", 0.5, 2.5),
        ("bob", 2.0, 4.5),
    ]
    waveform = soundfile.read(call, dtype="float32")[0]
    for row in rows:
        part = waveform[round(row["start"] * RATE) : round(row["end"] * RATE)]
        alone = model.predict(part, sample_rate=RATE)
        assert row["scores"] == pytest.approx(alone["scores"], abs=1e-5)


def test_turns_when_one_is_longer_than_30_s_then_one_row_with_the_mean():
    turns = [Turn(1.0, 41.0, "ann"), Turn(40.5, 60.0, "bob")]
    waveform = np.arange(50 * RATE, dtype=np.float32) / (50 * RATE)
    parts = list(Cutting(turns=turns).windows(waveform, sample_rate=RATE))
    assert [(p.start / RATE, len(p.waveform) / RATE, p.turn) for p in parts] == [
        (1.0, 30.0, 0),
        (31.0, 10.0, 0),
        (40.5, 9.5, 1),  # to the end of the audio
    ]
    for part in parts:
        stop = part.start + len(part.waveform)
        np.testing.assert_array_equal(part.waveform, waveform[part.start : stop])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SPEAKER call 1 0.5\n", "line 1: 4 fields is wrong"),
        (LINE.format("call", "x", 1, "a"), "line 1: could not convert"),
        (LINE.format("call", -1, 1, "a"), "start -1 is wrong"),
        (LINE.format("call", 1, 0, "a"), "duration 0 is wrong"),
        (LINE.format("call", 1, "nan", "a"), "duration nan is wrong"),
        ("; a comment\n\n", "no line that begins with SPEAKER"),
    ],
)
def test_rttm_when_it_is_wrong_then_one_sentence(tmp_path, line, message):
    (tmp_path / "turns.rttm").write_text(line)
    with pytest.raises(UserError, match=message):
        read_rttm(tmp_path / "turns.rttm")


def test_rttm_when_it_is_of_other_files_then_one_sentence(model, call):
    rttm = _rttm(call.parent, ("meeting", 0, 1, "ann"))
    with pytest.raises(UserError, match=r"turns of other recordings \(meeting\)"):
        model.predict(call, rttm=rttm)
    with pytest.raises(UserError, match="begins at 7 s, after the end of the audio at 6 s"):
        model.predict(call, rttm=_rttm(call.parent, ("call", 7, 1, "ann")))
    found = match_turns({"b": [Turn(0, 1, "x")]}, ["in/a.wav", "in/b.wav"], where="t.rttm")
    assert found == {"in/a.wav": [], "in/b.wav": [Turn(0, 1, "x")]}


def test_speech_when_asked_for_then_a_row_for_each_stretch(model):
    pause = 0.0005 * np.random.default_rng(0).normal(size=20 * RATE).astype(np.float32)
    parts = [pause, make_voice(3.0), pause, make_voice(2.0, 1), pause[:RATE]]
    rows = model.predict(np.concatenate(parts), sample_rate=RATE, speech=True)
    assert [row["status"] for row in rows] == ["ok", "ok"]
    np.testing.assert_allclose([r["start"] for r in rows], [20, 43], atol=0.4)
    np.testing.assert_allclose([r["end"] for r in rows], [23, 45], atol=0.4)
    with pytest.raises(UserError, match="no stretch of speech"):
        model.predict(pause, sample_rate=RATE, speech=True)
    with pytest.raises(UserError, match="three ways: give one"):
        model.predict(pause, sample_rate=RATE, speech=True, window=1.0)


def test_list_when_some_files_are_bad_then_their_rows_have_an_error(model, call):
    (call.parent / "text.wav").write_text("hello")
    files = [call.parent / "text.wav", call, call.parent / "gone.wav"]
    first, second, third = model.predict(files)
    assert (first["file"], first["status"]) == (str(files[0]), "unreadable")
    assert "not audio" in first["error"] and first["scores"] == {} and first["category"] == ""
    assert (second["file"], second["status"]) == (str(call), "ok") and "error" not in second
    assert second["category"] == max(second["scores"], key=second["scores"].get)
    assert "does not exist" in third["error"]
    (rows,) = model.predict([files[0]], window=1.0)
    assert rows[0]["status"] == "unreadable"


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_precision_when_reduced_then_scores_stay_close_and_differ(tmp_path, precision):
    folder = fake_model.write_fake(tmp_path / "model")
    voice = make_voice(2.0)
    exact = predictor.load(folder).predict(voice, sample_rate=RATE)["embedding"]
    less = predictor.load(folder, precision=precision).predict(voice, sample_rate=RATE)["embedding"]
    scale = np.abs(exact).max()
    assert 0 < np.abs(less - exact).max() < 0.05 * scale
    with pytest.raises(UserError, match="unknown precision 'int9'"):
        predictor.load(folder, precision="int9")
