import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sersl.config.schema import DataConfig
from sersl.core.errors import UserError
from sersl.corpora.labels import make_view
from sersl.data.batch_plan import make_plan
from sersl.data.buckets import evaluation_buckets
from sersl.data.pipeline import evaluation_batches, training_batches
from sersl.data.sources import CorpusSource
from tests.data import doubles
from tests.data.doubles import CATEGORIES, waveform_of

VIEW = make_view("corpus", CATEGORIES)
DATA = DataConfig(
    corpora=("alpha", "beta"), seconds_per_batch=12.0, row_multiple=4, max_seconds=2.0
)


class HalfOfTheRows:
    """Rows of one of two hosts."""

    def __init__(self, host):
        self.host = host

    def __call__(self, rows):
        return np.arange(rows // 2) + self.host * (rows // 2)


@pytest.fixture(scope="module")
def sources(data_dir):
    return [CorpusSource(data_dir, name, annotator="signal") for name in DATA.corpora]


@pytest.fixture(scope="module")
def plan(lengths):
    return make_plan(list(lengths.values()), data=DATA, seed=3)


def read(sources, plan, *, start_step=0, num_steps=9, data=DATA, **more):
    return list(
        training_batches(
            sources, plan, VIEW, start_step=start_step, num_steps=num_steps, data=data, **more
        )
    )


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize(
    ("threads", "processes"), [(1, 0), (5, 0), (1, 1), pytest.param(2, 2, marks=pytest.mark.slow)]
)
def test_training_batches_when_read_in_other_ways_then_are_the_same(
    sources, plan, threads, processes
):
    data = DataConfig(**(vars(DATA) | {"threads": threads, "processes": processes}))
    assert_same(read(sources, plan, data=data), read(sources, plan))


READER = """
import multiprocessing, sys, time
from tests.data.test_pipeline import CorpusSource, DATA, DataConfig, VIEW, make_plan
from sersl.data.pipeline import training_batches

if __name__ == "__main__":
    sources = [CorpusSource(sys.argv[1], name) for name in DATA.corpora]
    plan = make_plan([source.num_samples for source in sources], data=DATA, seed=3)
    data = DataConfig(**(vars(DATA) | {"threads": 1, "processes": 1}))
    batches = training_batches(sources, plan, VIEW, start_step=0, num_steps=10**6, data=data)
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


def test_reader_processes_when_the_main_process_is_killed_then_end_too(data_dir, tmp_path):
    (tmp_path / "read.py").write_text(READER)
    main = subprocess.Popen(
        [sys.executable, tmp_path / "read.py", data_dir],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    readers = [int(pid) for pid in main.stdout.readline().split()]
    main.kill()
    main.wait()
    assert readers
    deadline = time.monotonic() + 30
    while any(is_running(pid) for pid in readers) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [pid for pid in readers if is_running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_training_batches_when_started_anywhere_then_go_on_as_if_never_stopped(sources, plan):
    whole = read(sources, plan)
    assert_same(read(sources, plan, start_step=6, num_steps=3), whole[6:])
    far = read(sources, plan, start_step=10**9, num_steps=1)
    assert far[0]["waveform"].shape[0] in {bucket.rows for bucket in plan.buckets}


def test_training_batches_when_hosts_read_their_rows_then_together_they_are_the_batch(
    sources, plan
):
    hosts = [read(sources, plan, num_steps=4, batch_rows=HalfOfTheRows(h)) for h in (0, 1)]
    together = [
        {name: np.concatenate([a[name], b[name]]) for name in a}
        for a, b in zip(*hosts, strict=True)
    ]
    assert_same(together, read(sources, plan, num_steps=4))


def test_evaluation_batches_when_all_are_read_then_each_comes_once_and_whole(sources, lengths):
    rows = np.r_[0:40:2, 40:47]
    every = np.concatenate(list(lengths.values()))
    buckets = evaluation_buckets(every, num_buckets=2, seconds_per_batch=8.0, row_multiple=4)
    batches = list(evaluation_batches(sources, rows, VIEW, buckets=buckets))
    index = np.concatenate([batch["utterance_index"] for batch in batches])
    np.testing.assert_array_equal(np.sort(index[index >= 0]), rows)
    for batch in batches:
        for i, number in enumerate(batch["utterance_index"]):
            corpus, row = ("alpha", number) if number < 40 else ("beta", number - 40)
            n = int(every[number]) if number >= 0 else 0
            assert batch["valid"][i].sum() == n
            if n:
                expected = waveform_of(corpus, int(row), n)
                np.testing.assert_array_equal(batch["waveform"][i, :n], expected)


def test_evaluation_batches_when_an_utterance_is_too_long_then_it_is_named(sources, lengths):
    buckets = evaluation_buckets(
        np.array([9000]), num_buckets=1, seconds_per_batch=8.0, row_multiple=4
    )
    with pytest.raises(UserError, match=rf"'beta-{np.argmax(lengths['beta'])}' of corpus 'beta'"):
        evaluation_batches(sources, np.arange(47), VIEW, buckets=buckets)


def test_evaluation_batches_when_there_is_nothing_then_there_is_no_batch(sources):
    buckets = evaluation_buckets(
        np.array([9000]), num_buckets=1, seconds_per_batch=8.0, row_multiple=4
    )
    assert list(evaluation_batches(sources, np.array([], int), VIEW, buckets=buckets)) == []


@pytest.mark.parametrize("processes", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_training_batches_when_a_record_is_damaged_then_the_user_is_told(
    data_dir, tmp_path, plan, processes
):
    for corpus in DATA.corpora:
        shutil.copytree(data_dir / corpus, tmp_path / corpus)
    (file,) = (tmp_path / "beta" / "1.0.0").glob("beta-*.array_record*")
    content = file.read_bytes()
    file.write_bytes(content[:300] + bytes(len(content) // 2) + content[300 + len(content) // 2 :])
    sources = [CorpusSource(tmp_path, name) for name in DATA.corpora]
    data = DataConfig(**(vars(DATA) | {"processes": processes}))
    with pytest.raises(UserError, match=r"beta-\d.*sersl prepare --corpus beta"):
        read(sources, plan, data=data)


DAMAGED = {"alpha": (3, 4, 20), "beta": (5,)}


@pytest.fixture(scope="module")
def damaged_dir(tmp_path_factory, lengths):
    """Two corpora of which some records hold half a FLAC file."""
    folder = tmp_path_factory.mktemp("damaged")
    whole = doubles.encode_flac
    with pytest.MonkeyPatch.context() as patch:
        for corpus, of_corpus in lengths.items():
            bad = {whole(waveform_of(corpus, i, of_corpus[i])) for i in DAMAGED[corpus]}

            def encode(waveform, bad=frozenset(bad)):
                data = whole(waveform)
                return data[: len(data) // 2] if data in bad else data

            patch.setattr(doubles, "encode_flac", encode)
            doubles.prepare(folder, corpus, of_corpus, annotator="signal")
    return folder


def damaged_sources(damaged_dir):
    return [CorpusSource(damaged_dir, name, annotator="signal") for name in DATA.corpora]


def next_whole(plan, lengths, corpus, row):
    """The next row of the same bucket by number that can be read, in a circle."""
    ends = [bucket.num_samples for bucket in plan.buckets][:-1]
    bucket = np.searchsorted(ends, lengths[corpus])
    alike = np.flatnonzero(bucket == bucket[row]).tolist()
    place = alike.index(row)
    while alike[place] in DAMAGED[corpus]:
        place = (place + 1) % len(alike)
    return alike[place]


def test_training_batches_when_records_are_damaged_then_the_next_of_the_bucket_takes_their_place(
    sources, plan, lengths, damaged_dir, caplog
):
    damaged = damaged_sources(damaged_dir)
    with caplog.at_level(logging.WARNING):
        got = read(damaged, plan, num_steps=40)
    replaced = 0
    for batch, want in zip(got, read(sources, plan, num_steps=40), strict=True):
        for i, number in enumerate(want["utterance_index"]):
            corpus, row = ("alpha", number) if number < 40 else ("beta", number - 40)
            if row not in DAMAGED[corpus]:
                for name in batch:
                    np.testing.assert_array_equal(batch[name][i], want[name][i])
                continue
            replaced += 1
            row = next_whole(plan, lengths, corpus, int(row))
            assert batch["utterance_index"][i] == row + (0 if corpus == "alpha" else 40)
            assert batch["category"][i] == VIEW.indices(np.array([CATEGORIES[row % 4]]))[0]
            whole = waveform_of(corpus, row, int(lengths[corpus][row]))
            n = int(batch["valid"][i].sum())
            assert n == min(len(whole), batch["waveform"].shape[1])
            windows = np.lib.stride_tricks.sliding_window_view(whole, n)[::320]
            assert (windows == batch["waveform"][i, :n]).all(axis=1).any()
    assert replaced > 4
    assert [sorted(source.damaged) for source in damaged] == [[3, 4, 20], [5]]
    assert "'alpha-20'" in damaged[0].damaged[20]
    replaced = [one for one in caplog.records if one.name == "sersl.data.pipeline"]
    assert len(replaced) == 4  # once per record, however often it was drawn


@pytest.mark.parametrize(
    ("threads", "processes"), [(1, 0), (5, 0), pytest.param(1, 2, marks=pytest.mark.slow)]
)
def test_training_batches_when_records_are_damaged_then_all_ways_to_read_replace_alike(
    plan, damaged_dir, threads, processes
):
    data = DataConfig(**(vars(DATA) | {"threads": threads, "processes": processes}))
    one, other = damaged_sources(damaged_dir), damaged_sources(damaged_dir)
    want = read(one, plan, num_steps=20)
    assert_same(read(other, plan, num_steps=20, data=data), want)
    assert [source.damaged for source in one] == [source.damaged for source in other]
    hosts = [
        read(damaged_sources(damaged_dir), plan, num_steps=20, batch_rows=HalfOfTheRows(h))
        for h in (0, 1)
    ]
    together = [
        {name: np.concatenate([a[name], b[name]]) for name in a}
        for a, b in zip(*hosts, strict=True)
    ]
    assert_same(together, want)


@pytest.mark.parametrize(("limit", "enough"), [(0, False), (3, False), (4, True)])
def test_training_batches_when_more_records_are_damaged_than_allowed_then_the_run_stops(
    plan, damaged_dir, limit, enough
):
    data = DataConfig(**(vars(DATA) | {"max_corrupted": limit}))
    sources = damaged_sources(damaged_dir)
    if enough:
        assert len(read(sources, plan, num_steps=40, data=data)) == 40
        return
    sentence = rf"'(alpha|beta)-\d+'.*more records are damaged than data\.max_corrupted={limit}"
    with pytest.raises(UserError, match=sentence):
        read(sources, plan, num_steps=40, data=data)


def test_evaluation_batches_when_a_record_is_damaged_then_nothing_is_replaced(damaged_dir, lengths):
    sources = damaged_sources(damaged_dir)
    buckets = evaluation_buckets(
        np.concatenate(list(lengths.values())), num_buckets=2, seconds_per_batch=8.0, row_multiple=4
    )
    with pytest.raises(UserError, match="'alpha-20' of corpus 'alpha'"):
        list(evaluation_batches(sources, np.array([18, 19, 20, 21]), VIEW, buckets=buckets))
    assert not sources[0].damaged
