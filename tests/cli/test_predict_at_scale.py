"""Lists, standard input, shards, buckets, Parquet, and outputs that are resumed."""

import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet
import pytest
import soundfile

import sersl
from sersl.cli.main import main
from sersl.core.errors import UserError
from sersl.core.growing import GrowingFile
from tests.fake_speech import RATE, make_voice
from tests.release import fake_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(fake_model.write_fake(tmp_path_factory.mktemp("models") / "model"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    for number in range(5):
        soundfile.write(folder / f"{number}.wav", make_voice(0.5 + 0.1 * number, number), RATE)
    return folder


def _jsonl(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def _fails(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    (*_, sentence) = capsys.readouterr().err.splitlines()
    return sentence


def test_predict_when_files_are_in_a_list_then_paths_begin_at_its_folder(
    model, folder, tmp_path, capsys, monkeypatch
):
    (folder / "list.txt").write_text("1.wav\n\n0.wav\n1.wav\n")
    output = tmp_path / "a.jsonl"
    command = ["predict", "--model", model, "--list", str(folder / "list.txt")]
    assert main([*command, "--output", str(output)]) == 0
    names = [os.path.basename(row["file"]) for row in _jsonl(output)]
    assert names == ["1.wav", "0.wav"]
    (folder / "list.txt").write_text("1.wav\ngone.wav\n")
    said = _fails(capsys, *command, "--output", output)
    assert "1 of 2 files do not exist" in said and "gone.wav" in said
    good, missing = _jsonl(output)
    assert good["status"] == "ok" and missing["status"] == "unreadable"
    assert "does not exist" in missing["error"]
    (folder / "list.txt").write_text("\n")
    assert "is empty" in _fails(capsys, *command)
    assert "cannot be read" in _fails(capsys, "predict", "--model", model, "--list", "no.txt")
    assert "there is no audio" in _fails(capsys, "predict", "--model", model)
    lines = f"{folder / '2.wav'}\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert main(["predict", "--model", model, "--list", "-", "--output", str(output)]) == 0
    assert [row["status"] for row in _jsonl(output)] == ["ok"]


def test_predict_when_audio_is_on_standard_input_then_one_row_or_a_sentence(
    model, folder, tmp_path, capsys, monkeypatch
):
    def given(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    output = tmp_path / "a.jsonl"
    given((folder / "0.wav").read_bytes())
    assert main(["predict", "--model", model, "-", "--output", str(output)]) == 0
    (row,) = _jsonl(output)
    assert (row["file"], row["status"]) == ("-", "ok")
    given(b"")
    assert "empty (0 bytes)" in _fails(capsys, "predict", "--model", model, "-")
    given(b"hello")
    assert "not audio" in _fails(capsys, "predict", "--model", model, "-")


def test_shards_when_all_are_done_then_every_file_is_in_one(model, folder, tmp_path, capsys):
    command = ["predict", "--model", model, str(folder), "--output", str(tmp_path / "a.jsonl")]
    for part in range(2):
        assert main([*command, "--shard", f"{part}/2"]) == 0
    files = [tmp_path / f"a-0000{part}-of-00002.jsonl" for part in range(2)]
    names = [sorted(os.path.basename(row["file"]) for row in _jsonl(file)) for file in files]
    assert names == [["0.wav", "2.wav", "4.wav"], ["1.wav", "3.wav"]]
    for wrong in ("2/2", "3/2", "-1/2", "x", "0/0"):
        assert "is not I/N with I from 0" in _fails(capsys, *command, f"--shard={wrong}")
    assert "has no file" in _fails(capsys, *command, "--shard", "7/8")


def test_formats_when_compared_then_the_same_columns_and_values(model, folder, tmp_path):
    for ending in ("csv", "jsonl", "parquet"):
        output = str(tmp_path / f"a.{ending}")
        assert main(["predict", "--model", model, str(folder), "--output", output]) == 0
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    header = (tmp_path / "a.csv").read_text().splitlines()[0].split(",")
    assert table.column_names == header
    for row, other in zip(table.to_pylist(), _jsonl(tmp_path / "a.jsonl"), strict=True):
        assert row["category"] == other["category"] == max(other["scores"], key=other["scores"].get)
        assert row["score_angry"] == other["scores"]["angry"] and row["arousal"] == other["arousal"]


class _StopError(Exception):
    """In place of a kill."""


@pytest.mark.parametrize(
    ("verb", "ending"), [("predict", ".csv"), ("predict", ".parquet"), ("embed", ".npz")]
)
def test_output_when_it_was_interrupted_then_it_is_resumed_and_equal(
    model, folder, tmp_path, capsys, monkeypatch, verb, ending
):
    def command(name):
        return [verb, "--model", model, str(folder), "--output", str(tmp_path / f"{name}{ending}")]

    assert main(command("whole")) == 0
    commit, write = GrowingFile.commit, GrowingFile.write

    def stop_after(count):
        def stopping(file, done):
            commit(file, done)
            if done == count:
                write(file, "half a row")
                raise _StopError

        return stopping

    monkeypatch.setattr(GrowingFile, "commit", stop_after(3))
    with pytest.raises(_StopError):
        main(command("a"))
    monkeypatch.setattr(GrowingFile, "commit", commit)
    assert not (tmp_path / f"a{ending}").exists()
    read = []
    load = sersl.load

    def remembering(*arguments, **options):
        loaded = load(*arguments, **options)
        for name in ("answers", "embeddings"):
            work = getattr(loaded, name)
            monkeypatch.setattr(
                loaded, name, lambda s, work=work, **o: (read.append(len(s)), work(s, **o))[1]
            )
        return loaded

    monkeypatch.setattr(sersl, "load", remembering, raising=False)
    assert main(command("a")) == 0
    assert read == [2]
    assert sorted(os.listdir(tmp_path)) == [f"a{ending}", f"whole{ending}"]
    if ending == ".npz":
        with np.load(tmp_path / "a.npz") as ours, np.load(tmp_path / "whole.npz") as whole:
            assert ours["files"].tolist() == whole["files"].tolist()
            np.testing.assert_allclose(ours["embeddings"], whole["embeddings"], atol=1e-5)
    elif ending == ".csv":
        lines = [(tmp_path / f"{name}.csv").read_text().splitlines() for name in ("a", "whole")]
        assert [line.split(",")[:5] for line in lines[0]] == [
            line.split(",")[:5] for line in lines[1]
        ]


def test_output_when_an_audio_file_has_changed_since_then_it_starts_again(
    model, folder, tmp_path, monkeypatch, capsys
):
    audio = shutil.copytree(folder, tmp_path / "audio", ignore=lambda _, names: {"list.txt"})
    command = ["predict", "--model", model, str(audio), "--output", str(tmp_path / "a.csv")]

    def die(file, content):
        raise _StopError

    write = GrowingFile.write
    commit = GrowingFile.commit
    monkeypatch.setattr(
        GrowingFile,
        "commit",
        lambda file, done: (commit(file, done), monkeypatch.setattr(GrowingFile, "write", die)),
    )
    with pytest.raises(_StopError):
        main(command)
    monkeypatch.setattr(GrowingFile, "commit", commit)
    monkeypatch.setattr(GrowingFile, "write", write)
    soundfile.write(audio / "0.wav", make_voice(0.9, 7), RATE)
    assert main(command) == 0
    assert "done before" not in capsys.readouterr().err


def test_output_when_the_disk_is_full_then_a_sentence_and_the_next_run_resumes(
    model, folder, tmp_path, capsys, monkeypatch
):
    write = GrowingFile.write
    count = 0

    def full(file, content):
        nonlocal count
        count += 1
        if count == 4:
            write(file, content[: len(content) // 2])
            raise OSError(28, "No space left on device")
        write(file, content)

    output = tmp_path / "a.csv"
    monkeypatch.setattr(GrowingFile, "write", full)
    said = _fails(capsys, "predict", "--model", model, folder, "--output", output)
    assert "No space left on device" in said and "run the same command again to resume" in said
    monkeypatch.setattr(GrowingFile, "write", write)
    assert main(["predict", "--model", model, str(folder), "--output", str(output)]) == 0
    assert "2 done before, 3 ok" in capsys.readouterr().err
    assert len(output.read_text().splitlines()) == 6


def test_buckets_when_named_then_audio_is_read_and_results_are_written(
    model, folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = f"file://{tmp_path / 'bucket' / 'a.csv'}"
    assert main(["predict", "--model", model, f"file://{folder}", "--output", url]) == 0
    lines = (tmp_path / "bucket" / "a.csv").read_text().splitlines()
    assert len(lines) == 6 and lines[1].startswith("file://")
    assert not os.listdir(tmp_path / "cache" / "sersl" / "outputs")
    (tmp_path / "none").mkdir()
    assert "holds no audio" in _fails(
        capsys, "predict", "--model", model, f"file://{tmp_path}/none"
    )


def test_embed_when_written_as_shards_or_parquet_then_the_vectors_of_npz(
    model, folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("sersl.release.predict.vectors._SHARD_BYTES", 16 * 4 * 20)
    (folder / "text.wav").write_text("hello")
    command = ["embed", "--model", model, "--frames", str(folder), "--output"]
    for name in ("a.npz", "a.parquet", "shards", "shards"):
        assert main([*command, str(tmp_path / name)]) == 0
    (folder / "text.wav").unlink()
    with np.load(tmp_path / "a.npz") as content:
        expected, counts = content["embeddings"], content["num_frames"]
        assert counts.sum() == len(expected) and content["skipped"].size == 1
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    vectors = np.array([v for v in table["embedding"].to_pylist() if v is not None], np.float32)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert "not audio" in table["error"].to_pylist()[-1]
    assert table.schema.metadata[b"layers"] == b"[2]"
    shards = sorted((tmp_path / "shards").glob("*.npy"))
    assert len(shards) > 1
    np.testing.assert_allclose(np.concatenate([np.load(s) for s in shards]), expected, atol=1e-5)
    lines = _jsonl(tmp_path / "shards" / "files.jsonl")
    assert [line.get("rows") for line in lines] == [*counts.tolist(), None]
    assert lines[0]["layers"] == [2]
    said = _fails(capsys, *command, folder)
    assert "a folder with other files in it" in said and (folder / "0.wav").exists()


def test_model_when_the_precision_is_unknown_then_said_before_it_is_read(capsys):
    said = _fails(capsys, "predict", "--model", "nowhere", "x.wav", "--precision", "int9")
    assert "unknown precision 'int9'" in said
    with pytest.raises(UserError, match="unknown precision"):
        sersl.load("nowhere", precision="int9")


@pytest.mark.parametrize("verb", ["predict", "embed"])
def test_arguments_when_checked_then_jax_is_not_loaded(verb):
    code = f"import sys, sersl.cli.{verb}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
