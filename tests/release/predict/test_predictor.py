import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from flax import nnx

from sersl.audio import track
from sersl.audio.decode import read_audio
from sersl.core import lengths
from sersl.core.errors import UserError
from sersl.release.folder import read_model
from sersl.release.predict import predictor
from sersl.release.predict.windows import windows
from tests.release import fake_model
from tests.tolerances import FP32_DEEP

RATE = 16_000


def make_speech(seconds, seed=0):
    """Something that rises and falls, so that windows differ."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = 120 + 60 * np.sin(2 * np.pi * 0.3 * time + seed)
    tone = np.sin(2 * np.pi * np.cumsum(pitch) / RATE)
    level = 0.3 * (0.4 + 0.6 * np.abs(np.sin(2 * np.pi * 0.7 * time + seed)))
    return (level * tone + 0.02 * random.normal(size=len(time))).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fake_model.write_fake(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def model(folder):
    return predictor.load(folder)


def _numbers(result):
    return np.array([*result["scores"].values(), *result["dimensions"].values()])


def test_prediction_when_made_then_it_carries_names(model):
    result = model.predict(make_speech(1.5), sample_rate=RATE)
    assert tuple(result["scores"]) == fake_model.NAMES == model.categories
    assert sum(result["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert tuple(result["dimensions"]) == ("arousal", "dominance", "valence") == model.dimensions
    assert all(0 <= value <= 1 for value in result["dimensions"].values())
    assert result["embedding"].shape == (32,)
    assert (result["start"], result["end"], result["status"]) == (0.0, 1.5, "ok")
    assert "frames" not in result


@pytest.mark.parametrize("kind", ["mean", "attentive_statistics"])
@pytest.mark.parametrize("layers", ["weighted", "last"])
def test_prediction_when_batched_then_equal_to_alone(tmp_path, kind, layers):
    folder = fake_model.write_fake(tmp_path / "model", kind=kind, layers=layers)
    model = predictor.load(folder)
    speech = [make_speech(s, i) for i, s in enumerate((0.7, 0.86, 0.8, 1.9, 1.7))]
    together = model.predict(speech, sample_rate=RATE)
    for waveform, batched in zip(speech, together, strict=True):
        alone = model.predict(waveform, sample_rate=RATE)
        np.testing.assert_allclose(_numbers(batched), _numbers(alone), **FP32_DEEP)
        np.testing.assert_allclose(batched["embedding"], alone["embedding"], **FP32_DEEP)
    # The comparison would show nothing if all answers were alike.
    assert np.ptp([_numbers(result) for result in together], axis=0).max() > 0.01


def test_prediction_when_padded_then_equal_to_the_bare_network(model, folder):
    waveform = make_speech(1.0)
    released = read_model(folder)
    network = nnx.merge(
        nnx.graphdef(released.architecture.build()),
        nnx.State(jax.tree.map(jnp.asarray, released.params)),
    )
    bare = network(waveform[None], np.ones((1, len(waveform)), bool))
    result = model.predict(waveform, sample_rate=RATE)
    probabilities = np.exp(bare.category[0]) / np.exp(bare.category[0]).sum()
    expected = np.concatenate([probabilities, bare.dimensions[0]])
    np.testing.assert_allclose(_numbers(result), expected, **FP32_DEEP)


@pytest.mark.parametrize(
    ("format", "subtype", "rate", "channels"),
    [("WAV", "PCM_16", 44100, 2), ("FLAC", "PCM_24", 16000, 1), ("OGG", "VORBIS", 22050, 1)],
)
def test_prediction_when_given_path_or_bytes_then_equal(
    model, tmp_path, format, subtype, rate, channels
):
    speech = np.repeat(make_speech(1.0)[:, None], channels, axis=1)
    path = tmp_path / f"a.{format.lower()}"
    soundfile.write(path, speech, rate, format=format, subtype=subtype)
    by_path, by_bytes = model.predict(path), model.predict(path.read_bytes())
    np.testing.assert_allclose(_numbers(by_path), _numbers(by_bytes), **FP32_DEEP)
    assert by_path["end"] == pytest.approx(len(speech) / rate, abs=1e-3)
    waveform = soundfile.read(path, dtype="float32")[0]
    by_array = model.predict(waveform, sample_rate=rate)
    np.testing.assert_allclose(_numbers(by_path), _numbers(by_array), **FP32_DEEP)


def test_prediction_when_windowed_then_each_row_equals_its_own_stretch(model):
    waveform = make_speech(3.3)
    rows = model.predict(waveform, sample_rate=RATE, window=1.5, hop=0.5)
    assert [row["start"] for row in rows] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert [row["end"] for row in rows] == pytest.approx([1.5, 2.0, 2.5, 3.0, 3.3])
    alone = model.predict(waveform[RATE : round(2.5 * RATE)], sample_rate=RATE)
    np.testing.assert_allclose(_numbers(rows[2]), _numbers(alone), **FP32_DEEP)
    assert len(model.predict(waveform[:RATE], sample_rate=RATE, window=1.5)) == 1


def test_prediction_when_longer_than_30_s_then_the_mean_by_duration(model):
    waveform = make_speech(40)
    parts = [model.predict(w, sample_rate=RATE) for w in np.split(waveform, [30 * RATE])]
    whole = model.predict(waveform, sample_rate=RATE)
    expected = (30 * _numbers(parts[0]) + 10 * _numbers(parts[1])) / 40
    np.testing.assert_allclose(_numbers(whole), expected, **FP32_DEEP)
    assert whole["end"] == 40.0


def test_prediction_when_part_is_silent_then_it_has_no_share(model):
    speech = make_speech(1.0)
    waveform = np.concatenate([speech, np.zeros(RATE, np.float32)])
    rows = model.predict(waveform, sample_rate=RATE, window=1.0)
    assert [row["status"] for row in rows] == ["ok", "silent"]
    assert rows[1]["scores"] == {}


def test_frames_when_asked_for_then_times_and_probabilities_match(model):
    waveform = make_speech(2.0)
    frames = model.predict(waveform, sample_rate=RATE, frames=True)["frames"]
    num_frames = lengths.num_frames(len(waveform))
    assert set(frames) == {"time", *fake_model.NAMES}
    assert all(len(values) == num_frames for values in frames.values())
    np.testing.assert_allclose(np.diff(frames["time"]), 0.02, atol=1e-5)
    np.testing.assert_allclose(sum(frames[n] for n in fake_model.NAMES), 1.0, atol=1e-5)


def test_embedding_when_taken_then_shapes_and_mean_fit(model):
    waveform = make_speech(1.2)
    num_frames = lengths.num_frames(len(waveform))
    pooled = model.embed(waveform, sample_rate=RATE)
    expected = model.predict(waveform, sample_rate=RATE)["embedding"]
    np.testing.assert_array_equal(pooled, expected)
    frames = model.embed(waveform, sample_rate=RATE, layers="all", frames=True)
    assert frames.shape == (3, num_frames, 16)
    every = model.embed(waveform, sample_rate=RATE, layers="all")
    np.testing.assert_allclose(every, frames.mean(axis=1), **FP32_DEEP)
    for layers, index in (("last", 2), (1, 1), ("0", 0)):
        one = model.embed(waveform, sample_rate=RATE, layers=layers)
        np.testing.assert_allclose(one, every[index], **FP32_DEEP)
    with pytest.raises(UserError, match="layers 7 do not exist"):
        model.embed(waveform, sample_rate=RATE, layers=7)


def test_encoder_when_it_has_no_heads_then_it_embeds_and_refuses_to_predict(tmp_path):
    model = predictor.load(fake_model.write_fake_encoder(tmp_path / "encoder"))
    assert model.embed(make_speech(1.0), sample_rate=RATE).shape == (16,)
    with pytest.raises(UserError, match="encoder without heads"):
        model.predict(make_speech(1.0), sample_rate=RATE)


def _wav(samples, subtype="PCM_16"):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV", subtype=subtype)
    return buffer.getvalue()


def test_answers_when_some_sources_are_bad_then_all_are_answered_in_order(model):
    good = make_speech(1.0)
    sources = [
        _wav(good),
        b"hello, I am text",
        _wav(good[:800]),
        b"",
        _wav(np.zeros(RATE, np.float32)),
        _wav(np.where(np.arange(RATE) == 5, np.nan, good), "FLOAT"),
        _wav(good),
    ]
    answers = list(model.answers(sources))
    kinds = [answer.status.partition(":")[0] for answer in answers]
    bad = "unreadable"
    assert kinds == ["ok", bad, "too_short", bad, "silent", bad, "ok"]
    assert [answer.source for answer in answers] == sources
    assert [len(answer.rows) for answer in answers] == [1, 0, 0, 0, 0, 0, 1]
    for source, message in zip(
        sources[1:6], ["not audio", "shorter than 0.1 s", "empty", "silent", "NaN"], strict=True
    ):
        with pytest.raises(UserError, match=message):
            model.predict(source)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 0.05}, "window of 0.05 s is out of range"),
        ({"window": 31}, "window of 31 s"),
        ({"hop": 1}, "needs a window"),
        ({"window": 1, "hop": 2}, "hop of 2 s is out of range"),
        ({"window": 1, "hop": 0}, "hop of 0 s"),
    ],
)
def test_prediction_when_windows_are_wrong_then_said_before_reading(model, arguments, message):
    with pytest.raises(UserError, match=message):
        model.predict("nowhere.wav", **arguments)


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros(RATE, np.float32), None, "needs its sample_rate"),
        (np.zeros(RATE, np.int64), RATE, "int64 has no known scale"),
        (np.full(RATE, 3000, np.int32), RATE, "int32 waveform has full scale 2\\^31"),
        (np.full(RATE, 3000.0), RATE, "samples up to 3000, where full scale is 1"),
        (np.full(RATE, 1e38), RATE, "samples up to 1e\\+38"),
        (np.array([[0.5, -0.5]] * RATE), RATE, "channels that cancel each other"),
        (np.zeros((0, 2)), RATE, "more channels than samples"),
        (np.float32(0.5), RATE, "is not a recording"),
        (np.zeros((2, RATE), np.float32), RATE, "more channels than samples"),
        (np.zeros((2, 2, 2), np.float32), RATE, "is not a recording"),
        (np.full(RATE, np.nan, np.float32), RATE, "NaN or infinite"),
        (np.zeros(RATE, np.float32), 0, "sample_rate=0 Hz is out of range"),
        (3.5, None, "float is not supported"),
        ("nowhere.wav", None, "does not exist"),
        ("nowhere.wav", RATE, "leave sample_rate out"),
    ],
)
def test_prediction_when_the_source_is_wrong_then_one_sentence(model, waveform, rate, message):
    with pytest.raises(UserError, match=message):
        model.predict(waveform, sample_rate=rate)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("block", [1000, 1 << 20])
def test_windows_when_blocks_have_any_length_then_equal_to_the_decoded_whole(
    tmp_path, monkeypatch, rate, block
):
    path = tmp_path / "a.wav"
    soundfile.write(path, make_speech(25), rate, subtype="PCM_16")
    whole = read_audio(path)
    monkeypatch.setattr(track, "_BLOCK", block)
    for part in windows(path, window=4.0, hop=3.0):
        expected = whole[part.start : part.start + 64_000]
        np.testing.assert_array_equal(part.waveform, expected)
    assert part.start + len(part.waveform) == len(whole)


@pytest.mark.parametrize("block", [1000, 1 << 20])
def test_answers_when_a_file_is_cut_short_then_unreadable_without_rows(
    model, tmp_path, monkeypatch, block
):
    monkeypatch.setattr(track, "_BLOCK", block)
    path = tmp_path / "a.flac"
    soundfile.write(path, make_speech(20), RATE)
    path.write_bytes(path.read_bytes()[:-20_000])
    (answer,) = model.answers([path])
    assert answer.status == "unreadable" and "a.flac" in answer.error
    assert not answer.rows
