import io
import struct

import numpy as np
import pytest
import soundfile

from sersl.audio.decode import open_audio
from sersl.audio.flac import decode_flac, to_pcm16
from sersl.core.errors import UserError
from sersl.corpora.utterance import Utterance
from sersl.corpora.writing import reading
from sersl.corpora.writing.reading import Reader
from tests.audio.odd_files import contained, encoded, tone


def utterance(path, **given):
    return Utterance(utterance_id="u", source=path, path=path.name, **given)


def test_reader_when_a_flac_has_pictures_and_tags_then_the_record_has_only_audio(tmp_path):
    plain = encoded("FLAC", "PCM_16", tone())
    image = np.random.default_rng(0).bytes(500_000)
    numbers = [32, 32, 24, 0, len(image)]  # width, height, bits, colours, bytes
    picture = struct.pack(">II9sI5I", 3, 9, b"image/png", 0, *numbers) + image
    comment = b"\x08\0\0\0a person\x01\0\0\0" + b"\x0e\0\0\0" + b"NAME=Ada Adams"
    blocks = b"".join(
        bytes([kind]) + len(content).to_bytes(3, "big") + content
        for kind, content in ((6, picture), (4, comment))
    )
    path = tmp_path / "a.flac"
    path.write_bytes(plain[:42] + blocks + plain[42:] + b"TAG" + b"Ada Adams".ljust(125))
    _, audio, _, info = Reader().read("c", utterance(path))
    assert info.format == "FLAC"
    assert len(audio) < len(plain) + 100
    assert b"Ada" not in audio and image[:100] not in audio
    samples, _ = soundfile.read(io.BytesIO(plain), dtype="int16")
    np.testing.assert_array_equal(to_pcm16(decode_flac(audio)), samples)


@pytest.mark.parametrize("kind", ["mp3", "wav at 44.1 kHz", "m4a"])
def test_reader_when_segments_of_a_file_without_seeking_then_each_is_its_slice(kind, tmp_path):
    path = tmp_path / "a.bin"
    data = {
        "mp3": lambda: contained("mp3", "libmp3lame", tone(3.0), 16_000, {"write_xing": "0"}),
        "wav at 44.1 kHz": lambda: encoded("WAV", "PCM_16", tone(3.0, 44_100, 2), 44_100),
        "m4a": lambda: contained("mp4", "aac", tone(3.0)),
    }
    path.write_bytes(data[kind]())
    with open_audio(path) as audio:
        whole = to_pcm16(audio.read())
    reader = Reader()
    for start, end in ((0.5, 1.5), (None, 0.25), (2.75, None)):
        row, audio, _, info = reader.read("c", utterance(path, start=start, end=end))
        first = round((start or 0) * 16_000)
        want = whole[first : None if end is None else round(end * 16_000)]
        np.testing.assert_array_equal(to_pcm16(decode_flac(audio)), want)
        assert row["num_samples"] == len(want) and info.duration == pytest.approx(3, abs=0.1)
    with pytest.raises(UserError, match="outside of the file"):
        reader.read("c", utterance(path, start=5.0, end=6.0))


def test_reader_when_a_recording_is_too_long_for_memory_then_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_MOST_HOURS", 1 / 3600)
    path = tmp_path / "a.wav"
    path.write_bytes(encoded("WAV", "PCM_16", tone(2.0, 8000), 8000))
    with pytest.raises(UserError, match="is longer than"):
        Reader().read("c", utterance(path, start=0.1, end=0.2))
