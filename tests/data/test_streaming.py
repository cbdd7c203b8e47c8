"""Corpora read from a bucket: a local folder, memory or a failing file system stands for it."""

import json
import multiprocessing
import shutil
import time

import fsspec
import numpy as np
import pytest
import soundfile
from fsspec.implementations.local import LocalFileSystem

from sersl.config.schema import DataConfig
from sersl.core.errors import UserError
from sersl.corpora import remote
from sersl.corpora.labels import make_view
from sersl.corpora.prepare import prepare
from sersl.corpora.remote import Bucket, UnreachableError
from sersl.corpora.writing import builder
from sersl.data.batch_plan import make_plan
from sersl.data.pipeline import training_batches
from sersl.data.sources import CorpusSource, DamagedRecordError
from sersl.data.streaming import ShardCache
from tests.data import doubles

NUM = 6


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "_PAUSE", 0.0)
    return tmp_path / "cache" / "sersl" / "records"


def write_corpus(tmp_path, *, seed=0, data_dir="data"):
    """Six utterances, each in a file of records of its own."""
    rows = ["path,emotion"]
    for number in range(NUM):
        noise = np.random.default_rng([seed, number]).uniform(-0.5, 0.5, 8_000 + 800 * number)
        soundfile.write(tmp_path / f"{number}.wav", noise, 16_000, subtype="PCM_16")
        rows.append(f"{number}.wav,{'happy' if number % 2 else 'sad'}")
    (tmp_path / "own.csv").write_text("\n".join(rows) + "\n")
    prepare(data_dir=tmp_path / data_dir, manifest=tmp_path / "own.csv", overwrite=True)


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "SHARD_BYTES", 1)
    write_corpus(tmp_path)
    return tmp_path / "data"


def in_memory(data_dir, url):
    files = fsspec.filesystem("memory")
    for path in data_dir.rglob("*"):
        if path.is_file() and ".preparing" not in path.parts:
            name = f"{url.removeprefix('memory:/')}/{path.relative_to(data_dir)}"
            files.pipe_file(name, path.read_bytes())
    return url


def shards(cache):
    return [path for path in cache.iterdir() if not path.name.startswith(".")]


def settle(cache, number):
    """Waits for what is fetched ahead."""
    for _ in range(200):
        if cache.is_dir() and len(shards(cache)) == number:
            return
        time.sleep(0.02)
    pytest.fail(f"{len(shards(cache))} files in the cache, not {number}")


def test_bucket_when_read_then_waveforms_and_labels_are_those_of_the_folder(data_dir, cache):
    local = CorpusSource(data_dir, "own")
    source = CorpusSource(in_memory(data_dir, "memory://one/data"), "own")
    assert source.index.remote == "memory://one/data/own/1.0.0"
    assert source.index.fingerprint == local.index.fingerprint
    np.testing.assert_array_equal(source.index.column("category"), local.index.column("category"))
    for row in (4, 0, 5, 4):
        np.testing.assert_array_equal(source.waveform(row), local.waveform(row))
    settle(cache, NUM)  # the others were fetched ahead
    with pytest.raises(IndexError):
        source._records()[NUM]


def test_bucket_when_the_cache_is_small_then_it_never_holds_more(data_dir, cache):
    local = CorpusSource(data_dir, "own")
    sizes = [f.stat().st_size for f in data_dir.rglob("*array_record*")]
    room = 2 * max(sizes) + 1000
    url = in_memory(data_dir, "memory://small/data")
    source = CorpusSource(url, "own", cache_gigabytes=room / 1e9)
    rows = np.random.default_rng(0).integers(0, NUM, 40)
    for row in rows:
        np.testing.assert_array_equal(source.waveform(int(row)), local.waveform(int(row)))
        assert sum(path.stat().st_size for path in shards(cache)) <= room


def test_bucket_when_a_corpus_is_prepared_again_then_old_copies_are_not_used(
    data_dir, tmp_path, cache
):
    url = in_memory(data_dir, "memory://again/data")
    old = CorpusSource(url, "own").waveform(0)
    write_corpus(tmp_path, seed=1)
    in_memory(data_dir, "memory://again/data")
    source = CorpusSource(url, "own")
    assert source.index.fingerprint == CorpusSource(data_dir, "own").index.fingerprint
    new = source.waveform(0)
    np.testing.assert_array_equal(new, CorpusSource(data_dir, "own").waveform(0))
    assert np.abs(new - old).max() > 0.1


def test_bucket_when_a_record_is_damaged_then_it_is_replaced_as_from_a_folder(data_dir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(data_dir, copy)
    broken = sorted(copy.rglob("*array_record*"))[2]
    content = broken.read_bytes()
    middle = content.index(b"fLaC") + 2000
    broken.write_bytes(content[:middle] + bytes(1000) + content[middle + 1000 :])
    batches = []
    for where in (copy, f"file://{copy}"):
        source = CorpusSource(where, "own")
        with pytest.raises(
            DamagedRecordError, match=r"run `sersl prepare --manifest .*own.csv"
        ) as told:
            source.waveform(2)
        assert ("DIR the local folder, and copy it" in str(told.value)) == (where != copy)
        batches.append(read(source))
        assert set(source.damaged) == {2}
    for one, other in zip(*batches, strict=True):
        np.testing.assert_array_equal(one["waveform"], other["waveform"])


def read(source, **settings):
    data = DataConfig(seconds_per_batch=4.0, row_multiple=2, num_buckets=1, **settings)
    plan = make_plan([source.num_samples], data=data, seed=0)
    view = make_view("none", ())
    return list(training_batches([source], plan, view, start_step=0, num_steps=4, data=data))


class Unsteady(LocalFileSystem):
    """Fails as often as it is told."""

    protocol = "unsteady"
    failures = 0

    def open(self, path, *args, **kwargs):
        if "array_record" in str(path) and Unsteady.failures:
            Unsteady.failures -= 1
            raise ConnectionResetError("reset by peer")
        return super().open(path, *args, **kwargs)


def test_bucket_when_the_network_fails_then_tried_again_and_never_taken_for_damage(
    data_dir, tmp_path, monkeypatch
):
    fsspec.register_implementation("unsteady", Unsteady, clobber=True)
    source = CorpusSource(f"unsteady://{data_dir}", "own")
    Unsteady.failures = 2
    assert len(source.waveform(0)) == 8000
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    source = CorpusSource(f"unsteady://{data_dir}", "own")
    Unsteady.failures = 10**6
    with pytest.raises(UnreachableError, match=r"cannot be read \(ConnectionResetError: reset by"):
        read(source)
    assert not source.damaged


def test_bucket_when_it_refuses_or_is_not_there_then_told_at_once(data_dir, monkeypatch):
    fsspec.register_implementation("unsteady", Unsteady, clobber=True)
    tries = []

    def refuse(*_, **__):
        tries.append(1)
        raise PermissionError("Access Denied")

    def not_there(*_, **__):
        raise FileNotFoundError("no such bucket")

    monkeypatch.setattr(Unsteady, "glob", not_there)
    with pytest.raises(UserError, match="or there is no such bucket"):
        CorpusSource(f"unsteady://{data_dir}", "own")
    monkeypatch.setattr(Unsteady, "glob", refuse)
    with pytest.raises(UnreachableError, match=r"may not be read \(PermissionError: Access Denied"):
        CorpusSource(f"unsteady://{data_dir}", "own")
    assert len(tries) == 1


def _read_all(url, seed, room, out):
    source = CorpusSource(url, "own", cache_gigabytes=room / 1e9)
    total = 0.0
    for row in np.random.default_rng(seed).integers(0, NUM, 60):
        total += float(np.abs(source.waveform(int(row))).sum())
    out.put((seed, total))


@pytest.mark.slow
def test_bucket_when_processes_share_a_small_cache_then_all_read_everything(data_dir, cache):
    room = 2 * max(f.stat().st_size for f in data_dir.rglob("*array_record*"))
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    given = [(f"file://{data_dir}", seed, room, out) for seed in range(2)]
    processes = [context.Process(target=_read_all, args=arguments) for arguments in given]
    for process in processes:
        process.start()
    answers = dict(out.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    local = CorpusSource(data_dir, "own")
    for seed, total in answers.items():
        rows = np.random.default_rng(seed).integers(0, NUM, 60)
        assert total == sum(float(np.abs(local.waveform(int(row))).sum()) for row in rows)


def test_bucket_when_annotated_then_batches_are_those_of_the_folder(tmp_path):
    lengths = [20_000, 16_000, 24_000, 18_000]
    doubles.prepare(tmp_path / "data", "alpha", lengths, annotator="signal")
    batches = [
        read(CorpusSource(where, "alpha", annotator="signal"))
        for where in (tmp_path / "data", f"file://{tmp_path}/data")
    ]
    for one, other in zip(*batches, strict=True):
        assert one.keys() == other.keys() >= {"intensity", "prosody"}
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_bucket_when_it_cannot_be_used_then_a_sentence(data_dir, tmp_path, monkeypatch):
    for url, words in (
        ("gs://bucket/data", r"pip install 'sersl\[gcs\]'"),
        ("s3://bucket/data", r"pip install 'sersl\[s3\]'"),
        ("gopher://bucket/data", r"Protocol not known: gopher; known are gs://"),
    ):
        with pytest.raises(UserError, match=words):
            CorpusSource(url, "own")
    with pytest.raises(
        UserError, match=r"'ravdess' is not prepared.*--data_dir DIR` with DIR the local .*own"
    ):
        CorpusSource(f"file://{data_dir}", "ravdess")
    with pytest.raises(UserError, match=r"has no output of `sersl prepare`, or there is no"):
        CorpusSource(f"file://{data_dir}/nowhere", "own")
    with pytest.raises(UserError, match=r"`sersl prepare` writes into --data_dir, which must be a"):
        prepare(data_dir="gs://bucket/data", corpus="synthetic")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own.csv"))
    with pytest.raises(UserError, match="set XDG_CACHE_HOME to a folder with room"):
        CorpusSource(f"file://{data_dir}", "own")


def test_cache_when_a_copy_is_under_way_then_its_room_is_taken(data_dir, cache):
    bucket = Bucket(f"file://{data_dir}/own/1.0.0")
    files = sorted(file for file in bucket.glob("*") if "array_record" in file)
    sizes = [bucket.size(file) for file in files]
    cache.mkdir(parents=True)
    (cache / ".killed.reserved").write_bytes(bytes(10 * sum(sizes)))  # nobody has locked it
    (cache / ".killed.1.part").write_bytes(bytes(10))
    kept = ShardCache(cache, sum(sizes[:2]))
    with kept._reserve(cache / "under way", sizes[1], asked=True) as reserved:
        assert reserved
        assert kept.fetch_if_room(bucket, files[0], "first")
        assert not kept.fetch_if_room(bucket, files[2], "third")
    assert [path.name for path in shards(cache)] == ["first"]
    assert not list(cache.glob(".*.part")) and not list(cache.glob(".*.reserved"))
    assert kept.fetch_if_room(bucket, files[1], "second")


def test_cache_when_a_copy_is_half_there_then_it_is_not_taken_for_whole(data_dir, cache):
    cache.mkdir(parents=True)
    (cache / ".half.1.part").write_bytes(b"x")
    source = CorpusSource(f"file://{data_dir}", "own")
    assert len(source.waveform(1)) == 8800
    settle(cache, NUM)
    assert json.loads((data_dir / "own/1.0.0/prepare.json").read_text())["num_utterances"] == NUM
