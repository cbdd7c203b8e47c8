import io
import os
import tracemalloc
import unicodedata

import numpy as np
import pytest

from sersl.audio import source
from sersl.audio.decode import open_audio, probe, read_audio
from sersl.audio.limits import check_sample_rate
from sersl.core.errors import UserError
from tests.audio.odd_files import contained, encoded, good_files, tone

WAV = encoded("WAV", "PCM_16", tone())


@pytest.mark.parametrize("name", good_files())
def test_audio_when_a_path_bytes_or_a_stream_then_the_same_samples(name, tmp_path):
    data = good_files()[name]
    path = tmp_path / os.fsdecode(b"caf\xe9: \x1b[31m.bin")  # not UTF-8, a colon, an escape
    path.write_bytes(data)
    whole = read_audio(data)
    np.testing.assert_array_equal(read_audio(path), whole)
    np.testing.assert_array_equal(read_audio(str(path)), whole)
    np.testing.assert_array_equal(read_audio(io.BytesIO(data)), whole)
    with path.open("rb") as file:
        np.testing.assert_array_equal(read_audio(file), whole)
    assert probe(path) == probe(bytearray(data)) == probe(memoryview(data))
    with open_audio(path) as audio:
        np.testing.assert_array_equal(np.concatenate(list(audio.blocks())), whole)


def test_error_when_a_name_is_not_utf8_or_moves_the_cursor_then_it_can_be_printed(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff\x1b[2J\n.wav")
    path.write_bytes(b"not audio")
    with pytest.raises(UserError) as raised:
        read_audio(path)
    assert r"\xff\x1b[2J\n.wav is not audio" in str(raised.value)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_audio_when_its_name_is_spelled_in_another_unicode_form_then_found(
    written, asked, tmp_path
):
    folder, file = "Café", "Ångström é.wav"
    (tmp_path / unicodedata.normalize(written, folder)).mkdir()
    path = tmp_path / unicodedata.normalize(written, folder) / unicodedata.normalize(asked, file)
    path.write_bytes(WAV)  # the folder in one form, the file in the other
    wanted = unicodedata.normalize(asked, f"{folder}/{file}")
    assert len(read_audio(tmp_path / wanted)) == 8000
    with pytest.raises(UserError, match="does not exist"):
        read_audio(tmp_path / folder / "á.wav")


def test_audio_when_it_is_not_a_regular_file_then_one_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "broken.wav").symlink_to("nowhere.wav")
    for path, message in (
        ("/dev/zero", "is a pipe or device"),
        (tmp_path / "pipe.wav", "is a pipe or device"),
        (tmp_path / "broken.wav", r"is a link to nowhere\.wav, which does not exist"),
        (tmp_path, "is a folder"),
        ("a\0b.wav", "cannot be opened"),
        (tmp_path / ("x" * 300 + ".wav"), "cannot be opened"),
        (tmp_path / "\udcff\ud800.wav", "does not exist|cannot be opened"),
    ):
        with pytest.raises(UserError, match=message):
            read_audio(path)


def test_stream_when_it_has_no_end_then_one_sentence(monkeypatch):
    class Endless:
        def read(self, size):
            return bytes(size)

    monkeypatch.setattr(source, "_MOST_STREAMED", 5 << 20)
    with pytest.raises(UserError, match="has more than"):
        read_audio(Endless())


def test_blocks_when_a_file_is_long_then_memory_does_not_grow_with_it(tmp_path):
    path = tmp_path / "long.wav"
    head = bytearray(encoded("WAV", "PCM_16", tone(0.1, 48_000, 2), 48_000)[:44])
    size = 600 * 48_000 * 4  # ten minutes of 48 kHz stereo, a sparse file
    head[40:44] = size.to_bytes(4, "little")
    path.write_bytes(head)
    os.truncate(path, 44 + size)
    tracemalloc.start()
    with open_audio(path) as audio:
        total = sum(len(block) for block in audio.blocks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 600 * 16_000
    assert peak < 30e6


def test_container_when_long_then_read_in_blocks(tmp_path):
    path = tmp_path / os.fsdecode(b"\xe9.m4a")
    path.write_bytes(contained("mp4", "aac", tone(130.0)))
    with open_audio(path) as audio:
        assert sum(len(block) for block in audio.blocks()) / 16_000 == pytest.approx(130, abs=0.1)


def test_audio_when_longer_than_memory_allows_then_one_sentence(monkeypatch):
    monkeypatch.setattr("sersl.audio.decode.MOST_HOURS_AT_ONCE", 1 / 3600)
    flac = encoded("FLAC", "PCM_16", np.zeros((200_000, 1)))
    assert len(flac) < 1000  # a bomb: silence takes no room
    with pytest.raises(UserError, match="is longer than"):
        read_audio(flac)


@pytest.mark.parametrize(
    "rate", [16_000, 16_000.0, np.float32(16_000), np.uint16(16_000), np.array(16_000.0)]
)
def test_sample_rate_when_any_whole_number_then_taken(rate):
    assert check_sample_rate(rate) == 16_000
    assert type(check_sample_rate(rate)) is int


@pytest.mark.parametrize(
    "rate",
    [
        *("16000", b"16000", 44_100.5, float("nan"), float("inf"), -float("inf"), 1e30, 10**30),
        *(16, 44.1, 0, -16_000, True, None, [16_000], np.array([16_000]), np.float32("nan"), 1j),
        np.bool_(True),
    ],
)
def test_sample_rate_when_it_is_no_rate_then_one_sentence(rate):
    with pytest.raises(UserError, match=r"^sample_rate=.*: pass "):
        check_sample_rate(rate)
