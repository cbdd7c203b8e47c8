"""A prepared corpus at another speed."""

import pickle

import numpy as np
import pytest

from sersl.audio.warp import change_speed
from sersl.data.sources import CorpusSource
from sersl.data.speed_view import SpeedView


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
