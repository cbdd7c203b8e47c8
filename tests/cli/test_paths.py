"""Paths that cannot be, of every verb: one sentence before anything is read or written."""

import os

import pytest

from sersl.cli.main import main

WRITING = {
    "prepare": ["--corpus", "synthetic", "--data_dir"],
    "annotate": ["--corpus", "x", "--data_dir"],
    "annotate --fit": ["--fit", "ranker", "--corpus", "x", "--data_dir", "d", "--output"],
    "cluster": ["--corpus", "x", "--data_dir", "d", "--output"],
    "pretrain": ["--config", "c.py", "--workdir"],
    "finetune": ["--config", "c.py", "--workdir"],
    "evaluate": ["--workdir"],
    "compare": ["w", "--output"],
    "sweep": ["--config", "c.py", "--workdir"],
    "import": ["--source", "s", "--output"],
    "export": ["--workdir", "w", "--output"],
    "predict": ["--model", "m", "a.wav", "--output"],
    "embed": ["--model", "m", "a.wav", "--output"],
    "plan": ["--config", "c.py", "--topology", "cpu:8", "--output"],
    "doctor": ["--workdir"],
}
# Verbs that write to this machine only; predict and embed also write to buckets.
LOCAL = [
    verb
    for verb, words in WRITING.items()
    if words[-1] != "--data_dir" and verb not in ("predict", "embed")
]
PATHS = [
    ("", "is empty: give a path"),
    ("  ", "is empty: give a path"),
    ("a/" + "x" * 256, "has a name of 256 bytes, more than 255"),
    ("é" * 128, "has a name of 256 bytes"),
    ("d/" * 2100, "longer than 4095"),
    (os.fsdecode(b"caf\xe9"), "is not UTF-8"),
    ("a\ud800b", "has a character that no file name has"),
    ("a\0b", "has a NUL character"),
]


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Runs a command that must end in one sentence and must not leave a file."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        assert main(list(words)) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and err.startswith("sersl: ")
        assert list(tmp_path.iterdir()) == []
        return err

    return run


@pytest.mark.parametrize("verb", WRITING)
@pytest.mark.parametrize(("path", "words"), PATHS, ids=lambda value: ascii(value)[:20])
def test_output_when_it_cannot_be_a_path_then_one_sentence(refused, verb, path, words):
    assert words in refused(verb.split()[0], *WRITING[verb], path)


@pytest.mark.parametrize("verb", LOCAL)
@pytest.mark.parametrize("address", ["gs://bucket/run", "s3://b", "file:///tmp/x"])
def test_output_when_it_is_in_a_bucket_then_one_sentence_and_no_folder(refused, verb, address):
    sentence = refused(verb.split()[0], *WRITING[verb], address)
    assert f"{WRITING[verb][-1]} {address} is not a local path" in sentence


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["prepare", "--manifest", "gs://b/m.csv", "--data_dir", "d"], "--manifest gs://b/m.csv"),
        (
            ["prepare", "--corpus", "ravdess", "--audio_dir", "s3://b/a", "--data_dir", "d"],
            "--audio_dir s3://b/a",
        ),
        (["predict", "--model", "gs://b/model", "a.wav"], "--model gs://b/model"),
        (["import", "--source", "s3://b/hf", "--output", "o"], "--source s3://b/hf"),
        (["push", "gs://b/model", "me/voice"], "DIR gs://b/model"),
    ],
)
def test_input_when_it_must_be_here_and_is_in_a_bucket_then_one_sentence(refused, words, option):
    assert f"{option} is not a local path: copy it here" in refused(*words)


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["prepare", "--manifest", "", "--data_dir", "d"], "--manifest"),
        (["prepare", "--corpus", "ravdess", "--audio_dir", "", "--data_dir", "d"], "--audio_dir"),
        (["predict", "--model", "", "a.wav"], "--model"),
        (["predict", "--model", "m", "a.wav", ""], "FILE_OR_FOLDER"),
        (["import", "--source", "", "--output", "o"], "--source"),
        (["annotate", "--annotator", "", "--corpus", "x", "--data_dir", "d"], "--annotator"),
        (
            ["cluster", "--features", "", "--corpus", "x", "--data_dir", "d", "--output", "o"],
            "--features",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_input_when_it_is_empty_then_one_sentence(refused, words, option):
    assert f"{option} is empty" in refused(*words)
