"""Corpora without emotions on small trees with their true names and lists."""

import csv
import gzip
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sersl.audio.decode import read_audio
from sersl.core.errors import UserError
from sersl.corpora.catalog.librilight import join
from sersl.corpora.catalog.registry import CORPORA
from sersl.corpora.index import load_index
from sersl.corpora.prepare import prepare
from sersl.corpora.tables import objects
from sersl.corpora.utterance import Utterance
from sersl.corpora.writing import reading
from sersl.corpora.writing.reading import Reader


def part(tmp_path, corpus, **more):
    """Prepares `tmp_path/audio`, without a look at how much of the corpus it is."""
    given = {"allow_unexpected_count": True} | more
    return prepare(
        data_dir=tmp_path / "data", corpus=corpus, audio_dir=tmp_path / "audio", **given
    ).summary


def rows(tmp_path, corpus, *columns):
    """The index by utterance_id."""
    index = load_index(tmp_path / "data", corpus)
    values = zip(*(index.column(name) for name in columns), strict=True)
    return dict(zip(index.column("utterance_id"), values, strict=True))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def noise(path, seconds, *, rate=16_000, seed=0):
    """Writes noise, so that every segment has samples of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * rate))
    kind = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, samples, rate, **kind)


def test_librispeech_when_the_tree_then_texts_speakers_subsets_and_count(tmp_path, tone):
    audio = tmp_path / "audio" / "LibriSpeech"
    write(
        audio / "SPEAKERS.TXT",
        ";ID  |SEX| SUBSET           |MINUTES| NAME\n"
        "103  | F | train-clean-100  | 25.05 | Karen Savage\n"
        "8842 | M | dev-other        | 8.10  | Mary | who has a bar in the name\n",
    )
    lines = "103-1240-0000 CHAPTER ONE MISSUS RACHEL\n103-1240-0001 THAT HAD ITS SOURCE\n"
    write(audio / "train-clean-100/103/1240/103-1240.trans.txt", lines)
    write(audio / "dev-other/8842/302196/8842-302196.trans.txt", "8842-302196-0000 YES\n")
    for file in (
        "train-clean-100/103/1240/103-1240-0000",
        "dev-other/8842/302196/8842-302196-0000",
    ):
        tone(audio / f"{file}.flac", seconds=0.1)
    with pytest.raises(UserError, match="2 utterances found, 3 expected"):
        part(tmp_path, "librispeech", allow_unexpected_count=False)
    tone(audio / "train-clean-100/103/1240/103-1240-0001.flac", seconds=0.1, hertz=300)
    tone(audio / "train-clean-100/noise.flac", seconds=0.1)
    summary = part(tmp_path, "librispeech", allow_unexpected_count=False)
    got = rows(tmp_path, "librispeech", "speaker", "gender", "session", "fold", "text", "category")
    assert got["103-1240-0000"] == (
        "103",
        "female",
        "1240",
        "train",
        "CHAPTER ONE MISSUS RACHEL",
        "",
    )
    assert got["8842-302196-0000"] == ("8842", "male", "302196", "validation", "YES", "")
    assert [item["reason"] for item in summary["left_out"]] == ["name is not like 103-1240-0000"]


@pytest.mark.corpora
def test_librispeech_when_real_excerpts_then_each_is_an_utterance_of_its_speaker(
    corpora_dir, tmp_path
):
    folder = corpora_dir / "librispeech_mini"
    items = list(CORPORA["librispeech"](data_dir=tmp_path, audio_dir=folder).listing())
    with (folder / "manifest.csv").open() as file:
        speakers = {row["text_id"]: row["speaker"] for row in csv.DictReader(file)}
    assert {item.utterance_id: item.speaker for item in items} == speakers and len(items) == 351


@pytest.mark.corpora
def test_librispeech_when_real_audio_is_prepared_then_durations_are_the_files_own(
    corpora_dir, tmp_path
):
    audio = tmp_path / "audio"
    audio.mkdir()
    with (corpora_dir / "librispeech_mini/manifest.csv").open() as file:
        listed = [row for row in csv.DictReader(file) if float(row["duration_s"]) < 2.5][:8]
    for row in listed:
        name = row["path"].rsplit("/", 1)[1]
        (audio / name).symlink_to(corpora_dir / "librispeech_mini" / row["path"])
    assert part(tmp_path, "librispeech")["skipped"] == []
    got = rows(tmp_path, "librispeech", "duration")
    for row in listed:
        assert abs(got[row["text_id"]][0] - float(row["duration_s"])) < 0.002


def test_librilight_when_voice_activity_then_pieces_of_the_recording(tmp_path):
    audio = tmp_path / "audio/small/100/sea_fairies_0812_librivox_64kb_mp3"
    noise(audio / "01_baum_sea_fairies_64kb.flac", 1.0)
    activity = {"speaker": "100", "snr": 11.5, "voice_activity": [[0.1, 0.3], [0.4, 0.9]]}
    write(audio / "01_baum_sea_fairies_64kb.json", json.dumps(activity))
    noise(audio / "02_baum_sea_fairies_64kb.flac", 0.2)
    noise(audio / "03_baum_sea_fairies_64kb.flac", 0.2)
    write(audio / "03_baum_sea_fairies_64kb.json", '{"speaker": "100", "voice_activity": []}')
    summary = part(tmp_path, "librilight")
    ((utterance_id, row),) = rows(
        tmp_path, "librilight", "speaker", "num_samples", "extra", "session"
    ).items()
    assert utterance_id.endswith("/01_baum_sea_fairies_64kb#0.10-0.90")
    assert row[:3] == ("100", 12_800, '{"snr": 11.5}') and row[3].startswith("sea_fairies")
    assert [item["reason"].split(",")[0] for item in summary["left_out"]] == [
        "02_baum_sea_fairies_64kb.json is not beside it",
        "without speech: its voice activity is empty",
    ]


def test_join_when_pieces_are_near_then_up_to_the_longest_and_long_ones_stay():
    pieces = [[0, 10], [11, 25], [26, 31], [40, 90], [91, 92]]
    assert join(pieces, longest=30.0) == [(0, 25), (26, 31), (40, 90), (91, 92)]


def test_voxceleb1_when_the_tree_then_speakers_genders_and_sets(tmp_path, tone):
    audio = tmp_path / "audio"
    write(
        audio / "vox1_meta.csv",
        "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
        "id10001\tA.J._Buckley\tm\tIreland\tdev\nid10270\tEartha_Kitt\tf\tUSA\ttest\n",
    )
    for number, file in enumerate(("id10001/1zcIwhmdeo4/00001", "id10270/5r0dWxy17C8/00002")):
        tone(audio / f"wav/{file}.wav", seconds=0.1, hertz=200 + 50 * number)
    tone(audio / "wav/readme.wav", seconds=0.1)
    summary = part(tmp_path, "voxceleb1")
    got = rows(tmp_path, "voxceleb1", "speaker", "gender", "fold", "session")
    assert got == {
        "id10001-1zcIwhmdeo4-00001": ("id10001", "male", "train", "1zcIwhmdeo4"),
        "id10270-5r0dWxy17C8-00002": ("id10270", "female", "test", "5r0dWxy17C8"),
    }
    assert len(summary["left_out"]) == 1
    assert summary["differences"] == ["2 utterances, the published corpus has 153516"]


def test_voxceleb2_when_some_are_converted_then_those_are_taken_first(tmp_path, tone):
    audio = tmp_path / "audio"
    meta = "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid00012 ,n000012 ,m ,dev \n"
    write(audio / "vox2_meta.csv", meta)
    folder = audio / "dev/aac/id00012/21Uxsk56VDQ"
    tone(folder / "00001.wav", seconds=0.1)
    for name in ("00001.m4a", "00002.m4a"):
        (folder / name).write_bytes(b"\0\0\0\x18ftypM4A " + bytes(12))
    summary = part(tmp_path, "voxceleb2")
    got = rows(tmp_path, "voxceleb2", "gender", "fold", "path")
    assert list(got) == ["id00012-21Uxsk56VDQ-00001"]
    assert next(iter(got.values())) == ("male", "train", "dev/aac/id00012/21Uxsk56VDQ/00001.wav")
    assert [item["path"].rsplit("/", 1)[1] for item in summary["skipped"]] == ["00002.m4a"]
    assert summary["left_out"][0]["reason"].startswith("same utterance as")


@pytest.mark.parametrize("root", ["", "cv-corpus-17.0-2024-03-15/"])
def test_common_voice_when_languages_then_validated_clips_with_their_sets(tmp_path, tone, root):
    head = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\tlocale\n"
    clips = {
        "en": (("a1", 'He said "no".', "twenties", "female_feminine"), ("b2", "Yes", "", "")),
        "zh-CN": (("c3", "你好", "", "male"),),
    }
    for locale, people in clips.items():
        folder = tmp_path / "audio" / f"{root}{locale}"
        lines = [
            f"{who}\tcommon_voice_{locale}_{n}.mp3\t{text}\t2\t0\t{age}\t{gender}\t\t{locale}\n"
            for n, (who, text, age, gender) in enumerate(people)
        ]
        write(folder / "validated.tsv", head + "".join(lines))
        write(folder / "test.tsv", head + lines[0])
        for n in range(len(people) + 1):  # the last is not validated
            tone(folder / f"clips/common_voice_{locale}_{n}.mp3", seconds=0.2, hertz=200 + 50 * n)
    summary = part(tmp_path, "common_voice", allow_unexpected_count=False)
    got = rows(tmp_path, "common_voice", "speaker", "gender", "language", "text", "fold")
    assert got == {
        "common_voice_en_0": ("a1", "female", "en", 'He said "no".', "test"),
        "common_voice_en_1": ("b2", "", "en", "Yes", ""),
        "common_voice_zh-CN_0": ("c3", "male", "zh", "你好", "test"),
    }
    assert {item["reason"] for item in summary["left_out"]} == {"clip is not in validated.tsv"}


def test_voxpopuli_when_raw_and_cut_audio_then_segments_and_transcripts(tmp_path):
    audio = tmp_path / "audio"
    event = "20090112-0900-PLENARY-15_en"
    noise(audio / f"raw_audios/en/2009/{event}.ogg", 0.8)
    noise(audio / "raw_audios/de/2009/20090112-0900-PLENARY-16_de.ogg", 0.2)
    with gzip.open(audio / "unlabelled_v2.tsv.gz", "wt") as table:
        table.write("event_id\tsegment_no\tstart\tend\n")
        table.write(f"{event}\t0\t0.1\t0.4\n{event}\t1\t0.4\t0.75\n")
    noise(audio / f"unlabelled_data/fr/2010/{event[:-2]}fr_3.ogg", 0.2, seed=1)
    cut = "20180312-0900-PLENARY-1-en_20180312-17:07:39_2"
    noise(audio / f"transcribed_data/en/2018/{cut}.ogg", 0.2, seed=2)
    write(
        audio / "transcribed_data/en/asr_dev.tsv",
        "id\traw_text\tnormalized_text\tspeaker_id\tsplit\tgender\n"
        f'{cut}\tMadam President, "yes"\tmadam president yes\t28266\tdev\tfemale\n',
    )
    summary = part(tmp_path, "voxpopuli")
    got = rows(tmp_path, "voxpopuli", "language", "num_samples", "speaker", "text", "fold")
    assert got == {
        f"{event}_0": ("en", 4800, "", "", ""),
        f"{event}_1": ("en", 5600, "", "", ""),
        f"{event[:-2]}fr_3": ("fr", 3200, "", "", ""),
        cut: ("en", 3200, "28266", 'Madam President, "yes"', "validation"),
    }
    (left_out,) = summary["left_out"]
    assert left_out["reason"] == "event is not in unlabelled_v2.tsv.gz"


def giga(sid, start, end, text, *, speaker="N/A", subsets=("{XL}", "{XS}")):
    return {
        "sid": sid,
        "begin_time": start,
        "end_time": end,
        "text_tn": text,
        "speaker": speaker,
        "subsets": list(subsets),
    }


def test_gigaspeech_when_the_list_then_segments_of_the_recordings_that_are_there(tmp_path):
    audio = tmp_path / "audio"
    noise(audio / "audio/podcast/P0000/POD0000000001.opus", 1.0, rate=48_000)
    noise(audio / "audio/youtube/P0001/YOU0000000009.opus", 0.5, rate=48_000, seed=1)
    segments = [
        giga("POD0000000001_S0000000", 0.1, 0.4, "DOUGLAS MCGRAY <COMMA> IS", speaker="Doug"),
        giga("POD0000000001_S0000001", 0.4, 0.6, "<MUSIC>"),
        giga("POD0000000001_S0000002", 0.6, 0.95, "YES", subsets=["{DEV}"]),
    ]
    path = "audio/podcast/P0000/POD0000000001.opus"
    recording = {"aid": "POD0000000001", "path": path, "segments": segments}
    absent = recording | {"aid": "POD2", "path": "audio/podcast/P0000/POD0000000002.opus"}
    write(audio / "GigaSpeech.json", json.dumps({"audios": [recording, absent]}))
    summary = part(tmp_path, "gigaspeech")
    got = rows(tmp_path, "gigaspeech", "speaker", "num_samples", "text", "fold", "session")
    assert got == {
        "POD0000000001_S0000000": (
            *("Doug", 4800, "DOUGLAS MCGRAY <COMMA> IS", "train", "POD0000000001"),
        ),
        "POD0000000001_S0000002": ("", 5600, "YES", "validation", "POD0000000001"),
    }
    reasons = {item["path"]: item["reason"] for item in summary["left_out"]}
    assert reasons == {
        "POD0000000001_S0000001": "segment without speech",
        "audio/youtube/P0001/YOU0000000009.opus": "recording is not in GigaSpeech.json",
    }


def test_gigaspeech_when_the_list_is_large_then_it_is_read_a_recording_at_a_time(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(objects, "_CHUNK", 7)
    audios = [{"path": f"a{i}.opus", "text": 'x]}", {"audios": [' * i} for i in range(9)]
    content = json.dumps({"dataset": "GigaSpeech", "audios": audios, "other": [1]}, indent=1)
    write(tmp_path / "list.json", content)
    found = list(objects.read_array(tmp_path / "list.json", "audios"))
    assert [audio for _, audio in found] == audios
    lines = content.split("\n")
    assert all(lines[line] == f'   "path": "{audio["path"]}",' for line, audio in found)
    write(tmp_path / "cut.json", content[: len(content) // 2])
    got = []
    with pytest.raises(UserError, match=r"cut\.json line \d+: damaged or cut off"):
        got.extend(objects.read_array(tmp_path / "cut.json", "audios"))
    write(tmp_path / "none.json", json.dumps({"audio": []}))
    with pytest.raises(UserError, match="there is no array 'audios'"):
        list(objects.read_array(tmp_path / "none.json", "audios"))


def test_reader_when_many_segments_of_one_recording_then_it_is_decoded_once(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    noise(path, 1.0, rate=44_100)
    calls = []
    whole = read_audio(path)
    real = reading.open_audio
    monkeypatch.setattr(reading, "open_audio", lambda source: calls.append(source) or real(source))
    reader = Reader()
    for number in range(5):
        start = 0.1 * number
        item = Utterance(
            utterance_id=str(number), source=path, path="a.wav", start=start, end=start + 0.1
        )
        row, audio, *_ = reader.read("c", item)
        got, _ = soundfile.read(io.BytesIO(audio), dtype="int16")
        want = np.rint(whole[1600 * number : 1600 * (number + 1)] * 32768)
        np.testing.assert_array_equal(got, want)
        assert row["num_samples"] == 1600
    assert len(calls) == 1


def test_table_of_corpora_when_read_then_has_every_corpus_its_licence_and_its_size():
    table = (Path(__file__).parents[3] / "docs" / "corpora.md").read_text(encoding="utf-8")
    lines = {row[2]: row[1] for row in re.finditer(r"^(\| `(\w+)` \|.*)", table, re.MULTILINE)}
    assert set(lines) == set(CORPORA)
    for name, builder in CORPORA.items():
        assert builder.name == name
        if builder.about.num_utterances is not None:
            assert f" {builder.about.num_utterances:,} " in lines[name], name
        assert builder.about.homepage in lines[name], name
