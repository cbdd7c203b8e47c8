import fcntl
import json
import os
import socket
import sys
import tempfile

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils import gcs_utils

from sersl.audio.flac import decode_flac
from sersl.cli import prepare as prepare_table
from sersl.cli.prepare import run
from sersl.core.digests import find_faults
from sersl.core.errors import UserError
from sersl.core.unfinished import swap_in
from sersl.corpora import prepare as preparation
from sersl.corpora.catalog import registry
from sersl.corpora.index import INDEX_SCHEMA, load_index
from sersl.corpora.prepare import prepare
from sersl.corpora.synthetic.corpus import SyntheticBuilder
from sersl.corpora.writing import builder


def corpus_of(make_manifest, tmp_path, rows, **more):
    return prepare(data_dir=tmp_path / "data", manifest=make_manifest(rows), **more)


ROWS = [
    {"path": "b.wav", "emotion": "sad", "speaker": "ann"},
    {"path": "a.flac", "emotion": "happy", "speaker": "bob"},
    {"path": "c.ogg", "emotion": "", "speaker": "ann"},
]


def test_prepare_when_done_then_records_follow_the_index(make_manifest, tmp_path):
    prepared = corpus_of(make_manifest, tmp_path, ROWS)
    index = load_index(tmp_path / "data", "own")
    assert index.column("path").tolist() == ["b.wav", "a.flac", "c.ogg"]  # the manifest's order
    records = tfds.builder_from_directory(str(index.folder)).as_data_source(split="all")
    for row, record in enumerate(records):
        assert set(record) == {*INDEX_SCHEMA.names, "audio"}
        assert record["utterance_id"].decode() == index.column("utterance_id")[row]
        samples = index.column("num_samples")[row]
        assert len(decode_flac(record["audio"], start=0, num_samples=samples)) == samples == 4800
    assert prepared.summary["categories"] == {"": 1, "happy": 1, "sad": 1}
    assert prepared.summary["fingerprint"] == index.fingerprint
    assert "tensorflow" not in sys.modules


def test_table_when_many_files_are_copies_then_one_line_for_them_and_one_for_each_other_reason():
    reasons = [f"same utterance as {n}.wav" for n in range(9)]
    reasons += [f"reason {n}" for n in range(6)]
    left_out = [{"path": f"copy/{n}.wav", "reason": text} for n, text in enumerate(reasons)]
    first, *lines = prepare_table._files("left out", left_out)
    assert "15 files" in first and len(lines) == 6
    assert lines[0].strip().startswith("9 x same utterance as another file: copy/0.wav")
    assert lines[-1].strip() == "2 x other reasons: copy/13.wav, copy/14.wav"


def test_prepare_when_done_then_no_temporary_file_is_left_and_no_network_asked(
    make_manifest, tmp_path, monkeypatch
):
    manifest = make_manifest(ROWS)

    def refuse(*_):
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    # Where TFDS is told to look into its public bucket, it does not for ours.
    monkeypatch.setattr(gcs_utils, "_is_gcs_disabled", False)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    prepare(data_dir=tmp_path / "data", manifest=manifest)
    load_index(tmp_path / "data", "own")
    assert not list((tmp_path / "temporary").iterdir())
    assert {path.name for path in (tmp_path / "data").iterdir()} == {".preparing", "own"}


def test_prepare_when_run_twice_from_the_same_source_then_same_records(make_manifest, tmp_path):
    manifest = make_manifest(ROWS)
    folders = [prepare(data_dir=tmp_path / d, manifest=manifest).folder for d in ("one", "two")]
    files = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert files[0] == files[1]
    for name in files[0]:
        if "array_record" in name or name == "prepare.json":
            assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_prepare_when_records_fill_several_files_then_in_order_across_them(
    make_manifest, tmp_path, monkeypatch
):
    monkeypatch.setattr(builder, "SHARD_BYTES", 1)
    folder = corpus_of(make_manifest, tmp_path, ROWS).folder
    files = sorted(path.name for path in folder.glob("*array_record*"))
    assert files == [f"own-utterances.array_record-0000{i}-of-00003" for i in range(3)]
    records = tfds.builder_from_directory(str(folder)).as_data_source(split="all")
    assert [record["path"].decode() for record in records] == [row["path"] for row in ROWS]


def test_prepare_when_finished_then_left_alone_and_changed_source_needs_overwrite(
    make_manifest, tmp_path, tone
):
    first = corpus_of(make_manifest, tmp_path, ROWS)
    again = corpus_of(make_manifest, tmp_path, ROWS)
    assert again.skipped_work and again.summary == first.summary
    tone(tmp_path / "b.wav", seconds=0.5)
    with pytest.raises(UserError, match=r"has changed since .* add --overwrite"):
        corpus_of(make_manifest, tmp_path, ROWS)
    fresh = corpus_of(make_manifest, tmp_path, ROWS, overwrite=True)
    assert not fresh.skipped_work
    assert fresh.summary["fingerprint"] != first.summary["fingerprint"]
    assert load_index(tmp_path / "data", "own").column("num_samples")[0] == 8000


def bad_files(folder, tone) -> dict[str, str]:
    """Writes one file of each kind; gives the words of the reason, "" where it is kept."""
    tone(folder / "good.wav")
    tone(folder / "short.wav", seconds=0.05)
    tone(folder / "tiny.wav", seconds=0.02)
    tone(folder / "whole.flac", seconds=1.0)
    (folder / "text.wav").write_text("this is not audio, it is a letter to you\n" * 20)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "cut.flac").write_bytes((folder / "whole.flac").read_bytes()[:4000])
    soundfile.write(folder / "silence.wav", np.zeros(8000), 16_000)
    soundfile.write(folder / "header.wav", np.zeros(0), 16_000)
    samples = np.full(8000, 0.1, np.float32)
    samples[100] = np.nan
    soundfile.write(folder / "nan.wav", samples, 16_000, subtype="FLOAT")
    (folder / "folder.wav").mkdir()
    return {
        "good.wav": "",
        "short.wav": "",
        "tiny.wav": "too short: 320 samples",
        "whole.flac": "",
        "text.wav": "text.wav",
        "empty.wav": "empty.wav",
        "cut.flac": "cut.flac",
        "silence.wav": "",
        "header.wav": "",
        "nan.wav": "nan.wav",
        "folder.wav": "folder.wav",
        "gone.wav": "gone.wav",
    }


def test_table_when_files_share_a_reason_then_it_is_printed_once(tmp_path, tone, arguments, capsys):
    tone(tmp_path / "good.wav")
    for name in ("one.wav", "two.wav"):
        (tmp_path / name).write_bytes(b"")
    manifest = tmp_path / "own.csv"
    manifest.write_text("path\ngood.wav\none.wav\ntwo.wav\n")
    run(arguments(manifest=manifest, data_dir=tmp_path / "data"))
    said = capsys.readouterr().out
    assert "2 x is empty (0 bytes): replace the file or leave it out: one.wav, two.wav" in said
    assert "  minutes      0.0\n" in said


def test_prepare_when_files_are_bad_then_each_is_listed_with_its_reason(tmp_path, tone):
    reasons = bad_files(tmp_path, tone)
    manifest = tmp_path / "own.csv"
    manifest.write_text("path\n" + "\n".join(reasons) + "\n")
    summary = prepare(data_dir=tmp_path / "data", manifest=manifest).summary
    skipped = {item["path"]: item["reason"] for item in summary["skipped"]}
    kept = load_index(tmp_path / "data", "own").column("path").tolist()
    assert kept == ["good.wav", "short.wav", "whole.flac", "silence.wav"]
    assert set(skipped) == set(reasons) - set(kept)
    for path, reason in skipped.items():
        assert reasons[path] in reason and "\n" not in reason
    assert summary["silent"] == ["silence"] and summary["short"] == ["short"]


def test_prepare_when_no_file_is_usable_then_error_and_nothing_is_left(tmp_path):
    (tmp_path / "text.wav").write_text("no audio " * 100)
    (tmp_path / "own.csv").write_text("path\ntext.wav\n")
    with pytest.raises(UserError, match=r"none of 1 utterances can be used; the first, text\.wav"):
        prepare(data_dir=tmp_path / "data", manifest=tmp_path / "own.csv")
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".preparing"]


def test_prepare_when_segments_then_exact_samples_and_outside_ones_listed(tmp_path):
    samples = (np.arange(32_000) % 30_000).astype(np.int16)
    soundfile.write(tmp_path / "long.wav", samples, 16_000)
    stereo = np.stack([samples, samples[::-1]], axis=1)
    soundfile.write(tmp_path / "two.wav", stereo, 16_000)
    (tmp_path / "own.csv").write_text(
        "path,start,end,channel\nlong.wav,0.5,1,\ntwo.wav,1,,1\nlong.wav,1.5,2.01,\n"
        "long.wav,1.5,2.5,\nlong.wav,3,4,\ntwo.wav,,,7\n"
    )
    summary = prepare(data_dir=tmp_path / "data", manifest=tmp_path / "own.csv").summary
    index = load_index(tmp_path / "data", "own")
    records = tfds.builder_from_directory(str(index.folder)).as_data_source(split="all")
    expected = [samples[8000:16_000], samples[::-1][16_000:], samples[24_000:]]
    assert len(records) == 3
    for record, want in zip(records, expected, strict=True):
        got = decode_flac(record["audio"], start=0, num_samples=len(want))
        np.testing.assert_array_equal(np.rint(got * 32768).astype(np.int16), want)
    reasons = [item["reason"] for item in summary["skipped"]]
    assert "segment 1.5 to 2.5 s is outside of the file (2 s)" in reasons[0]
    assert "segment 3 to 4 s is outside" in reasons[1] and "channel" in reasons[2]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "nothing to prepare: give --corpus"),
        ({"corpus": "ravdes"}, "unknown corpus 'ravdes': did you mean 'ravdess'"),
        ({"corpus": "ravdess"}, "needs --audio_dir, a folder with Actor_01"),
        (
            {"corpus": "ravdess", "audio_dir": "/nowhere/at/all"},
            "there is no folder '/nowhere/at/all'",
        ),
        ({"corpus": "synthetic", "audio_dir": "/tmp"}, "has no folder: leave --audio_dir out"),
        ({"manifest": "/nowhere.csv"}, "there is no manifest '/nowhere.csv'"),
        ({"manifest": "/nowhere.csv", "corpus": "ravdess"}, "leave --corpus out"),
        ({"manifest": "/ravdess.csv"}, "is the name of a known corpus: .* --name"),
        ({"corpus": "synthetic", "name": "x"}, "leave them out with --corpus"),
    ],
)
def test_prepare_when_arguments_do_not_fit_then_one_sentence(tmp_path, given, sentence):
    with pytest.raises(UserError, match=sentence):
        prepare(data_dir=tmp_path / "data", **given)
    assert not (tmp_path / "data").exists()


def test_prepare_when_the_folder_has_no_audio_then_error_says_what_it_should_have(tmp_path):
    (tmp_path / "audio").mkdir()
    with pytest.raises(UserError, match=r"no utterance found; expected Actor_01.*: check --corpus"):
        prepare(data_dir=tmp_path / "data", corpus="ravdess", audio_dir=tmp_path / "audio")
    (tmp_path / "audio" / "Actors.ZIP").touch()
    with pytest.raises(UserError, match=r"has: unpack Actors\.ZIP first"):
        prepare(data_dir=tmp_path / "data", corpus="ravdess", audio_dir=tmp_path / "audio")


def test_prepare_when_a_folder_is_of_another_corpus_then_the_first_file_and_reason(tmp_path):
    (tmp_path / "03a01Fa.wav").touch()
    (tmp_path / "03a01Wa.wav").touch()
    with pytest.raises(
        UserError, match=r"no utterance found in 2 files \(03a01Fa.wav: name is not MM-VV"
    ):
        prepare(data_dir=tmp_path / "data", corpus="ravdess", audio_dir=tmp_path)


def test_prepare_when_a_killed_run_left_files_then_they_are_removed(make_manifest, tmp_path):
    left = tmp_path / "data" / ".preparing" / "own" / "own" / "1.0.0.incomplete"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x")
    corpus_of(make_manifest, tmp_path, ROWS)
    assert not left.exists()


def test_prepare_when_killed_runs_of_other_corpora_left_files_then_only_theirs_are_removed(
    make_manifest, tmp_path
):
    staging = tmp_path / "data" / ".preparing"
    for name in ("dead", "busy", "shared.parts"):
        (staging / name).mkdir(parents=True)
    with (staging / "busy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        corpus_of(make_manifest, tmp_path, ROWS)
    left = sorted(path.name for path in staging.iterdir() if path.suffix != ".lock")
    assert left == ["busy", "shared.parts"]


def test_prepare_when_the_finished_corpus_is_damaged_then_says_so_and_overwrite_repairs_it(
    make_manifest, tmp_path
):
    first = corpus_of(make_manifest, tmp_path, ROWS)
    index = first.folder / "index.parquet"
    content = index.read_bytes()
    index.write_bytes(content[:-100])
    with pytest.raises(UserError, match=r"index\.parquet is damaged.*--overwrite"):
        corpus_of(make_manifest, tmp_path, ROWS)
    again = corpus_of(make_manifest, tmp_path, ROWS, overwrite=True)
    assert again.summary == first.summary and index.read_bytes() == content


def test_prepare_when_a_new_corpus_takes_the_place_of_the_old_then_in_one_step(
    make_manifest, tmp_path, monkeypatch
):
    first = corpus_of(make_manifest, tmp_path, ROWS)
    seen = []

    def swap(new, folder):
        seen.append(load_index(tmp_path / "data", "own").fingerprint)  # still there
        assert list(find_faults(new)) == []
        swap_in(new, folder)

    monkeypatch.setattr(preparation, "swap_in", swap)
    again = corpus_of(make_manifest, tmp_path, ROWS[:2], overwrite=True)
    assert seen == [first.summary["fingerprint"]] != [again.summary["fingerprint"]]
    assert len(load_index(tmp_path / "data", "own")) == 2


def test_prepare_when_another_process_is_at_it_then_error(make_manifest, tmp_path):
    folder = tmp_path / "data" / ".preparing"
    folder.mkdir(parents=True)
    with (folder / "own.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is preparing 'own'"):
            corpus_of(make_manifest, tmp_path, ROWS)


def test_run_when_done_then_a_plain_table_and_progress_on_standard_error(
    make_manifest, tmp_path, arguments, capsys
):
    manifest = make_manifest([*ROWS, {"path": "d.wav", "emotion": "sad", "speaker": "bob"}])
    (tmp_path / "d.wav").write_text("not audio")
    given = arguments(manifest=str(manifest), data_dir=str(tmp_path / "data"))
    assert run(given) == 0
    out, err = capsys.readouterr()
    assert "corpus own 1.0.0 is prepared" in out and "categories   without 1, happy 1, sad 1" in out
    assert "skipped: 1 files" in out and "d.wav" in out
    assert err.splitlines() == ["prepare: 4 of 4 utterances"]
    assert run(given) == 0
    assert "was already prepared; nothing to do" in capsys.readouterr().out


def test_synthetic_when_prepared_small_then_labels_and_dimensions(tmp_path, monkeypatch):
    class Small(SyntheticBuilder):
        name = "synthetic"

        def __init__(self, *, data_dir):
            super().__init__(data_dir=data_dir, num_speakers=2, utterances_per_speaker=6)

    monkeypatch.setitem(registry.CORPORA, "synthetic", Small)
    summary = prepare(data_dir=tmp_path, corpus="synthetic").summary
    assert summary["num_utterances"] == 12 and summary["num_speakers"] == 2
    index = load_index(tmp_path, "synthetic")
    assert ((index.column("valence") >= 0) & (index.column("valence") <= 1)).all()
    assert set(index.column("scale_high")) == {1.0}
    assert json.loads((index.folder / "prepare.json").read_text()) == summary
    assert not any(os.path.isabs(path) for path in index.column("path"))
