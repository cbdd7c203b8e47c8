"""Files as they come from broken disks, downloads and programs: a sentence each, never more."""

import io
import json
import os
import struct
import threading

import numpy as np
import pytest
import soundfile

from sersl.audio.decode import probe, read_audio
from sersl.core.errors import UserError
from sersl.corpora.index import load_index
from sersl.corpora.listing import list_files, printable
from sersl.corpora.prepare import prepare

RATE = 16_000
TONE = (0.3 * np.sin(2 * np.pi * 220 * np.arange(RATE // 2) / RATE)).astype(np.float32)


def encoded(container="WAV", subtype="PCM_16", *, rate=RATE, samples=TONE):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def patched(data, offset, new):
    return data[:offset] + new + data[offset + len(new) :]


def with_value(value, where=100, samples=TONE):
    samples = samples.copy()
    samples[where] = value
    return encoded(subtype="FLOAT", samples=samples)


WAV, FLAC = encoded(), encoded("FLAC")
VORBIS, OPUS = encoded("OGG", "VORBIS"), encoded("OGG", "OPUS")
MP3 = encoded("MP3", "MPEG_LAYER_III")
NOISE = np.random.default_rng(0).bytes(20_000)
MANY = np.stack([TONE] * 8, axis=1)

# Name of the file -> its bytes; none of them can be used.
BROKEN = {
    "empty.wav": b"",
    "empty.flac": b"",
    "empty.ogg": b"",
    "empty.mp3": b"",
    "one_byte.wav": b"R",
    "newline.wav": b"\n",
    "text.wav": b"this is a letter to you\n" * 50,
    "html.mp3": b"<!doctype html><html><body>404 not found</body></html>" * 20,
    "json.flac": json.dumps({"error": "quota exceeded"}).encode(),
    "lfs_pointer.wav": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "zeros.wav": bytes(5000),
    "zeros.flac": bytes(5000),
    "noise.wav": NOISE,
    "ones.ogg": b"\xff" * 5000,
    "zip.wav": b"PK\x03\x04" + NOISE,
    "pdf.flac": b"%PDF-1.7\n" + NOISE,
    "png.wav": b"\x89PNG\r\n\x1a\n" + NOISE,
    "gzip.wav": b"\x1f\x8b\x08" + NOISE,
    "magic_only.wav": b"RIFF",
    "magic_only.flac": b"fLaC",
    "magic_only.ogg": b"OggS",
    "magic_only.mp3": b"ID3",
    "wrong_magic.wav": b"JUNK" + WAV[4:],
    "wrong_form.wav": patched(WAV, 8, b"AVI "),
    "wrong_magic.flac": b"fLaX" + FLAC[4:],
    "header_only.wav": WAV[:36],
    "half_header.wav": WAV[:20],
    "no_samples.wav": encoded(samples=TONE[:0]),
    "no_samples.flac": encoded("FLAC", samples=TONE[:0]),
    "cut_half.wav": WAV[: len(WAV) // 2],
    "cut_a_sample.wav": WAV[:-2],
    "cut_half.flac": FLAC[: len(FLAC) // 2],
    "cut_a_little.flac": FLAC[:-20],
    "cut_header.flac": FLAC[:30],
    "cut_half.ogg": VORBIS[: len(VORBIS) // 2],
    "cut_a_little.ogg": VORBIS[:-20],
    "cut_half.opus": OPUS[: len(OPUS) // 2],
    "cut_half.mp3": MP3[: len(MP3) // 2],
    "hole.flac": patched(FLAC, len(FLAC) // 2, bytes(2000)),
    "noise_inside.flac": patched(FLAC, len(FLAC) // 3, NOISE[: len(FLAC) // 3]),
    "huge_claim.wav": patched(WAV, 40, struct.pack("<I", 0x7FFEFFFF)),
    "huge_format_chunk.wav": patched(WAV, 16, struct.pack("<I", 0x7FFFFFFF)),
    "huge_claim.flac": patched(FLAC, 21, b"\xff\xff\xff\xff\xff"),
    "no_channels.wav": patched(WAV, 22, struct.pack("<H", 0)),
    "many_channels.wav": patched(WAV, 22, struct.pack("<H", 65_535)),
    "rate_0.wav": patched(WAV, 24, struct.pack("<I", 0)),
    "rate_1.wav": patched(WAV, 24, struct.pack("<I", 1)),
    "rate_16.wav": encoded(rate=16, samples=TONE[:70]),
    "rate_2_000_000_000.wav": patched(WAV, 24, struct.pack("<I", 2_000_000_000)),
    "channels_300.wav": encoded(samples=np.zeros((500, 300), np.float32)),
    "int16_as_float.wav": encoded(subtype="FLOAT", samples=32768 * TONE),
    "1e38.wav": encoded(subtype="FLOAT", samples=np.float32(3e38) * TONE),
    "one_channel_inverted.wav": encoded(samples=np.stack([TONE, -TONE], axis=1)),
    "bits_0.wav": patched(WAV, 34, struct.pack("<H", 0)),
    "unknown_coding.wav": patched(WAV, 20, struct.pack("<H", 0x1234)),
    "nan.wav": with_value(np.nan),
    "infinity.wav": with_value(np.inf),
    "minus_infinity.wav": with_value(-np.inf, where=-1),
    "all_nan.wav": with_value(np.nan, where=slice(None)),
    "nan_at_44100.wav": encoded(
        subtype="FLOAT", rate=44_100, samples=np.full(9000, np.nan, np.float32)
    ),
    "one_sample.wav": encoded(samples=TONE[:1]),
    "one_sample.flac": encoded("FLAC", samples=TONE[:1]),
    "399_samples.wav": encoded(samples=TONE[:399]),
    "one_sample_at_384000.wav": encoded(rate=384_000, samples=TONE[:1]),
    "samples.raw": NOISE,
    "garbage.m4a": b"\0\0\0\x20ftypM4A " + NOISE,
    "garbage.mp4": b"\0\0\0\x20ftypisom" + NOISE,
    "garbage.webm": b"\x1a\x45\xdf\xa3" + NOISE,
    "garbage.wma": b"\x30\x26\xb2\x75" + NOISE,
    "garbage.amr": b"#!AMR\n" + NOISE[:50],
    "magic_only.m4a": b"\0\0\0\x20ftypM4A ",
}

# Unusual, but what is in them can be used.
USABLE = {
    "offset.wav": encoded(samples=TONE + 0.5),
    "silent.wav": encoded(samples=0 * TONE),
    "loud.wav": encoded(subtype="FLOAT", samples=50 * TONE),
    "channels_8.wav": encoded(samples=MANY),
    "channels_8.flac": encoded("FLAC", samples=MANY),
    "rate_384000.wav": encoded(rate=384_000, samples=np.tile(TONE, 24)),
    "rate_11025.flac": encoded("FLAC", rate=11_025),
    "400_samples.wav": encoded(samples=TONE[:400]),
    "bits_8.wav": encoded(subtype="PCM_U8"),
    "double.wav": encoded(subtype="DOUBLE"),
    "flac_called.wav": FLAC,
    "wav_called.mp3": WAV,
    "to_a_pipe.wav": patched(WAV, 40, b"\xff\xff\xff\xff"),
    "more_after.wav": WAV + NOISE,
    "PCM IN UPPER CASE.WAV": WAV,
}


def within(seconds, function, *arguments):
    """Runs a function that must not hang; gives what it returned or raised."""
    answers = []

    def run():
        try:
            answers.append(function(*arguments))
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert answers, f"{function.__name__} of {arguments} hangs"
    return answers[0]


def assert_sentence(error, name):
    assert isinstance(error, UserError), f"{name}: {error!r}"
    assert "\n" not in str(error) and 10 < len(str(error)) < 400 + len(name)


@pytest.mark.parametrize("name", BROKEN)
def test_decoding_when_a_file_is_broken_then_one_sentence(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(BROKEN[name])
    too_short = name.startswith(("one_sample", "399"))  # decoded; preparing says what is wrong
    for source in (path, BROKEN[name]) if not name.endswith(".raw") else (path,):
        answer = within(20, read_audio, source)
        if too_short:
            assert len(answer) < 400
        else:
            assert_sentence(answer, name)
            assert source is not path or name in str(answer)
        seen = within(20, probe, source)
        if isinstance(seen, Exception):
            assert_sentence(seen, name)


@pytest.mark.parametrize("name", USABLE)
def test_decoding_when_a_file_is_unusual_then_its_sound_is_there(name):
    waveform = within(20, read_audio, USABLE[name])
    info = probe(USABLE[name])
    assert waveform.dtype == np.float32 and np.isfinite(waveform).all()
    assert len(waveform) == -(-info.num_samples * RATE // info.sample_rate)


def manifest_of(folder, paths):
    text = "path,utterance_id\n" + "".join(f"{path},{i}\n" for i, path in enumerate(paths))
    (folder / "own.csv").write_text(text, encoding="utf-8")
    return folder / "own.csv"


def test_prepare_when_files_are_broken_then_each_is_listed_and_the_others_are_kept(tmp_path):
    files = BROKEN | USABLE
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "dangling.wav").symlink_to("nowhere.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    special = ["folder.wav", "loop.wav", "dangling.wav", "pipe.wav", "gone.wav", "x" * 300 + ".wav"]
    manifest = manifest_of(tmp_path, [*files, *special])
    prepared = within(
        120, lambda: prepare(data_dir=tmp_path / "data", manifest=manifest, name="own")
    )
    assert not isinstance(prepared, Exception), prepared
    reasons = {item["path"]: item["reason"] for item in prepared.summary["skipped"]}
    assert set(reasons) == {*BROKEN, *special} and len(reasons) >= 60
    for path, reason in reasons.items():
        assert_sentence(UserError(reason), path)
    assert load_index(tmp_path / "data", "own").column("path").tolist() == list(USABLE)
    quality = json.loads((prepared.folder / "quality.json").read_text())
    assert {item["path"] for item in quality["unreadable"]} == set(reasons)
    ids = [name for name, _ in quality["faults"]["dc_offset"]["worst"]]
    assert ids[0] == str(list(files).index("offset.wav"))
    assert quality["native"]["sample_rate"]["384000"] == 1


def test_prepare_when_a_path_leaves_the_manifests_folder_then_a_sentence_unless_allowed(tmp_path):
    (tmp_path / "outside.wav").write_bytes(WAV)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "good.wav").write_bytes(WAV)
    paths = [
        "good.wav",
        "../outside.wav",
        "../../../../../../etc/passwd",
        "/etc/shadow",
        "/dev/zero",
    ]
    given = {"data_dir": tmp_path / "data", "manifest": manifest_of(inside, paths)}
    refused = within(60, lambda: prepare(**given))
    assert_sentence(refused, "own.csv line 3: path '../outside.wav' leads out of")
    answer = within(60, lambda: prepare(**given, allow_outside_paths=True))
    skipped = {item["path"] for item in answer.summary["skipped"]}
    assert skipped == {"../../../../../../etc/passwd", "/etc/shadow", "/dev/zero"}
    kept = load_index(tmp_path / "data", "own").column("path").tolist()
    assert kept == ["good.wav", "../outside.wav"]


def test_folder_when_names_are_not_utf8_or_links_loop_then_files_are_listed_once_and_read(tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    (tmp_path / name).write_bytes(WAV)
    with open(tmp_path / os.fsdecode(b"\xff\xfe.wav"), "wb") as file:
        file.write(b"not audio")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.wav").write_bytes(WAV)
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "sub" / "self").symlink_to("self")
    (tmp_path / "dir.wav").mkdir()
    files = within(20, lambda: list(list_files(tmp_path, (".wav",))))
    assert files == [name, "sub/a.wav", os.fsdecode(b"\xff\xfe.wav")]
    assert printable(files[0]) == "caf\\xe9.wav"
    assert len(read_audio(tmp_path / name)) == len(TONE)
    error = within(20, read_audio, tmp_path / files[2])
    assert isinstance(error, UserError)


@pytest.mark.parametrize("given", [{"corpus": "emodb", "audio_dir": "a"}, {"manifest": "a"}])
def test_prepare_when_a_folder_is_a_link_to_nothing_then_it_is_listed(given, tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "03a01Fa.wav").write_bytes(WAV)
    (folder / "lost").symlink_to(tmp_path / "gone")
    given = {key: folder if value == "a" else value for key, value in given.items()}
    prepared = prepare(data_dir=tmp_path / "data", allow_unexpected_count=True, **given)
    summary = prepared.summary
    assert summary["num_utterances"] == 1
    (listed,) = [*summary["left_out"], *summary["skipped"]]
    assert listed["path"] == "lost" and "does not exist" in listed["reason"]
