import io
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from sersl.audio import decode, flac, track
from sersl.core.errors import UserError
from tests.audio import odd_files

# (format, coding, rate, channels): every kind libsndfile seeks in well, and every one it does not.
KINDS = [
    ("WAV", "PCM_U8", 16000, 1),
    ("WAV", "PCM_16", 16000, 2),
    ("WAV", "PCM_24", 48000, 2),
    ("WAV", "PCM_32", 16000, 1),
    ("WAV", "FLOAT", 44100, 1),
    ("WAV", "DOUBLE", 16000, 1),
    ("WAV", "ULAW", 8000, 1),
    ("WAV", "GSM610", 8000, 1),
    ("FLAC", "PCM_16", 16000, 1),
    ("FLAC", "PCM_24", 44100, 2),
    ("OGG", "VORBIS", 16000, 1),
    ("OGG", "VORBIS", 44100, 2),
    ("OGG", "OPUS", 16000, 1),
    ("OGG", "OPUS", 48000, 2),
    ("MP3", "MPEG_LAYER_III", 16000, 1),
    ("MP3", "MPEG_LAYER_III", 44100, 2),
    ("AIFF", "PCM_16", 16000, 1),
]


def sound(rate=16000, seconds=2.0, channels=1, seed=0):
    """A sweep with noise, a little quieter in each further channel: [N, channels]."""
    t = np.arange(int(rate * seconds) + 57) / rate
    noise = np.random.default_rng(seed).standard_normal(len(t))
    mono = 0.3 * np.sin(2 * np.pi * (200 + 100 * t) * t) + 0.02 * noise
    return mono[:, None] * np.linspace(1, 0.5, channels)


def encoded(container, subtype, rate=16000, channels=1, samples=None):
    buffer = io.BytesIO()
    samples = sound(rate, channels=channels) if samples is None else samples
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(("container", "subtype", "rate", "channels"), KINDS)
def test_read_audio_when_a_crop_anywhere_then_the_slice_of_the_whole(
    container, subtype, rate, channels, monkeypatch
):
    data = encoded(container, subtype, rate, channels)
    rng = np.random.default_rng(1)
    for sample_rate in {16000, rate}:
        whole = decode.read_audio(data, sample_rate=sample_rate)
        num_samples = decode.probe(data).num_samples
        assert len(whole) == -(-num_samples * sample_rate // rate)
        for _ in range(6):
            start, length = int(rng.integers(0, len(whole) - 5000)), int(rng.integers(1, 5000))
            monkeypatch.setattr(track, "_BLOCK", int(rng.integers(500, 9000)))
            crop = decode.read_audio(data, start=start, num_samples=length, sample_rate=sample_rate)
            np.testing.assert_array_equal(crop, whole[start : start + length])
        monkeypatch.undo()


@pytest.mark.parametrize(("container", "subtype", "rate", "channels"), KINDS)
def test_probe_when_any_kind_of_file_then_rate_channels_format_and_length(
    container, subtype, rate, channels
):
    info = decode.probe(encoded(container, subtype, rate, channels))
    assert (info.sample_rate, info.channels, info.format) == (rate, channels, container)
    assert info.subtype == subtype
    assert info.duration == pytest.approx(2.0, abs=0.1)  # GSM codes whole blocks


def test_read_audio_when_a_path_or_its_bytes_then_the_same_samples(tmp_path):
    data = encoded("OGG", "VORBIS")
    path = tmp_path / "ä b.ogg"
    path.write_bytes(data)
    np.testing.assert_array_equal(decode.read_audio(path), decode.read_audio(data))
    np.testing.assert_array_equal(decode.read_audio(str(path)), decode.read_audio(data))
    assert decode.probe(path) == decode.probe(data)


def test_read_audio_when_integers_then_divided_by_full_scale_without_gain():
    samples = np.array([-32768, -1, 0, 1, 100, 32767], np.int16)
    waveform = decode.read_audio(encoded("WAV", "PCM_16", samples=samples))
    np.testing.assert_array_equal(waveform, samples / np.float32(32768))
    assert waveform.dtype == np.float32


def test_read_audio_when_floats_are_beyond_full_scale_then_kept():
    loud = np.array([0.0, 1.5, -3.0], np.float32)
    np.testing.assert_array_equal(decode.read_audio(encoded("WAV", "FLOAT", samples=loud)), loud)


def test_read_audio_when_stereo_then_the_mean_or_one_channel():
    samples = sound(channels=2).astype(np.float32)
    data = encoded("WAV", "FLOAT", channels=2, samples=samples)
    np.testing.assert_allclose(decode.read_audio(data), samples.mean(axis=1), atol=1e-7)
    np.testing.assert_array_equal(decode.read_audio(data, channel=1), samples[:, 1])
    with pytest.raises(UserError, match=r"2 channels.*no channel 2"):
        decode.read_audio(data, channel=2)


def test_encode_flac_when_16_bit_samples_then_decoding_returns_them():
    samples = np.random.default_rng(0).integers(-32768, 32768, 20_000).astype(np.int16)
    data = flac.encode_flac(samples / np.float32(32768))
    np.testing.assert_array_equal(flac.to_pcm16(flac.decode_flac(data)), samples)
    assert flac.encode_flac(flac.decode_flac(data)) == data
    info = decode.probe(data)
    assert (info.format, info.subtype, info.sample_rate) == ("FLAC", "PCM_16", 16000)


def test_encode_flac_when_beyond_full_scale_then_clipped():
    data = flac.encode_flac(np.array([2.0, -2.0, 0.5], np.float32))
    np.testing.assert_array_equal(flac.decode_flac(data), [32767 / 32768, -1.0, 0.5])


def test_decode_flac_when_a_part_then_the_slice():
    data = flac.encode_flac(sound()[:, 0].astype(np.float32))
    whole = flac.decode_flac(data)
    np.testing.assert_array_equal(whole, decode.read_audio(data))
    for start, length in [(0, 1), (4095, 4097), (30_000, 2057), (100, 0)]:
        part = flac.decode_flac(data, start=start, num_samples=length)
        np.testing.assert_array_equal(part, whole[start : start + length])
    with pytest.raises(UserError, match="32057 samples"):
        flac.decode_flac(data, start=32_000, num_samples=58)
    with pytest.raises(UserError, match="damaged"):
        flac.decode_flac(b"fLaC" + bytes(100))


def bad_audio():
    """Content of a file -> what the one sentence must say."""
    flac, wav = encoded("FLAC", "PCM_16"), encoded("WAV", "PCM_16")
    mp3 = encoded("MP3", "MPEG_LAYER_III")
    nan = sound()[:, 0].astype(np.float32)
    nan[[5, 700]] = np.nan, np.inf
    return {
        "text": (b"not audio at all\n" * 50, "is not audio that can be read"),
        "zeros": (bytes(4000), "is not audio that can be read"),
        "empty": (b"", "is empty \\(0 bytes\\)"),
        "cut flac": (flac[: len(flac) // 2], "truncated"),
        "nearly whole flac": (flac[:-100], "truncated"),
        "cut wav": (wav[: len(wav) // 2], "is truncated: it holds"),
        "cut vorbis": (encoded("OGG", "VORBIS")[:-1000], "is truncated: its last Ogg page"),
        "cut mp3": (mp3[:-3000], "is truncated: it holds 36 of 58 frames"),
        "nan": (encoded("WAV", "FLOAT", samples=nan), "2 samples that are NaN or infinite"),
        "nan at 44.1 kHz": (encoded("WAV", "FLOAT", 44100, samples=nan), "2 samples that are NaN"),
        "no samples": (encoded("WAV", "PCM_16", samples=sound()[:0]), "has no samples"),
        "m4a": (b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(99), "is damaged or truncated"),
        "webm": (b"\x1a\x45\xdf\xa3" + bytes(99), "is damaged or truncated"),
    }


@pytest.mark.parametrize("kind", bad_audio())
@pytest.mark.parametrize("as_file", [True, False])
def test_read_audio_when_content_is_bad_then_one_sentence_with_file_and_cause(
    kind, as_file, tmp_path
):
    content, sentence = bad_audio()[kind]
    path = tmp_path / "speech.wav"
    path.write_bytes(content)
    with pytest.raises(UserError, match=sentence) as raised:
        decode.read_audio(path if as_file else content)
    assert ("speech.wav" in str(raised.value)) == as_file
    assert "\n" not in str(raised.value)


def test_read_audio_when_there_is_no_file_then_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"gone\.wav does not exist"):
        decode.read_audio(tmp_path / "gone.wav")
    with pytest.raises(UserError, match="is a folder"):
        decode.probe(tmp_path)
    (tmp_path / "a.raw").write_bytes(bytes(100))
    with pytest.raises(UserError, match="no header"):
        decode.probe(tmp_path / "a.raw")


@pytest.mark.parametrize("sample_rate", [16_000, 8_000])
@pytest.mark.parametrize("container", ["mp3", "adts", "flac"])
def test_read_audio_when_beyond_the_end_of_unknown_length_then_the_length_is_named(
    container, sample_rate
):
    codec = {"mp3": "libmp3lame", "adts": "aac", "flac": "flac"}[container]
    data = odd_files.contained(container, codec, sound(), 16_000, {}, pipe=True)
    total = len(decode.read_audio(data, sample_rate=sample_rate))
    for start, length in ((total - 10, 20), (total + 10, 20), (total + 10, None)):
        with pytest.raises(UserError, match=f"has {total} samples"):
            decode.read_audio(data, start=start, num_samples=length, sample_rate=sample_rate)
    crop = decode.read_audio(data, start=total - 10, num_samples=10, sample_rate=sample_rate)
    whole = decode.read_audio(data, sample_rate=sample_rate)
    np.testing.assert_array_equal(crop, whole[-10:])


def test_read_audio_when_beyond_the_end_then_the_length_is_named():
    data = encoded("WAV", "PCM_16")
    with pytest.raises(UserError, match="32057 samples, so there are none from 32000 to 32100"):
        decode.read_audio(data, start=32_000, num_samples=100)


def test_read_audio_when_a_wav_was_written_to_a_pipe_then_all_that_is_there():
    data = bytearray(encoded("WAV", "PCM_16"))
    data[4:8] = data[40:44] = b"\xff" * 4  # the writer could not go back to fill in the lengths
    assert len(decode.read_audio(bytes(data))) == 32_057


# (container, codec, rate, channels), what phones, browsers and video programs write.
CONTAINERS = [
    ("mp4", "aac", 16000, 1),
    ("mp4", "aac", 44100, 2),
    ("mov", "pcm_s16le", 16000, 1),
    ("webm", "libopus", 48000, 1),
    ("matroska", "pcm_s16le", 16000, 2),
    ("avi", "pcm_s16le", 44100, 1),
    ("adts", "aac", 16000, 1),
]


def contained(container, codec, rate=16000, channels=1):
    """The sweep in a container, without its last samples where the codec needs whole frames."""
    buffer = io.BytesIO()
    samples = (sound(rate, channels=channels).T * 32767).astype(np.int16)
    samples = samples.reshape(1, -1, order="F")
    with av.open(buffer, "w", format=container) as file:
        layout = "mono" if channels == 1 else "stereo"
        stream = file.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    return buffer.getvalue()


@pytest.mark.parametrize(("container", "codec", "rate", "channels"), CONTAINERS)
def test_read_audio_when_a_container_then_its_sound_and_crops_are_slices(
    container, codec, rate, channels, tmp_path
):
    data = contained(container, codec, rate, channels)
    path = tmp_path / "a:b.wav"  # what counts is the content
    path.write_bytes(data)
    info = decode.probe(path)
    assert (info.sample_rate, info.channels) == (rate, channels)
    assert info.duration == pytest.approx(2.0, abs=0.15)  # coders fill up their last frame
    for sample_rate in {16000, rate}:
        whole = decode.read_audio(path, sample_rate=sample_rate)
        assert len(whole) == -(-info.num_samples * sample_rate // rate)
        np.testing.assert_array_equal(whole, decode.read_audio(data, sample_rate=sample_rate))
        for start, length in [(0, 1), (1023, 1026), (5000, 20_000), (len(whole) - 7, 7)]:
            crop = decode.read_audio(path, start=start, num_samples=length, sample_rate=sample_rate)
            np.testing.assert_array_equal(crop, whole[start : start + length])
    want = sound(rate, channels=channels)
    whole = decode.read_audio(data, sample_rate=rate)[: len(want)]
    if codec in ("pcm_s16le",):
        np.testing.assert_allclose(whole, want.mean(axis=1), atol=1e-4)
        last = decode.read_audio(data, sample_rate=rate, channel=channels - 1)
        np.testing.assert_allclose(last, want[:, -1], atol=1e-4)
    else:
        # The raw stream has no header that says how much of its start is the encoder's delay.
        delay = range(2049) if container == "adts" else [0]
        fits = [np.corrcoef(whole[d:20_000], want[: 20_000 - d].mean(axis=1))[0, 1] for d in delay]
        assert max(fits) > 0.95


@pytest.mark.parametrize("container", ["mp4", "mov", "webm", "adts"])
def test_read_audio_when_a_container_is_damaged_then_one_sentence(container):
    codec = {"mp4": "aac", "mov": "pcm_s16le", "webm": "libopus", "adts": "aac"}[container]
    data = contained(container, codec, 48000 if container == "webm" else 16000)
    noise = np.random.default_rng(0).bytes(len(data))
    for bad in (data[: len(data) // 2], data[:40] + noise[40:], data[:12]):
        if container == "adts" and bad == data[: len(data) // 2]:
            continue  # a stream of frames without any header cannot say that it was longer
        with pytest.raises(UserError) as raised:
            decode.read_audio(bad)
        assert "\n" not in str(raised.value)


def test_read_audio_when_pyav_is_missing_then_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "call.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(99))
    with pytest.raises(
        UserError, match=r"call\.m4a is MPEG-4.*pip install 'sersl\[av\]'.*wav or flac"
    ):
        decode.read_audio(path)


def test_read_audio_when_a_film_has_no_sound_then_one_sentence():
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=24, width=32, height=32, pix_fmt="yuv420p")
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    with pytest.raises(UserError, match="has no audio track"):
        decode.read_audio(buffer.getvalue())


@pytest.mark.corpora
def test_read_audio_when_real_files_then_the_known_durations(corpora_dir):
    flac = decode.read_audio(corpora_dir / "ravdess/Actor_01/03-01-01-01-01-01-01.flac")
    assert len(flac) == pytest.approx(3.3033 * 16000, abs=2)
    opus = next((corpora_dir / "nemo").rglob("*.ogg"))
    whole = decode.read_audio(opus)
    np.testing.assert_array_equal(
        decode.read_audio(opus, start=9000, num_samples=100), whole[9000:9100]
    )
