"""Lengths are counted, not believed; what is missing is said, in every container."""

import struct

import numpy as np
import pytest

from sersl.audio import decode
from sersl.core.errors import UserError
from tests.audio.odd_files import contained, encoded, good_files, tone

RATE = 44_100
SECONDS = 2.0


def mp3(**options):
    """As FFmpeg writes it to a pipe: without a Xing header, so without a length."""
    return contained("mp3", "libmp3lame", tone(SECONDS, RATE), RATE, {"write_xing": "0"}, **options)


def with_xing(samples=None, rate=RATE):
    samples = tone(SECONDS, rate) if samples is None else samples
    return encoded("MP3", "MPEG_LAYER_III", samples, rate)


def seconds_of(data):
    info, waveform = decode.probe(data), decode.read_audio(data)
    assert len(waveform) == -(-info.num_samples * 16_000 // info.sample_rate)
    return info.duration


def tagged(data, size=5000):
    """An ID3v2 tag before, and an ID3v1 tag after."""
    syncsafe = bytes([0, 0, size >> 7, size & 127])
    return b"ID3\x04\0\0" + syncsafe + b"\xff" * size + data + b"TAG" + bytes(125)


WHOLE = {
    "mp3 without xing": (mp3(), SECONDS),
    "mp3 to a pipe": (mp3(pipe=True), SECONDS),
    "mp3 with tags": (tagged(mp3()), SECONDS),
    "mp3 with xing and tags": (tagged(with_xing()), SECONDS),
    "mp3 with zeros after": (mp3() + bytes(70_000), SECONDS),
    "mp3 with noise after": (with_xing() + np.random.default_rng(0).bytes(70_000), SECONDS),
    "two mp3": (mp3() + mp3(), 2 * SECONDS),
    "two mp3 with xing": (with_xing() + with_xing(), 2 * SECONDS),
    "two mp3 with tags": (tagged(with_xing()) + tagged(with_xing()), 2 * SECONDS),
    "mp3 with xing and one without": (with_xing() + mp3(), 2 * SECONDS),
    "mp3 of a variable rate": (
        contained("mp3", "libmp3lame", tone(SECONDS, RATE), RATE, {"write_xing": "0", "q": "4"}),
        SECONDS,
    ),
    "mp3 in wav": (contained("wav", "libmp3lame", tone(SECONDS, RATE), RATE), SECONDS),
    "mp2": (contained("mp2", "mp2", tone(SECONDS, RATE), RATE), SECONDS),
    "flac to a pipe": (contained("flac", "flac", tone(SECONDS, RATE), RATE, pipe=True), SECONDS),
    "flac with a tag": (
        tagged(encoded("FLAC", "PCM_16", tone(SECONDS, RATE), RATE))[:-128],
        SECONDS,
    ),
    "aac": (contained("adts", "aac", tone(SECONDS, RATE), RATE), SECONDS),
    "aac with a tag": (tagged(contained("adts", "aac", tone(SECONDS, RATE), RATE)), SECONDS),
    "matroska to a pipe": (
        contained("matroska", "pcm_s16le", tone(SECONDS, RATE), RATE, pipe=True),
        SECONDS,
    ),
    "flac in ogg": (contained("ogg", "flac", tone(SECONDS, RATE), RATE), SECONDS),
    **{
        f"{coding} with zeros after": (encoded("OGG", coding, tone(1.0)) + bytes(70_000), 1.0)
        for coding in ("VORBIS", "OPUS")
    },
    **{
        f"two {coding}": (
            encoded("OGG", coding, tone(1.0)) + encoded("OGG", coding, tone(0.5)),
            1.5,
        )
        for coding in ("VORBIS", "OPUS")
    },
}


@pytest.mark.parametrize("name", WHOLE)
def test_length_when_the_header_has_none_or_a_wrong_one_then_counted_to_the_end(name):
    data, seconds = WHOLE[name]
    # The encoders' delay and last frame: two frames of MP3 at most for each file.
    assert seconds_of(data) == pytest.approx(seconds, abs=0.06 * seconds)
    assert seconds_of(data) >= seconds


def test_mp3_when_its_xing_header_is_right_then_the_samples_are_those_encoded():
    samples = tone(SECONDS, RATE)
    waveform = decode.read_audio(with_xing(samples), sample_rate=RATE)
    assert len(waveform) == len(samples)
    assert np.corrcoef(waveform, samples[:, 0])[0, 1] > 0.999


def test_mp3_when_two_are_joined_then_both_are_heard_whole():
    loud, quiet = tone(1.0), 0.1 * tone(1.0)
    waveform = decode.read_audio(with_xing(loud, 16_000) + with_xing(quiet, 16_000))
    level = np.abs(waveform[: 2 * 16_000].reshape(4, -1)).max(axis=1)
    assert (level[:2] > 0.25).all() and (level[2:] < 0.1).sum() >= 1


@pytest.mark.parametrize(
    "data",
    [
        with_xing()[:-3000],
        with_xing()[:-50],
        with_xing() + with_xing()[:-3000],
        contained("wav", "libmp3lame", tone(SECONDS, RATE), RATE)[:-3000],
    ],
)
def test_mp3_when_it_has_fewer_frames_than_counted_then_truncated(data):
    with pytest.raises(UserError, match="is truncated: it holds"):
        decode.read_audio(data)


@pytest.mark.parametrize(
    "data",
    [
        with_xing(rate=44_100) + with_xing(rate=22_050),
        mp3() + contained("mp3", "libmp3lame", tone(1.0, RATE, 2), RATE),
        encoded("OGG", "VORBIS", tone(1.0)) + encoded("OGG", "VORBIS", tone(1.0, 8000), 8000),
    ],
)
def test_audio_when_its_rate_or_channels_change_on_the_way_then_one_sentence(data):
    with pytest.raises(
        UserError, match="changes its sample rate or its number of channels in the middle"
    ):
        decode.read_audio(data)


def test_mp3_when_it_has_a_hole_then_damaged():
    data = bytearray(mp3())
    data[5000:8000] = bytes(3000)
    with pytest.raises(UserError, match=r"is damaged .* are not audio"):
        decode.read_audio(bytes(data))


COUNTED = {
    name: data
    for name, data in good_files().items()
    if not name.startswith(("PAF", "IRCAM", "adts", "mp3 lib", "mp2", "matroska", "webm"))
}


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_file_when_it_was_cut_off_then_one_sentence_in_every_container(name, share):
    data = COUNTED[name]
    with pytest.raises(UserError, match=r"truncated|damaged|not audio that can be read"):
        decode.read_audio(data[: round(share * len(data))])


@pytest.mark.parametrize("name", COUNTED)
def test_file_when_bytes_follow_its_end_then_they_are_not_samples(name):
    data = COUNTED[name]
    whole = decode.read_audio(data)
    for more in (bytes(1000), np.random.default_rng(0).bytes(20_000)):
        np.testing.assert_array_equal(decode.read_audio(data + more), whole)


def patched(data, offset, layout, value):
    size = struct.calcsize(layout)
    return data[:offset] + struct.pack(layout, value) + data[offset + size :]


@pytest.mark.parametrize("more", [8, 36, 44])
def test_wav_when_its_header_counts_itself_then_whole(more):
    data = encoded("WAV", "PCM_16", tone())
    slip = patched(data, 40, "<I", len(data) - 44 + more)
    np.testing.assert_array_equal(decode.read_audio(slip), decode.read_audio(data))


@pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF])
@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_wav_when_it_was_written_to_a_pipe_then_all_that_is_there(riff, size):
    data = encoded("WAV", "PCM_16", tone())
    piped = patched(patched(data, 4, "<I", riff), 40, "<I", size)
    np.testing.assert_array_equal(decode.read_audio(piped), decode.read_audio(data))


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
def test_rf64_when_it_was_written_to_a_pipe_then_all_that_is_there(magic):
    data = encoded("RF64", "PCM_16", tone())
    assert data[12:16] == b"ds64"
    piped = magic + patched(data, 28, "<Q", 0)[4:]
    np.testing.assert_array_equal(decode.read_audio(piped), decode.read_audio(data))


def test_caf_when_it_was_written_to_a_pipe_then_all_that_is_there():
    data = contained("caf", "pcm_s16le", tone(SECONDS, RATE), RATE, pipe=True)
    assert seconds_of(data) == pytest.approx(SECONDS, abs=0.001)


def test_flac_when_two_are_joined_then_one_sentence():
    data = encoded("FLAC", "PCM_16", tone())
    with pytest.raises(UserError, match="has a second FLAC stream"):
        decode.read_audio(data + data)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_au_when_it_was_written_to_a_pipe_then_all_that_is_there(size):
    data = encoded("AU", "PCM_16", tone())
    piped = patched(data, 8, ">I", size)
    np.testing.assert_array_equal(decode.read_audio(piped), decode.read_audio(data))
