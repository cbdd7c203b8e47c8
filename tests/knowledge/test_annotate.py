import argparse
import dataclasses
import json

import numpy as np
import pytest

from sersl.audio.prosody import PROSODY_NAMES, prosody
from sersl.cli import annotate as cli
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.data.sources import CorpusSource
from sersl.knowledge import annotate
from sersl.knowledge.annotate import ANNOTATORS, annotate_corpus, find_sidecar, load_sidecar_info
from sersl.knowledge.signal import signal_intensity
from tests.data.doubles import prepare

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


def test_annotate_corpus_in_two_processes_writes_the_same_bytes(tmp_path):
    for name, processes in (("one", 1), ("two", 2)):
        prepare(tmp_path / name, "alpha", LENGTHS)
        annotate_corpus("signal", "alpha", data_dir=tmp_path / name, processes=processes)
    one, two = (sidecar_bytes(tmp_path / n / "alpha/1.0.0/sidecars/signal") for n in ("one", "two"))
    assert one == two


def test_annotate_corpus_a_second_time_does_nothing_until_something_changes(data_dir, monkeypatch):
    def stamp():
        folder = annotate_corpus("signal", "alpha", data_dir=data_dir)
        return (folder / annotate.RECORDS_FILE).stat().st_ino, json.loads(
            (folder / annotate.SUMMARY_FILE).read_text()
        )

    first = stamp()
    assert stamp() == first

    changed = dataclasses.replace(ANNOTATORS["signal"], version=99)
    monkeypatch.setitem(ANNOTATORS, "signal", changed)
    with pytest.raises(UserError, match=r"out of date \(fingerprint differs\): run `sersl annot"):
        load_sidecar_info("signal", "alpha", data_dir=data_dir)
    assert stamp()[1]["fingerprint"] != first[1]["fingerprint"]
    monkeypatch.undo()

    prepared = data_dir / "alpha/1.0.0/prepare.json"
    prepared.write_text(prepared.read_text().replace("print-alpha", "print-other"))
    with pytest.raises(UserError, match="fingerprint differs"):
        load_sidecar_info("signal", "alpha", data_dir=data_dir)
    assert stamp()[1]["corpus_fingerprint"] == "print-other"


def test_annotate_corpus_interrupted_leaves_the_old_sidecar_and_nothing_half_made(
    data_dir, monkeypatch
):
    folder = annotate_corpus("signal", "alpha", data_dir=data_dir)
    before = sidecar_bytes(folder)

    def interrupt(done, total):
        raise KeyboardInterrupt

    monkeypatch.setitem(ANNOTATORS, "signal", dataclasses.replace(ANNOTATORS["signal"], version=9))
    with pytest.raises(KeyboardInterrupt):
        annotate_corpus("signal", "alpha", data_dir=data_dir, progress=interrupt)
    assert sidecar_bytes(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["signal"]


def test_annotate_corpus_by_a_wrong_annotator_names_what_is_wrong(data_dir, monkeypatch):
    for intensity, sentence in (
        (lambda waveform, track: np.zeros(3, np.float32), r"gave \(3,\), not \(49,\)"),
        (lambda waveform, track: np.full(num_frames(len(waveform)), 1.5), "outside 0..1"),
    ):
        wrong = dataclasses.replace(ANNOTATORS["signal"], intensity=intensity)
        monkeypatch.setitem(ANNOTATORS, "signal", wrong)
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
    sentence = "no 'signal' sidecar for corpus 'alpha' in .*: run `sersl annotate --annotator sig"
    with pytest.raises(UserError, match=sentence):
        load_sidecar_info("signal", "alpha", data_dir=data_dir)

    def full(*_):
        raise RuntimeError("write() failed: No space left on device")

    monkeypatch.setattr(annotate, "ArrayRecordWriter", full)
    with pytest.raises(UserError, match=r"cannot be written in .*No space left.*free some space"):
        annotate_corpus("signal", "alpha", data_dir=data_dir)


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
        annotator="signal", corpus="alpha", data_dir=str(data_dir), processes=1
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
