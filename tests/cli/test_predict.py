import csv
import json
import time
from argparse import Namespace

import numpy as np
import pytest
import soundfile

from sersl.cli import embed, predict
from sersl.cli.console.audio_files import find_audio
from sersl.core.errors import UserError
from tests.fake_speech import make_voice
from tests.release import fake_model

RATE = 16_000
DIMENSIONS = ("arousal", "dominance", "valence")
COLUMNS = ["file", "start", "end", "status", "category"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(fake_model.write_fake(tmp_path_factory.mktemp("models") / "model"))


def _tone(seconds, rate=RATE):
    return make_voice(seconds, rate=rate)


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    (folder / "deep" / "er").mkdir(parents=True)
    soundfile.write(folder / "a.wav", _tone(1.0), RATE)
    soundfile.write(folder / "deep" / "b.FLAC", np.stack([_tone(0.8, 44100)] * 2, 1), 44100)
    soundfile.write(folder / "deep" / "er" / "c.ogg", _tone(0.9, 22050), 22050)
    soundfile.write(folder / "d.mp3", _tone(1.0, 44100), 44100, format="MP3")
    (folder / "notes.txt").write_text("not audio, and not named so")
    return folder


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    soundfile.write(folder / "good.wav", _tone(1.0), RATE)
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(folder / "short.wav", _tone(0.05), RATE)
    soundfile.write(folder / "nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    soundfile.write(folder / "cut.flac", _tone(5.0), RATE)
    whole = (folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("hello")
    return folder


COMMON = {
    "list": None,
    "shard": None,
    "precision": None,
    "no_verify": False,
    "table": [],
    "no_average": False,
}


def _run(model, inputs, **options):
    defaults = {"output": None, "window": None, "hop": None, "frames": False, "speech": False}
    defaults |= {"rttm": None, "dialogues": None, **COMMON}
    return predict.run(
        Namespace(model=model, inputs=[str(i) for i in inputs], **defaults | options)
    )


def _read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_predict_when_given_a_folder_then_every_audio_file_below_has_a_row(
    model, audio, tmp_path, capsys
):
    output = tmp_path / "new" / "emotions.csv"
    assert _run(model, [audio], output=str(output)) == 0
    rows = _read(output)
    scores = [f"score_{name}" for name in fake_model.NAMES]
    assert list(rows[0]) == [*COLUMNS, *scores, "arousal", "dominance", "valence", "error"]
    expected = ["a.wav", "d.mp3", "deep/b.FLAC", "deep/er/c.ogg"]
    assert [row["file"] for row in rows] == [str(audio / name) for name in expected]
    for row in rows:
        values = {name: float(row[f"score_{name}"]) for name in fake_model.NAMES}
        assert sum(values.values()) == pytest.approx(1, abs=1e-5)
        assert row["category"] == max(values, key=values.__getitem__)
        assert row["status"] == "ok"
    assert [path.name for path in output.parent.iterdir()] == ["emotions.csv"]
    assert "4 files: 4 ok" in capsys.readouterr().err


def test_predict_when_files_are_bad_then_each_has_its_status_and_the_run_goes_on(
    model, bad, tmp_path, capsys
):
    output = tmp_path / "emotions.csv"
    assert _run(model, [bad], output=str(output)) == 0
    rows = {row["file"].rsplit("/", 1)[1]: row for row in _read(output)}
    status = {name: row["status"] for name, row in rows.items()}
    assert status["good.wav"] == "ok"
    assert status["silent.wav"] == "silent"
    assert status["short.wav"] == "too_short"
    for name, cause in (
        *(("nan.wav", "NaN"), ("cut.flac", "truncated")),
        *(("empty.wav", "empty"), ("text.wav", "not audio")),
    ):
        assert status[name] == "unreadable"
        assert cause in rows[name]["error"]
    assert all(row["score_angry"] == "" for name, row in rows.items() if name != "good.wav")
    assert "7 files: 1 ok, 1 silent, 1 too_short, 4 unreadable" in capsys.readouterr().err


def test_folder_when_files_have_no_ending_of_audio_then_they_are_named(model, tmp_path, capsys):
    for name in ("call 12.03.2026", "b.vox", "c", "d", ".hidden"):
        soundfile.write(tmp_path / name, _tone(1.0), RATE, format="WAV")
    with pytest.raises(UserError, match=r"only 4 files of .*: b.vox, c, call 12.03.2026 and 1 mor"):
        _run(model, [tmp_path])
    soundfile.write(tmp_path / "a.wav", _tone(1.0), RATE)
    assert _run(model, [tmp_path]) == 0
    assert "not read: 4 files of" in capsys.readouterr().err
    assert _run(model, [tmp_path / "c", tmp_path / "a.wav"]) == 0
    assert "not read" not in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_list_when_it_was_written_on_windows_then_its_files_are_found(tmp_path, encoding):
    names = ["nagrania\\pr\u00f3ba 1.wav", "b.wav", "gone.wav"]
    (tmp_path / "nagrania").mkdir()
    for name in names[:2]:
        (tmp_path / name.replace("\\", "/")).touch()
    listed = tmp_path / "files.txt"
    listed.write_bytes("\r\n".join([*names, ""]).encode(encoding))
    found = find_audio([], str(listed))
    assert found.missing == [str(tmp_path / "gone.wav")]
    assert found.sources[:2] == [tmp_path / name.replace("\\", "/") for name in names[:2]]


def test_predict_when_folders_are_linked_and_links_are_broken_then_all_have_rows(model, tmp_path):
    (tmp_path / "in" / "real").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for path in ("in/real/a.wav", "elsewhere/b.wav"):
        soundfile.write(tmp_path / path, _tone(0.5), RATE)
    top = tmp_path / "in"
    (top / "linked").symlink_to("../elsewhere")
    (top / "linked" / "up").symlink_to(top)
    (top / "broken.wav").symlink_to("gone.wav")
    (top / "lost").symlink_to("/gone/folder")
    output = tmp_path / "emotions.csv"
    assert _run(model, [top], output=str(output)) == 0
    rows = {row["file"].removeprefix(f"{top}/"): row["status"] for row in _read(output)}
    causes = {row["file"].removeprefix(f"{top}/"): row["error"] for row in _read(output)}
    assert list(rows) == ["broken.wav", "linked/b.wav", "lost", "real/a.wav"]
    assert rows["linked/b.wav"] == rows["real/a.wav"] == "ok"
    assert all("which does not exist" in causes[name] for name in ("broken.wav", "lost"))


def test_predict_when_headers_claim_absurd_sizes_then_rows_within_seconds(model, tmp_path):
    good = tmp_path / "good.wav"
    soundfile.write(good, _tone(2.0), RATE)
    for number in range(7):
        data = bytearray(good.read_bytes())
        data[24:28] = (number % 3).to_bytes(4, "little")  # Hz
        (tmp_path / f"bad{number}.wav").write_bytes(data)
    start = time.monotonic()
    assert _run(model, [tmp_path, "/dev/zero"], output=str(tmp_path / "x.csv")) == 0
    assert time.monotonic() - start < 60  # the network is compiled in it
    status = [row["status"] for row in _read(tmp_path / "x.csv")]
    assert sorted(s.partition(":")[0] for s in status) == ["ok", *["unreadable"] * 8]


def test_predict_when_no_file_is_good_then_a_sentence_and_the_rows_are_kept(model, bad, tmp_path):
    output = tmp_path / "emotions.csv"
    with pytest.raises(
        UserError, match=r"none of 2 files could be scored \(.*text.wav: unreadable"
    ):
        _run(model, [bad / "text.wav", bad / "silent.wav"], output=str(output))
    assert [row["status"][:6] for row in _read(output)] == ["unread", "silent"]


def test_predict_when_windowed_then_a_row_per_window(model, audio, tmp_path):
    output = tmp_path / "emotions.csv"
    _run(model, [audio / "a.wav"], output=str(output), window=0.5, hop=0.25)
    rows = _read(output)
    assert [row["start"] for row in rows] == ["0.000", "0.250", "0.500"]
    assert [row["end"] for row in rows] == ["0.500", "0.750", "1.000"]


def test_predict_when_jsonl_then_names_and_frames(model, audio, bad, tmp_path):
    output = tmp_path / "emotions.jsonl"
    _run(model, [audio / "a.wav", bad / "short.wav"], output=str(output), frames=True)
    first, second = [json.loads(line) for line in output.read_text().splitlines()]
    assert set(first["scores"]) == set(fake_model.NAMES)
    assert 0 <= first["arousal"] <= 1
    assert set(first["frames"]) == {"time", *fake_model.NAMES}
    assert len(first["frames"]["time"]) == 49
    error = second.pop("error")
    assert error.endswith("short.wav is shorter than 0.1 s: give longer audio")
    assert second == {"file": str(bad / "short.wav"), "start": 0, "end": 0, "status": "too_short"}


def test_predict_when_there_is_no_output_then_a_table_is_printed(model, audio, bad, capsys):
    _run(model, [audio / "a.wav", bad / "silent.wav"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["file", "start", "end", "category"]
    assert any(name in lines[1] for name in fake_model.NAMES)
    assert lines[2].endswith("silent")


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (["nowhere.wav"], {}, "nowhere.wav does not exist"),
        (["a.wav"], {"output": "x.txt"}, "unknown output format"),
        (["a.wav"], {"output": "x"}, "unknown output format"),
        (["a.wav"], {"frames": True, "output": "x.csv"}, "give --output FILE.jsonl"),
        (["a.wav"], {"window": 99.0}, "window of 99 s is out of range"),
        (["a.wav"], {"output": "a.wav/x.csv"}, "cannot be written"),
        (["none"], {}, "holds no audio"),
    ],
)
def test_predict_when_arguments_are_wrong_then_one_sentence(
    model, audio, tmp_path, monkeypatch, inputs, options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none").mkdir()
    soundfile.write(tmp_path / "a.wav", _tone(0.5), RATE)
    with pytest.raises(UserError, match=message):
        _run(model, inputs, **options)


@pytest.mark.slow
def test_predict_when_a_file_has_an_hour_then_scored(model, tmp_path):
    path = tmp_path / "hour.wav"
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        for _ in range(60):
            file.write(_tone(60))
    output = tmp_path / "emotions.csv"
    assert _run(model, [path], output=str(output)) == 0
    (row,) = _read(output)
    assert (row["status"], row["end"]) == ("ok", "3600.000")


def _embed(model, inputs, output, **options):
    defaults = {"frames": False, "layers": "last", **COMMON}
    inputs = [str(i) for i in inputs]
    return embed.run(
        Namespace(model=model, inputs=inputs, output=str(output), **defaults | options)
    )


def test_embed_when_some_files_are_bad_then_the_rest_and_the_causes_are_written(
    model, audio, bad, tmp_path
):
    output = tmp_path / "x.npz"
    assert _embed(model, [audio / "a.wav", bad / "text.wav", bad / "good.wav"], output) == 0
    with np.load(output) as content:
        assert content["embeddings"].shape == (2, 16)
        assert content["layers"].tolist() == [2]
        assert content["files"].tolist() == [str(audio / "a.wav"), str(bad / "good.wav")]
        assert content["skipped"].tolist() == [str(bad / "text.wav")]
        assert "not audio" in content["causes"][0]


def test_embed_when_all_layers_and_frames_then_shapes_say_so(model, audio, tmp_path):
    files = [audio / "a.wav", audio / "deep" / "b.FLAC"]
    _embed(model, files, tmp_path / "l.npz", layers="all")
    _embed(model, files, tmp_path / "f.npz", layers="all", frames=True)
    with np.load(tmp_path / "l.npz") as layers, np.load(tmp_path / "f.npz") as frames:
        assert layers["embeddings"].shape == (2, 3, 16)
        assert layers["layers"].tolist() == frames["layers"].tolist() == [0, 1, 2]
        num_frames = frames["num_frames"]
        assert num_frames.tolist() == [49, 39]
        assert frames["embeddings"].shape == (88, 3, 16)
        mean = frames["embeddings"][:49].mean(axis=0)
        np.testing.assert_allclose(layers["embeddings"][0], mean, atol=1e-4)


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("x.csv", {}, "unknown output format '.csv'"),
        ("x.npz", {"layers": "9"}, "layers 9 do not exist"),
        ("x.npz", {"layers": "first"}, "layers 'first' do not exist"),
    ],
)
def test_embed_when_arguments_are_wrong_then_one_sentence(
    model, audio, tmp_path, output, options, message
):
    with pytest.raises(UserError, match=message):
        _embed(model, [audio / "a.wav"], tmp_path / output, **options)


def test_predict_when_heads_give_more_than_scores_then_columns_and_unknown(audio, tmp_path, capsys):
    heads = {"category_loss": "prototypes", "open_set_threshold": 0.0, "prototype_width": 4}
    heads |= {"dimensions_loss": "evidential"}
    folder = fake_model.write_fake(tmp_path / "model", kind="mean", heads=heads)
    names = [f"{name}_{kind}" for kind in ("aleatoric", "epistemic") for name in DIMENSIONS]
    assert _run(folder, [audio / "a.wav"], output=str(tmp_path / "out.csv")) == 0
    (row,) = _read(tmp_path / "out.csv")
    assert list(row)[-8:] == ["open_set", *names, "error"]
    assert row["category"] == "unknown"
    assert 0 < float(row["open_set"]) <= 1
    assert all(float(row[name]) > 0 for name in names)
    assert _run(folder, [audio / "a.wav"], output=str(tmp_path / "out.jsonl")) == 0
    line = json.loads((tmp_path / "out.jsonl").read_text())
    assert (line["category"], line["open_set"]) == ("unknown", float(row["open_set"]))
    capsys.readouterr()
    assert _run(folder, [audio / "a.wav"]) == 0
    assert "unknown" in capsys.readouterr().out
    card = (folder / "README.md").read_text()
    assert '"unknown"' in card and "_epistemic" in card


def test_predict_when_the_pooling_gives_no_frames_then_frames_are_refused(audio, tmp_path):
    folder = fake_model.write_fake(tmp_path / "model", kind="attentive_correlation", projection=4)
    with pytest.raises(UserError, match="gives no scores per frame"):
        _run(folder, [audio / "a.wav"], output=str(tmp_path / "out.jsonl"), frames=True)
