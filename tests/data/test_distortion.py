import dataclasses

import numpy as np
import pytest

from sersl.config.schema import DistortionConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.data.batch import DISTORTED, SECOND
from sersl.data.batch_plan import make_plan
from sersl.data.distortion import Distorter, make_distorter
from sersl.data.sources import CorpusSource
from tests.data.test_pipeline import DATA, HalfOfTheRows, assert_same, read

CONFIG = DistortionConfig(
    noise_probability=1.0, gain_probability=0.5, vtlp_probability=0.5, chop_probability=0.5
)


@pytest.fixture(scope="module")
def sources(data_dir):
    return [CorpusSource(data_dir, name) for name in DATA.corpora]


@pytest.fixture(scope="module")
def plan(lengths):
    return make_plan(list(lengths.values()), data=DATA, seed=3)


def distorter(config=CONFIG, beside=(DISTORTED, SECOND)):
    return Distorter(config, seed=5, beside=beside)


def test_distorter_when_beside_then_the_waveform_stays_and_the_two_differ(sources, plan):
    clean, heard = read(sources, plan), read(sources, plan, distorter=distorter())
    for before, after in zip(clean, heard, strict=True):
        for name in before:
            np.testing.assert_array_equal(before[name], after[name], err_msg=name)
        for name in (DISTORTED, SECOND):
            assert after[name].shape == before["waveform"].shape
            assert after[name].dtype == np.float32
            assert not after[name][~before["valid"]].any()
        assert (after[DISTORTED] != before["waveform"]).any(1).all()
        assert (after[DISTORTED] != after[SECOND]).any(1).all()


def test_distorter_when_rows_are_read_elsewhere_then_every_draw_is_the_same(sources, plan):
    whole = read(sources, plan, distorter=distorter())
    again = read(sources, plan, start_step=4, num_steps=2, distorter=distorter())
    assert_same(again, whole[4:6])
    data = dataclasses.replace(DATA, threads=1, processes=1)
    assert_same(read(sources, plan, num_steps=2, data=data, distorter=distorter()), whole[:2])
    hosts = [
        read(sources, plan, num_steps=2, distorter=distorter(), batch_rows=HalfOfTheRows(h))
        for h in (0, 1)
    ]
    together = [
        {name: np.concatenate([a[name], b[name]]) for name in a}
        for a, b in zip(*hosts, strict=True)
    ]
    assert_same(together, whole[:2])


def test_distorter_when_speed_changes_then_valid_follows_and_the_shape_stays(sources, plan):
    config = DistortionConfig(speed_probability=1.0, speed_range=0.2)
    clean = read(sources, plan, num_steps=3)
    heard = read(sources, plan, num_steps=3, distorter=distorter(config, beside=()))
    for before, after in zip(clean, heard, strict=True):
        assert after["waveform"].shape == before["waveform"].shape
        lengths = [batch["valid"].sum(1) for batch in (before, after)]
        assert (lengths[0] != lengths[1]).any()
        assert (lengths[1] >= np.minimum(lengths[0] / 1.21, lengths[0])).all()
        for row, valid, length in zip(after["waveform"], after["valid"], lengths[1], strict=True):
            assert valid[:length].all() and not row[length:].any()


def test_make_distorter_when_nothing_is_on_then_none():
    assert make_distorter(PretrainConfig(), beside=()) is None
    on = PretrainConfig(distortion=DistortionConfig(speed_probability=0.5))
    assert make_distorter(on, beside=()) is not None
    with pytest.raises(UserError, match="moves sounds in time"):
        make_distorter(on, beside=(DISTORTED,))
