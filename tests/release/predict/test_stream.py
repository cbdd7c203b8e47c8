"""A stream gives the answers of predict while the audio comes, in several threads at once."""

import concurrent.futures

import numpy as np
import pytest

from sersl.audio.resample import resample
from sersl.core.errors import UserError
from sersl.release.predict import predictor
from tests.fake_speech import RATE, make_voice
from tests.release import fake_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return predictor.load(fake_model.write_fake(tmp_path_factory.mktemp("models") / "model"))


def _streamed(model, waveform, rate, chunk, **options):
    stream = model.stream(rate, **options)
    rows = []
    for start in range(0, len(waveform), chunk):
        rows += stream.add(waveform[start : start + chunk])
    return rows + stream.finish()


def _check_alike(rows, expected):
    assert [row["start"] for row in rows] == [row["start"] for row in expected]
    assert [row["end"] for row in rows] == pytest.approx([row["end"] for row in expected])
    for row, other in zip(rows, expected, strict=True):
        assert row["status"] == other["status"]
        assert row["scores"] == pytest.approx(other["scores"], abs=1e-4)
        assert row["dimensions"] == pytest.approx(other["dimensions"], abs=1e-4)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("chunk", [1, 4410, 100_000])
def test_stream_when_chunks_have_any_size_then_the_answers_of_predict(model, rate, chunk):
    seconds = 1.3 if chunk == 1 else 3.4
    waveform = make_voice(seconds, rate=rate)
    options = {"window": 1.0, "hop": 0.5}
    expected = model.predict(waveform, sample_rate=rate, **options)
    assert len(expected) > 1
    _check_alike(_streamed(model, waveform, rate, chunk, **options), expected)


def test_stream_when_several_run_at_once_then_each_has_its_own_answers(model):
    voices = [make_voice(2.0 + 0.3 * seed, seed) for seed in range(6)]
    options = {"window": 0.8, "hop": 0.4}
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda v: _streamed(model, v, RATE, 1600, **options), voices))
    for voice, rows in zip(voices, found, strict=True):
        _check_alike(rows, model.predict(voice, sample_rate=RATE, **options))


def test_stream_when_audio_is_stereo_integers_or_silent_then_as_predict(model):
    voice = (np.stack([make_voice(1.5)] * 2, axis=1) * 20_000).astype(np.int16)
    expected = model.predict(voice, sample_rate=RATE, window=1.0)
    _check_alike(_streamed(model, voice, RATE, 1000, window=1.0, hop=None), expected)
    rows = _streamed(model, np.zeros(2 * RATE, np.float32), RATE, 1000, window=1.0)
    assert {row["status"] for row in rows} == {"silent"}
    assert model.stream(RATE).finish() == []


def test_stream_when_used_wrongly_then_one_sentence(model):
    stream = model.stream(RATE)
    stream.finish()
    with pytest.raises(UserError, match="this stream is finished"):
        stream.add(make_voice(0.1))
    with pytest.raises(UserError, match="sample_rate=8 Hz is out of range"):
        model.stream(8)
    with pytest.raises(UserError, match="window of 99 s"):
        model.stream(RATE, window=99)
    with pytest.raises(UserError, match="NaN"):
        model.stream(RATE).add(np.full(100, np.nan, np.float32))
    busy = model.stream(RATE)
    busy._busy.acquire()
    with pytest.raises(UserError, match="another thread uses this stream"):
        busy.add(make_voice(0.1))


def test_resampling_when_in_chunks_then_the_samples_of_the_whole(model):
    waveform = make_voice(1.0, rate=44_100)
    stream = model.stream(44_100, window=30)
    parts = [stream._resampler.add(part) for part in np.array_split(waveform, 7)]
    whole = np.concatenate([*parts, stream._resampler.finish()])
    np.testing.assert_array_equal(whole, resample(waveform, 44_100))
