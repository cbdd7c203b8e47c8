import pickle

import numpy as np
import pytest

from sersl.config.schema import DataConfig, DistortionConfig, FinetuneConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.core.seeds import generator
from sersl.data.batch import DISTORTED
from sersl.data.distortion import make_distorter
from sersl.data.recordings import Recordings, recording_sources
from sersl.data.sources import CorpusSource
from tests.data import doubles
from tests.data.doubles import waveform_of
from tests.data.test_pipeline import DATA, assert_same, read
from tests.data.test_pipeline import plan as plan
from tests.data.test_pipeline import sources as sources

BOTH = ("alpha", "beta")


@pytest.fixture
def recordings(data_dir):
    return Recordings([CorpusSource(data_dir, name) for name in BOTH])


def whole_recordings(lengths):
    return {
        (corpus, row): waveform_of(corpus, row, int(count))
        for corpus in BOTH
        for row, count in enumerate(lengths[corpus])
    }


def place_of(found, wholes):
    """Which recording a stretch is of, and where it starts."""
    for name, whole in wholes.items():
        if len(whole) >= len(found):
            windows = np.lib.stride_tricks.sliding_window_view(whole, len(found))
            starts = np.flatnonzero((windows[:, :16] == found[:16]).all(1))
            if len(starts) and (windows[starts[0]] == found).all():
                return name, int(starts[0])
    return None


def test_recordings_when_drawn_then_each_is_a_stretch_of_one_and_all_are_as_likely(
    recordings, lengths
):
    wholes = whole_recordings(lengths)
    places = [place_of(recordings(generator(0, "draw", i), 1000), wholes) for i in range(300)]
    assert None not in places
    counts = {name: sum(place[0] == name for place in places) for name in wholes}
    assert max(counts.values()) < 20 and sum(map(bool, counts.values())) > 43  # of 47
    assert len({start for _, start in places}) > 250


def test_recordings_when_one_is_shorter_than_wanted_then_it_is_repeated(recordings, lengths):
    longest = max(map(max, lengths.values()))
    found = recordings(generator(0, "draw", 1), 3 * longest)
    assert found.shape == (3 * longest,) and found.dtype == np.float32
    wholes = whole_recordings(lengths)
    assert any(np.array_equal(found, np.resize(whole, 3 * longest)) for whole in wholes.values())


def test_recordings_when_no_length_is_wanted_then_one_whole(recordings, lengths):
    wholes = whole_recordings(lengths)
    found = recordings(generator(0, "draw", 2), None)
    assert any(np.array_equal(found, whole) for whole in wholes.values())


def test_recordings_when_sent_to_a_worker_then_they_draw_the_same(recordings):
    sent = pickle.loads(pickle.dumps(recordings))
    for i in range(5):
        np.testing.assert_array_equal(
            recordings(generator(0, "draw", i), 500), sent(generator(0, "draw", i), 500)
        )


def test_recordings_when_one_is_damaged_then_a_sentence_and_no_other_takes_its_place(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(doubles, "encode_flac", lambda waveform: b"fLaC")
    doubles.prepare(tmp_path, "musan", [8000])
    recordings = Recordings([CorpusSource(tmp_path, "musan")])
    with pytest.raises(UserError, match=r"'musan-0' .*cannot be read.*sersl prepare") as caught:
        recordings(generator(0, "draw", 0), 100)
    assert type(caught.value) is UserError


def settings(data_dir, **distortion):
    return PretrainConfig(
        data=DataConfig(**(vars(DATA) | {"data_dir": str(data_dir), "corpora": ("alpha",)})),
        distortion=DistortionConfig(**distortion),
    )


def test_make_distorter_when_noise_is_recorded_then_exactly_it_is_added(
    data_dir, sources, plan, lengths
):
    config = settings(
        data_dir,
        noise_probability=1.0,
        noise_corpora=("beta",),
        noise_min_snr_db=5.0,
        noise_max_snr_db=5.0,
    )
    heard = read(sources, plan, num_steps=2, distorter=make_distorter(config, beside=(DISTORTED,)))
    for batch in heard:
        for clean, distorted, valid in zip(
            batch["waveform"], batch[DISTORTED], batch["valid"], strict=True
        ):
            if not valid.any():
                continue
            noise = (distorted - clean)[valid].astype(np.float64)
            ratio = np.square(clean[valid], dtype=np.float64).sum() / np.square(noise).sum()
            np.testing.assert_allclose(10 * np.log10(ratio), 5.0, atol=0.01)
            alike = max(
                best_match(noise, waveform_of("beta", row, int(count)))
                for row, count in enumerate(lengths["beta"])
            )
            assert alike > 0.999
    data = DataConfig(**(vars(DATA) | {"threads": 1, "processes": 1}))
    again = make_distorter(config, beside=(DISTORTED,))
    assert_same(read(sources, plan, num_steps=2, data=data, distorter=again), heard)


def best_match(noise, whole):
    """Largest correlation of a stretch with any place of a recording, repeated where short."""
    count = min(len(noise), len(whole))
    part = noise[:count] / np.linalg.norm(noise[:count])
    size = len(whole) + count
    dots = np.fft.irfft(np.fft.rfft(whole, size) * np.conj(np.fft.rfft(part, size)), size)
    ends = np.cumsum(np.concatenate([[0.0], np.square(whole, dtype=np.float64)]))
    starts = np.arange(len(whole) - count + 1)
    return float((dots[starts] / np.sqrt(ends[starts + count] - ends[starts])).max())


def test_make_distorter_when_rooms_are_recorded_then_they_are_heard_and_nothing_is_delayed(
    data_dir, sources, plan
):
    rooms = settings(data_dir, reverb_probability=1.0, reverb_corpora=("beta",))
    made_up = settings(data_dir, reverb_probability=1.0)
    (first,), (second,) = (
        read(sources, plan, num_steps=1, distorter=make_distorter(c, beside=(DISTORTED,)))
        for c in (rooms, made_up)
    )
    assert (first[DISTORTED] != second[DISTORTED]).any(1).all()
    assert not first[DISTORTED][~first["valid"]].any()


def test_make_distorter_when_recordings_are_not_prepared_then_the_command(data_dir):
    config = settings(data_dir, noise_probability=1.0, noise_corpora=("musan",))
    with pytest.raises(UserError, match=r"musan.*sersl prepare"):
        make_distorter(config, beside=(DISTORTED,))


def test_recording_sources_when_none_are_named_then_none():
    assert recording_sources(PretrainConfig()) == recording_sources(FinetuneConfig()) == {}
