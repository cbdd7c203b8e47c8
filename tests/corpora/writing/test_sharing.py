"""However the preparation of a corpus is shared, the files are those of one process."""

import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from sersl.cli.prepare import run
from sersl.core.errors import UserError
from sersl.corpora import prepare as preparation
from sersl.corpora.prepare import prepare
from sersl.corpora.utterance import Utterance
from sersl.corpora.writing import builder, claim, encoding, parts
from sersl.corpora.writing.encoding import Encoded, encode_all
from sersl.corpora.writing.parts import Parts, divide_evenly
from tests.corpora.test_prepare import bad_files

ROOT = Path(__file__).parents[3]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a prepared corpus."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def left(data_dir: Path) -> list[str]:
    """What is left of the work, locks apart."""
    folder = data_dir / ".preparing"
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@pytest.fixture
def manifest(tmp_path, tone):
    """Good and bad files, one twice, and segments of a recording that cannot be sought in."""
    audio = tmp_path / "audio"
    names = list(bad_files(audio, tone))
    (audio / "again.wav").write_bytes((audio / "good.wav").read_bytes())
    rng = np.random.default_rng(0)
    soundfile.write(audio / "long.ogg", 0.1 * rng.standard_normal(3 * 22_050), 22_050)
    rows = [{"path": name} for name in [*names, "again.wav"]]
    rows += [{"path": "long.ogg", "start": i / 10, "end": i / 10 + 0.4} for i in range(28)]
    columns = ("path", "start", "end")
    lines = [",".join(str(row.get(column, "")) for column in columns) for row in rows]
    path = audio / "own.csv"
    path.write_text("\n".join([",".join(columns), *lines]) + "\n")
    return path


@pytest.fixture
def plain(manifest, tmp_path, monkeypatch):
    """The corpus as one process prepares it, with several files of records."""
    monkeypatch.setattr(builder, "SHARD_BYTES", 40_000)
    prepared = prepare(data_dir=tmp_path / "plain", manifest=manifest)
    summary = prepared.summary
    assert len(summary["skipped"]) == 9 and summary["silent"] and summary["short"]
    assert ["again", "good"] in [sorted(ids) for ids in summary["identical_audio"]]
    files = contents(prepared.folder)
    assert sum("array_record" in name for name in files) > 2
    return files


@pytest.mark.parametrize(
    "shards",
    [
        [(0, 1)],
        [(1, 2), (0, 2)],
        [(2, 4), (0, 4), (3, 4), (1, 4)],
        [(2, 3), (0, 3), (0, 2), (1, 2)],  # another number, half-way
        [(i, 60) for i in range(60)],  # more than there are utterances
    ],
    ids=lambda shards: "-".join(f"{i}of{n}" for i, n in shards[:4]),
)
def test_shards_when_all_are_done_then_the_last_writes_what_one_process_would(
    plain, manifest, tmp_path, shards
):
    data = tmp_path / "data"
    answers = [prepare(data_dir=data, manifest=manifest, shard=shard) for shard in shards]
    # Of 60 shards those from 41 on have nothing to do.
    last = next(answer for answer in answers if answer is not None)
    assert answers.index(last) == min(len(shards), 41) - 1 and not last.skipped_work
    assert contents(last.folder) == plain
    assert left(data) == []
    for shard in shards[:2]:  # a late one finds the corpus
        late = prepare(data_dir=data, manifest=manifest, shard=shard, overwrite=True)
        assert late.skipped_work and late.summary == last.summary
    assert left(data) == []


def test_processes_when_two_encode_then_files_are_those_of_one(plain, manifest, tmp_path):
    seen = []
    prepared = prepare(
        data_dir=tmp_path / "data",
        manifest=manifest,
        processes=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert contents(prepared.folder) == plain
    assert seen == [(i, 41) for i in range(1, 42)]


def test_shard_when_a_part_is_there_then_it_is_not_made_again(
    plain, manifest, tmp_path, monkeypatch
):
    data = tmp_path / "data"
    given = {"data_dir": data, "manifest": manifest}
    assert prepare(**given, shard=(0, 2)) is None
    seen = []
    # The interrupted half is taken over by runs that share in another way.
    monkeypatch.setattr(preparation, "encode_all", _counting(seen))
    last = prepare(**given, shard=(0, 1), progress=lambda *counts: seen.append(counts))
    assert [item for item in seen if isinstance(item, str)] == [
        item.utterance_id for item in _listing(manifest, tmp_path)
    ][1::2]
    assert next(counts for counts in seen if not isinstance(counts, str)) == (22, 41)
    assert contents(last.folder) == plain


def _counting(seen):
    def encode_some(corpus, items, **more):
        def listed():
            for item in items:
                seen.append(item.utterance_id)
                yield item

        yield from encode_all(corpus, listed(), **more)

    return encode_some


def _listing(manifest, tmp_path):
    made = preparation.ManifestBuilder(data_dir=tmp_path, manifest=manifest)
    return [item for item in made.listing() if isinstance(item, Utterance)]


def test_shard_when_a_part_is_damaged_then_it_is_made_again(plain, manifest, tmp_path):
    given = {"data_dir": tmp_path / "data", "manifest": manifest}
    assert prepare(**given, shard=(0, 2)) is None
    part = tmp_path / "data" / ".preparing" / "own.parts" / "part-000004.array_record"
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    with pytest.raises(UserError, match=r"part-000004.array_record was damaged and is deleted"):
        prepare(**given, shard=(1, 2))
    assert prepare(**given, shard=(1, 2)) is None
    assert contents(prepare(**given, shard=(0, 2)).folder) == plain


def test_shard_when_the_source_has_changed_then_parts_of_the_old_one_are_not_used(
    manifest, tmp_path, tone
):
    given = {"data_dir": tmp_path / "data", "manifest": manifest}
    prepare(**given, shard=(0, 2))
    tone(manifest.parent / "good.wav", seconds=0.5)
    assert prepare(**given, shard=(1, 2)) is None
    done = prepare(**given, shard=(0, 2))
    assert contents(done.folder) == contents(
        prepare(data_dir=tmp_path / "other", manifest=manifest).folder
    )
    tone(manifest.parent / "good.wav", seconds=0.7)
    with pytest.raises(UserError, match=r"has changed since .* add --overwrite"):
        prepare(**given, shard=(0, 2))
    assert prepare(**given, shard=(0, 2), overwrite=True) is None
    again = prepare(**given, shard=(1, 2), overwrite=True)
    assert again.summary["fingerprint"] != done.summary["fingerprint"]


def test_shard_when_others_work_on_another_source_then_one_sentence_names_what_differs(
    manifest, tmp_path, tone
):
    data = tmp_path / "data"
    work = claim.describe_work("1.0.0", "x", 3)
    with claim.together(data, "own", work):
        with pytest.raises(UserError, match=r"other processes are preparing 'own' .* source \(x "):
            prepare(data_dir=data, manifest=manifest, shard=(0, 2))
        with pytest.raises(UserError, match="another process is preparing 'own'"):
            prepare(data_dir=data, manifest=manifest)
        with claim.together(data, "own", work):  # the same work is shared
            pass
    assert prepare(data_dir=data, manifest=manifest, shard=(0, 2)) is None


def test_prepare_when_shards_were_interrupted_then_the_plain_way_works_and_tidies_up(
    plain, manifest, tmp_path
):
    data = tmp_path / "data"
    prepare(data_dir=data, manifest=manifest, shard=(0, 2))
    assert left(data) == ["own.parts"]
    assert contents(prepare(data_dir=data, manifest=manifest).folder) == plain
    assert left(data) == []


def test_shards_when_no_file_is_usable_then_the_error_is_that_of_one_process(tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_text("no audio " * 100)
    (tmp_path / "own.csv").write_text("path\na.wav\nb.wav\n")
    given = {"data_dir": tmp_path / "data", "manifest": tmp_path / "own.csv"}
    assert prepare(**given, shard=(1, 2)) is None
    with pytest.raises(UserError, match=r"none of 2 utterances can be used; the first, a\.wav"):
        prepare(**given, shard=(0, 2))


def test_shard_when_the_number_of_utterances_is_unexpected_then_an_error_before_any_work(
    tmp_path, tone
):
    tone(tmp_path / "audio" / "Actor_01" / "03-01-05-01-01-01-01.wav")
    given = {"data_dir": tmp_path / "data", "corpus": "ravdess", "audio_dir": tmp_path / "audio"}
    with pytest.raises(UserError, match="1 utterances found, 1440 expected"):
        prepare(**given, shard=(0, 2))
    assert not (tmp_path / "data").exists()
    prepared = prepare(**given, shard=(0, 1), allow_unexpected_count=True)
    assert prepared.summary["differences"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"processes": 0}, "at least 1 process, not 0"),
        ({"shard": (2, 2)}, "shard 2/2 is none: give I/N with I from 0 to N - 1"),
        ({"shard": (0, 0)}, "shard 0/0 is none"),
        ({"shard": (0, 2), "beam_options": "runner=DirectRunner"}, "leave --shard and"),
        ({"processes": 2, "beam_options": "runner=DirectRunner"}, "leave --shard and"),
    ],
    ids=str,
)
def test_sharing_when_it_cannot_be_then_one_sentence(tmp_path, given, sentence):
    with pytest.raises(UserError, match=sentence):
        prepare(data_dir=tmp_path / "data", corpus="synthetic", **given)
    assert not (tmp_path / "data").exists()


def test_run_when_a_shard_is_done_then_says_what_is_to_come(manifest, tmp_path, arguments, capsys):
    given = {"manifest": manifest, "data_dir": tmp_path / "data"}
    assert run(arguments(**given, shard="1/2")) == 0
    out, err = capsys.readouterr()
    assert out == "shard 1/2 is done; the last of the others to end writes the corpus\n"
    assert err == "prepare: 20 of 20 utterances\n"
    assert run(arguments(**given, shard="0/2")) == 0
    out, err = capsys.readouterr()
    assert "corpus own 1.0.0 is prepared" in out
    assert err == "prepare: 21 of 21 utterances\nwrite: 41 of 41 utterances\n"
    with pytest.raises(UserError, match="--shard half is not I/N"):
        run(arguments(**given, shard="half"))
    with pytest.raises(UserError, match="--download is for one process"):
        run(arguments(corpus="ravdess", download=True, data_dir="d", audio_dir="a", shard="0/2"))


def test_encoded_when_packed_then_every_number_comes_back_exactly():
    row = {"a": 1 / 3, "b": float("nan"), "c": "\ud800 \n é", "d": 7}
    levels = encoding.Levels(1 / 3, -120.0, 1e-300, 3, 0.1, float("nan"))
    info = encoding.AudioInfo(5, 16_000, 1, "WAV", "PCM_16")
    for one in (
        Encoded("x", "x.wav", record=b"\x00\n\xff\n", row=row, levels=levels, info=info),
        Encoded("x", "x.wav", record=b"", row=row, levels=levels),
        Encoded("x", "x.wav", reason='is "empty"\n'),
    ):
        assert repr(Encoded.from_bytes(one.to_bytes())) == repr(one)


@pytest.mark.parametrize("total", [1, 2, 255, 256, 257, 1440, 100_000])
def test_parts_when_divided_then_cover_every_row_once(tmp_path, total):
    made = Parts(tmp_path, divide_evenly(total))
    assert list(itertools.chain.from_iterable(made.rows)) == list(range(total))
    assert all(made.part_of(row) == i for i, rows in enumerate(made.rows) for row in rows)
    assert max(map(len, made.rows)) <= parts._MOST_ROWS and made.missing() == [
        *range(len(made.rows))
    ]


def test_builder_when_pickled_then_lists_the_same(manifest, tmp_path):
    made = preparation.ManifestBuilder(data_dir=tmp_path, manifest=manifest)
    made.allow_outside_paths = True
    copy = pickle.loads(pickle.dumps(made))
    assert repr(list(copy.listing())) == repr(list(made.listing()))
    assert copy.allow_outside_paths


# Processes of their own, killed at any time.


def start(*words, **more) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "sersl", "prepare", *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def wait_for(condition, process: subprocess.Popen) -> None:
    ended = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < ended, process.communicate()
        time.sleep(0.01)


@pytest.fixture
def slow_manifest(tmp_path):
    """Some seconds of work: the same five seconds, over and over, in files of their own."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(5 * 48_000)
    soundfile.write(tmp_path / "noise.wav", noise, 48_000)
    for i in range(150):
        os.link(tmp_path / "noise.wav", tmp_path / f"{i:03d}.wav")
    path = tmp_path / "slow.csv"
    path.write_text("path,utterance_id\n" + "".join(f"{i:03d}.wav,u{i:03d}\n" for i in range(150)))
    return path


@pytest.mark.slow
def test_shards_when_one_is_killed_and_started_again_then_files_are_those_of_one_process(
    slow_manifest, tmp_path
):
    data, folder = tmp_path / "data", tmp_path / "data" / ".preparing" / "slow.parts"
    words = ("--manifest", slow_manifest, "--data_dir", data)
    whole = prepare(data_dir=tmp_path / "plain", manifest=slow_manifest)

    killed = start(*words, "--shard", "0/2", "--processes", "2")
    wait_for(lambda: folder.is_dir() and len(list(folder.glob("*.array_record"))) > 2, killed)
    workers = psutil.Process(killed.pid).children(recursive=True)
    killed.kill()
    killed.communicate()
    # Nobody is left waiting for work.
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    there = list(folder.glob("*.array_record"))
    assert 2 < len(there) < 75

    # Four processes at once, of which two do the same, go on where it was.
    shards = [start(*words, "--shard", shard) for shard in ("0/2", "2/4", "1/4", "3/4")]
    answers = [(*process.communicate(timeout=120), process.returncode) for process in shards]
    assert all(code == 0 for *_, code in answers), answers
    assert any("corpus slow 1.0.0 is prepared" in out for out, *_ in answers)
    assert contents(data / "slow" / "1.0.0") == contents(whole.folder)


def test_processes_when_a_worker_is_killed_then_one_sentence(slow_manifest, tmp_path):
    data = tmp_path / "data"
    folder = data / ".preparing" / "slow.parts"
    process = start("--manifest", slow_manifest, "--data_dir", data, "--shard=0/1", "--processes=2")
    wait_for(lambda: folder.is_dir() and len(list(folder.glob("*.array_record"))) > 2, process)
    workers = [
        child
        for child in psutil.Process(process.pid).children()
        if "spawn_main" in " ".join(child.cmdline())
    ]
    os.kill(workers[0].pid, signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2 and out == ""
    assert "was killed, perhaps because memory ran out" in err.splitlines()[-1]


@pytest.mark.corpora
def test_shards_when_real_speech_then_files_are_those_of_one_process(corpora_dir, tmp_path):
    audio = tmp_path / "audio"
    audio.mkdir()
    for actor in ("Actor_03", "Actor_14"):
        (audio / actor).mkdir()
        for file in sorted((corpora_dir / "ravdess" / actor).glob("*.flac"))[::3]:
            (audio / actor / file.name).symlink_to(file)
    (audio / "Actor_03" / "03-02-04-01-01-01-03.wav").write_bytes(b"")  # a song, left out
    given = {"corpus": "ravdess", "audio_dir": audio, "allow_unexpected_count": True}
    whole = prepare(data_dir=tmp_path / "plain", **given)
    assert whole.summary["num_utterances"] == 40 and len(whole.summary["left_out"]) == 1
    assert prepare(data_dir=tmp_path / "data", **given, shard=(1, 2), processes=2) is None
    shared = prepare(data_dir=tmp_path / "data", **given, shard=(0, 2))
    assert contents(shared.folder) == contents(whole.folder)
    assert json.loads(contents(shared.folder)["prepare.json"]) == whole.summary
