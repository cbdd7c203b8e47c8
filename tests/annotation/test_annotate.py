import argparse
import dataclasses
import json
import os

import numpy as np
import pytest

from sersl.annotation import sidecar_parts
from sersl.annotation.annotate import annotate_corpus, find_sidecar, load_sidecar_info
from sersl.annotation.annotators import RULES, Recording
from sersl.annotation.sidecar_records import make_recordings
from sersl.annotation.signal import signal_intensity
from sersl.audio.prosody import PROSODY_NAMES, prosody
from sersl.cli import annotate as cli
from sersl.cli.main import main
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.corpora.sidecar import RECORDS_FILE, SUMMARY_FILE
from sersl.data.sources import CorpusSource
from tests.data.doubles import prepare
from tests.tolerances import FP32

LENGTHS = np.array([16000, 399, 400, *np.random.default_rng(0).integers(2000, 20000, 70)])


@pytest.fixture
def data_dir(tmp_path):
    prepare(tmp_path, "alpha", LENGTHS[:5])
    return tmp_path


def sidecar_bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_annotate_corpus_of_a_prepared_one_is_what_the_source_reads(data_dir):
    seen = []
    folder = annotate_corpus(
        "signal", "alpha", data_dir=data_dir, progress=lambda *at: seen.append(at)
    )
    source = CorpusSource(data_dir, "alpha", annotator="signal")
    for row, num_samples in enumerate(LENGTHS[:5]):
        frames = num_frames(int(num_samples))
        intensity, values = source.frames(row, num_frames=frames)
        waveform = source.waveform(row)
        # 16-bit floats: 11 bits of precision
        np.testing.assert_allclose(intensity, signal_intensity(waveform), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(values, prosody(waveform), rtol=1e-3, atol=1e-3)
    assert seen == [(i + 1, 5) for i in range(5)]
    assert folder == data_dir / "alpha/1.0.0/sidecars/signal"
    assert [path.name for path in folder.parent.iterdir()] == ["signal"]  # nothing half made

    info = load_sidecar_info("signal", "alpha", data_dir=data_dir)
    assert info["corpus_fingerprint"] == "print-alpha"
    assert info["num_frames"] == sum(num_frames(int(n)) for n in LENGTHS[:5])
    assert info["prosody_names"] == list(PROSODY_NAMES)
    assert len(info["fingerprint"]) == 16


def test_sidecar_in_a_bucket_is_found_before_its_records_are_copied(
    data_dir, tmp_path, monkeypatch
):
    annotate_corpus("signal", "alpha", data_dir=data_dir)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bucket = f"file://{data_dir}"
    info = load_sidecar_info("signal", "alpha", data_dir=bucket)
    assert info == load_sidecar_info("signal", "alpha", data_dir=data_dir)
    assert not list((tmp_path / "cache").rglob("*.array_record*"))
    with pytest.raises(UserError, match=r"--data_dir DIR` with DIR the local folder, and copy it"):
        load_sidecar_info("mine", "alpha", data_dir=bucket)
    intensity, _ = CorpusSource(bucket, "alpha", annotator="signal").frames(0, num_frames=3)
    assert np.isfinite(intensity).all()


def test_annotate_corpus_in_two_processes_writes_the_same_bytes(tmp_path):
    for name, processes in (("one", 1), ("two", 2)):
        prepare(tmp_path / name, "alpha", LENGTHS)
        annotate_corpus("signal", "alpha", data_dir=tmp_path / name, processes=processes)
    one, two = (sidecar_bytes(tmp_path / n / "alpha/1.0.0/sidecars/signal") for n in ("one", "two"))
    assert one == two


def test_annotate_corpus_a_second_time_does_nothing_until_something_changes(data_dir, monkeypatch):
    def stamp():
        folder = annotate_corpus("signal", "alpha", data_dir=data_dir)
        return (folder / RECORDS_FILE).stat().st_ino, json.loads(
            (folder / SUMMARY_FILE).read_text()
        )

    first = stamp()
    assert stamp() == first

    changed = dataclasses.replace(RULES["signal"], version=99)
    monkeypatch.setitem(RULES, "signal", changed)
    with pytest.raises(UserError, match=r"out of date \(fingerprint differs\): run `sersl annot"):
        load_sidecar_info("signal", "alpha", data_dir=data_dir)
    assert stamp()[1]["fingerprint"] != first[1]["fingerprint"]
    monkeypatch.undo()

    prepared = data_dir / "alpha/1.0.0/prepare.json"
    prepared.write_text(prepared.read_text().replace("print-alpha", "print-other"))
    with pytest.raises(UserError, match="fingerprint differs"):
        load_sidecar_info("signal", "alpha", data_dir=data_dir)
    assert stamp()[1]["corpus_fingerprint"] == "print-other"


def test_annotate_corpus_interrupted_leaves_the_old_sidecar_and_goes_on_where_it_was(
    tmp_path, monkeypatch
):
    prepare(tmp_path, "alpha", LENGTHS[:10])
    monkeypatch.setattr(sidecar_parts, "_MOST_ROWS", 4)
    folder = annotate_corpus("signal", "alpha", data_dir=tmp_path)
    before = sidecar_bytes(folder)
    asked = []

    def rule(recording):
        asked.append(recording.utterance_id)
        if len(asked) == 6:
            raise KeyboardInterrupt
        return RULES["energy"].rule(recording)

    changed = dataclasses.replace(RULES["signal"], version=9, rule=rule)
    with pytest.raises(KeyboardInterrupt):
        annotate_corpus(changed, "alpha", data_dir=tmp_path)
    assert sidecar_bytes(folder) == before
    (partial,) = (path for path in folder.parent.iterdir() if path != folder)
    assert sorted(path.name for path in partial.iterdir()) == ["part-000000.array_record"]

    seen = []
    progress = lambda *at: seen.append(at)  # noqa: E731
    assert annotate_corpus(changed, "alpha", data_dir=tmp_path, progress=progress) == folder
    assert asked[6:] == [f"alpha-{i}" for i in range(4, 10)]  # the first part is not done again
    assert seen[0] == (5, 10) and seen[-1] == (10, 10)
    assert list(folder.parent.iterdir()) == [folder]
    source = CorpusSource(tmp_path, "alpha", annotator="signal")
    for row, num_samples in enumerate(LENGTHS[:10]):
        frames = num_frames(int(num_samples))
        recording = Recording("", "", "", source.waveform(row), (np.zeros(0), np.zeros(0)))
        found = source.frames(row, num_frames=frames)[0]
        np.testing.assert_allclose(found, RULES["energy"].rule(recording), atol=1e-3)


def test_annotate_corpus_in_shards_is_what_one_run_makes(tmp_path, monkeypatch):
    monkeypatch.setattr(sidecar_parts, "_MOST_ROWS", 3)
    for name in ("whole", "shards"):
        prepare(tmp_path / name, "alpha", LENGTHS[:14])
    one = annotate_corpus("random", "alpha", data_dir=tmp_path / "whole")
    for number in (2, 0):
        done = annotate_corpus("random", "alpha", data_dir=tmp_path / "shards", shard=(number, 3))
        assert done is None
    with pytest.raises(UserError, match="no annotation by 'random'"):
        CorpusSource(tmp_path / "shards", "alpha", annotator="random")
    last = annotate_corpus("random", "alpha", data_dir=tmp_path / "shards", shard=(1, 3))
    assert sidecar_bytes(one) == sidecar_bytes(last)
    again = annotate_corpus("random", "alpha", data_dir=tmp_path / "shards", shard=(2, 3))
    assert again == last
    with pytest.raises(UserError, match="shard 3/3 is none"):
        annotate_corpus("energy", "alpha", data_dir=tmp_path / "shards", shard=(3, 3))


def test_rules_of_noise_are_what_they_say(data_dir):
    source = CorpusSource(data_dir, "alpha")
    waveform, unvoiced = source.waveform(0), (np.zeros(0), np.zeros(0))
    answers = {
        name: rule.intensities(make_recordings(source, [0, 0], [waveform] * 2, [unvoiced] * 2))
        for name, rule in RULES.items()
        if name != "signal"
    }
    for name, (first, second) in answers.items():
        np.testing.assert_array_equal(first, second, err_msg=name)
        assert first.shape == (num_frames(len(waveform)),) and first.dtype == np.float32
    assert (answers["uniform"][0] == 0.5).all()
    assert 0.3 < answers["random"][0].mean() < 0.7 and answers["random"][0].std() > 0.2
    (other,) = RULES["random"].intensities(make_recordings(source, [1], [waveform], [unvoiced]))
    assert (other != answers["random"][0]).any()
    rms = np.sqrt(np.mean(waveform[:400].astype(float) ** 2))
    expected = (20 * np.log10(rms) + 60) / 45
    np.testing.assert_allclose(answers["energy"][0][0], expected, **FP32)


def test_annotate_corpus_by_a_wrong_annotator_names_what_is_wrong(data_dir, monkeypatch):
    for intensity, sentence in (
        (lambda one: np.zeros(3, np.float32), r"gave \(3,\), not \(49,\)"),
        (lambda one: np.full(num_frames(len(one.waveform)), 1.5), "outside 0..1"),
    ):
        wrong = dataclasses.replace(RULES["signal"], rule=intensity)
        monkeypatch.setitem(RULES, "signal", wrong)
        with pytest.raises(ValueError, match=sentence):
            annotate_corpus("signal", "alpha", data_dir=data_dir)
    assert find_sidecar("signal", CorpusSource(data_dir, "alpha").index) is None


def test_annotate_corpus_without_corpus_annotator_or_room_says_what_to_do(data_dir, monkeypatch):
    with pytest.raises(UserError, match="unknown annotator 'signals': did you mean 'signal'"):
        annotate_corpus("signals", "alpha", data_dir=data_dir)
    with pytest.raises(UserError, match="sersl prepare --corpus beta"):
        annotate_corpus("signal", "beta", data_dir=data_dir)
    with pytest.raises(UserError, match="at least 1 process, not 0"):
        annotate_corpus("signal", "alpha", data_dir=data_dir, processes=0)
    with pytest.raises(UserError, match="a fitted one first annotates the corpus"):
        load_sidecar_info("mine", "alpha", data_dir=data_dir)
    sentence = "no 'signal' sidecar for corpus 'alpha' in .*: run `sersl annotate --annotator sig"
    with pytest.raises(UserError, match=sentence):
        load_sidecar_info("signal", "alpha", data_dir=data_dir)

    def full(*_):
        raise RuntimeError("write() failed: No space left on device")

    monkeypatch.setattr(sidecar_parts, "ArrayRecordWriter", full)
    with pytest.raises(UserError, match=r"cannot be written in .*No space left.*free some space"):
        annotate_corpus("signal", "alpha", data_dir=data_dir)


def _end_process(*_):
    os._exit(9)


def test_annotate_corpus_whose_worker_is_ended_says_so(data_dir):
    deadly = dataclasses.replace(RULES["energy"], rule=_end_process)
    with pytest.raises(UserError, match="was killed, perhaps because"):
        annotate_corpus(deadly, "alpha", data_dir=data_dir, processes=2)


@pytest.mark.parametrize("processes", [1, 2])
def test_annotate_corpus_of_a_damaged_record_names_the_utterance(data_dir, processes):
    (file,) = (data_dir / "alpha/1.0.0").glob("alpha-*.array_record*")
    content = bytearray(file.read_bytes())
    at = content.index(b"fLaC", content.index(b"fLaC") + 1)
    content[at - 40 : at + 400] = bytes(440)
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"utterance 'alpha-\d'.*run\s+`sersl prepare"):
        annotate_corpus("signal", "alpha", data_dir=data_dir, processes=processes)


def test_annotate_command_prints_one_line_and_then_says_it_is_done(data_dir, capsys):
    arguments = argparse.Namespace(
        annotator="signal",
        corpus="alpha",
        data_dir=str(data_dir),
        processes=1,
        shard="0/1",
        measure=None,
        check=False,
        fit=None,
        output=None,
        overrides=[],
    )
    assert cli.run(arguments) == 0
    out, err = capsys.readouterr()
    assert "corpus alpha is annotated by signal: 5 utterances" in out
    assert "x real time" in out and out.count("\n") == 1
    assert "annotate: 5 of 5 utterances" in err
    assert cli.run(arguments) == 0
    assert "already annotated by signal" in capsys.readouterr().out
    with pytest.raises(UserError, match="unknown annotator"):
        cli.run(argparse.Namespace(**{**vars(arguments), "annotator": "x"}))


def test_annotate_when_killed_while_it_removed_its_parts_then_the_next_run_removes_them(
    data_dir, monkeypatch, capsys
):
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(sidecar_parts, "clear_partials", _killed)
        annotate_corpus("signal", "alpha", data_dir=data_dir)
    (left,) = data_dir.glob("alpha/*/sidecars/.*")
    assert list(left.glob("part-*"))
    words = ["annotate", "--corpus", "alpha", "--data_dir", str(data_dir)]
    assert main(words) == 0
    assert "already annotated" in capsys.readouterr().out and not left.exists()


def _killed(*arguments):
    raise KeyboardInterrupt
