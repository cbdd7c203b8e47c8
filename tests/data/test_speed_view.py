"""A prepared corpus at another speed."""

import pickle

import numpy as np
import pytest

from sersl.audio.warp import change_speed
from sersl.config.solver import ViewsConfig
from sersl.data.sources import CorpusSource
from sersl.data.speed_view import SpeedView, Views


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_speed_view_when_read_then_the_utterance_at_that_speed(data_dir, speed):
    source = CorpusSource(data_dir, "alpha")
    view = pickle.loads(pickle.dumps(SpeedView(source, speed)))
    assert len(view) == len(source) and view.index.corpus == source.index.corpus
    for row in range(3):
        expected = change_speed(source.waveform(row), speed)
        assert view.num_samples[row] == len(expected)
        np.testing.assert_array_equal(view.waveform(row), expected)
        out = np.zeros(320, np.float32)
        assert view.waveform(row, start=640, num_samples=320, out=out) is out
        np.testing.assert_array_equal(out, expected[640:960])
    np.testing.assert_allclose(view.num_samples, source.num_samples / speed, atol=2)
    assert source.speed == 1.0


def test_speed_view_when_the_source_reads_the_start_alone_then_so_do_copies(data_dir):
    whole = CorpusSource(data_dir, "alpha")
    most = int(np.median(whole.num_samples))
    source = CorpusSource(data_dir, "alpha", most_samples=most)
    slower = pickle.loads(pickle.dumps(SpeedView(source, 0.9)))
    assert slower.num_samples.max() == most
    for row in range(4):
        start = whole.waveform(row)[:most]
        np.testing.assert_array_equal(source.waveform(row), start)
        assert source.num_samples[row] == len(start)
        copy = change_speed(start, 0.9)
        np.testing.assert_array_equal(slower.waveform(row), copy[:most])
        assert slower.num_samples[row] == min(len(copy), most)
        assert slower.cut[row] == (len(copy) > most)


def test_views_when_a_copy_is_cut_then_it_trains_and_has_no_answer(data_dir):
    whole = CorpusSource(data_dir, "alpha")
    source = CorpusSource(data_dir, "alpha", most_samples=int(whole.num_samples.max()))
    views = Views([source], ViewsConfig(speeds=(0.9,)), shortest=1, average=True)
    n, longest = len(source), int(whole.num_samples.argmax())
    rows = np.arange(n)
    assert n + longest in views.with_copies(rows)
    assert n + longest not in views.answered_copies(rows)
    assert n + int(whole.num_samples.argmin()) in views.answered_copies(rows)
