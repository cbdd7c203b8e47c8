import json
import pickle
import shutil
import threading

import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.data.sources import CorpusSource
from tests.data.doubles import intensity_of, prosody_of, waveform_of


@pytest.fixture
def copied(data_dir, tmp_path):
    """A corpus that a test may break."""
    shutil.copytree(data_dir / "beta", tmp_path / "beta")
    return tmp_path


def test_waveform_when_a_part_is_read_then_it_is_sample_exact(data_dir, lengths):
    source = CorpusSource(data_dir, "alpha")
    for row in (0, 3, 39):
        whole = waveform_of("alpha", row, lengths["alpha"][row])
        np.testing.assert_array_equal(source.waveform(row), whole)
        part = source.waveform(row, start=321, num_samples=1000)
        np.testing.assert_array_equal(part, whole[321:1321])


def test_frames_when_a_run_is_read_then_it_is_that_run_of_the_sidecar(data_dir, lengths):
    source = CorpusSource(data_dir, "beta", annotator="signal")
    n = int(lengths["beta"][2])
    intensity, prosody = source.frames(2, start_frame=2, num_frames=5)
    assert intensity.dtype == prosody.dtype == np.float32
    np.testing.assert_array_equal(intensity, intensity_of(2, n)[2:7].astype(np.float16))
    np.testing.assert_array_equal(prosody, prosody_of(2, n)[2:7].astype(np.float16))


def test_source_when_pickled_then_reads_the_same(data_dir):
    source = CorpusSource(data_dir, "beta", annotator="signal")
    source.waveform(0)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.waveform(1), source.waveform(1))
    np.testing.assert_array_equal(
        copy.frames(1, num_frames=4)[0], source.frames(1, num_frames=4)[0]
    )
    assert len(pickle.dumps(source)) < 4096


def test_source_when_read_by_many_threads_then_all_read_right(data_dir, lengths):
    source, wrong = CorpusSource(data_dir, "alpha", annotator="signal"), []

    def read(offset):
        for row in np.roll(np.arange(40), offset):
            n = int(lengths["alpha"][row])
            frames = source.frames(row, num_frames=num_frames(n))[0]
            if not np.array_equal(source.waveform(row), waveform_of("alpha", int(row), n)):
                wrong.append(row)
            if not np.array_equal(frames, intensity_of(int(row), n)):
                wrong.append(row)

    threads = [threading.Thread(target=read, args=(7 * i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_source_when_there_is_no_sidecar_then_the_command_is_named(data_dir):
    with pytest.raises(UserError) as error:
        CorpusSource(data_dir, "alpha", annotator="ranker")
    assert f"sersl annotate --annotator ranker --corpus alpha --data_dir {data_dir}" in str(
        error.value
    )


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("corpus_fingerprint", "another", "other records"),
        ("num_utterances", 3, "number of utterances"),
        ("num_frames", 1, "number of frames"),
        ("schema", 2, "layout"),
        ("prosody_names", ["log_f0"], "prosody"),
    ],
)
def test_source_when_the_sidecar_is_of_other_records_then_the_user_is_told(
    copied, key, value, word
):
    file = copied / "beta" / "1.0.0" / "sidecars" / "signal" / "sidecar.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(UserError, match=word):
        CorpusSource(copied, "beta", annotator="signal")


def test_frames_when_their_number_is_not_the_audios_then_the_utterance_is_named(
    copied, monkeypatch
):
    source = CorpusSource(copied, "beta", annotator="signal")
    column, longer = source.index.column, source.index.column("num_samples") + 6400
    monkeypatch.setattr(
        type(source.index),
        "column",
        lambda _, name: longer if name == "num_samples" else column(name),
    )
    with pytest.raises(UserError, match=r"beta-4.*sersl annotate --annotator signal"):
        source.frames(4, num_frames=1)


@pytest.mark.parametrize("where", ["audio", "sidecar"])
def test_source_when_a_file_is_damaged_then_corpus_utterance_and_command_are_named(copied, where):
    pattern = "beta-*.array_record*" if where == "audio" else "sidecars/signal/*.array_record"
    (file,) = (copied / "beta" / "1.0.0").glob(pattern)
    content = bytearray(file.read_bytes())
    content[200 : len(content) * 2 // 3] = bytes(len(content) * 2 // 3 - 200)
    file.write_bytes(content)
    source = CorpusSource(copied, "beta", annotator="signal")
    command = "sersl prepare" if where == "audio" else "sersl annotate"
    with pytest.raises(UserError, match=rf"'beta-1' of corpus 'beta'.*{command}"):
        source.waveform(1) if where == "audio" else source.frames(1, num_frames=2)


def test_waveform_when_more_is_asked_than_there_is_then_it_is_no_silent_padding(data_dir, lengths):
    source = CorpusSource(data_dir, "beta")
    with pytest.raises(UserError, match="beta-0"):
        source.waveform(0, start=0, num_samples=int(lengths["beta"][0]) + 1)
