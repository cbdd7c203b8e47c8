import json
import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from sersl.cli.prepare import run
from sersl.core.errors import UserError
from sersl.corpora.index import load_index
from sersl.corpora.manifests.formats import FORMATS, find_format
from sersl.corpora.manifests.manifest import ManifestBuilder, read_rows
from sersl.corpora.prepare import prepare


def listed(manifest, **more):
    builder = ManifestBuilder(data_dir=manifest.parent, manifest=manifest, **more)
    return list(builder.listing())


def write_lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def emobox_row(stem, emo, **more):
    row = {"key": f"savee-{stem}", "dataset": "savee", "wav": f"downloads/savee/{stem}.wav"}
    row |= {"type": "raw", "sample_rate": 44100, "num_frame": 148849.0, "task": "category"}
    return row | {"length": 3.4, "emo": emo, "channel": 1} | more


def test_emobox_when_label_map_is_beside_then_labels_by_it_and_paths_from_above(tmp_path, tone):
    tone(tmp_path / "downloads/savee/JE_n23.wav")
    file = write_lines(
        tmp_path / "data/savee/fold_1/savee_test_fold_1.jsonl",
        emobox_row("JE_n23", "n"),
        emobox_row("JE_x01", "x", start_time=0.1, end_time=0.2),
    )
    (tmp_path / "data/savee/label_map.json").write_text('{"n": "Neutral", "x": "Boredem"}')
    assert find_format(file) == "emobox"
    first, second = listed(file)
    assert first.source == tmp_path / "downloads/savee/JE_n23.wav"
    assert (first.utterance_id, first.category, first.category_raw) == (
        "savee-JE_n23",
        "neutral",
        "n",
    )
    assert first.channel is None and first.fold == "test"
    assert first.extra["sample_rate"] == 44100 and first.extra["emobox_channel"] == 1
    assert (second.start, second.end, second.category) == (0.1, 0.2, "boredom")


def test_emobox_when_no_label_map_then_the_corpus_own_codes(tmp_path):
    file = write_lines(tmp_path / "savee.jsonl", emobox_row("DC_su01", "su"))
    assert listed(file)[0].category == "surprise"


def test_s3prl_when_iemocap_then_speaker_of_the_turn_and_session(tmp_path):
    path = "Session1/sentences/wav/Ses01F_script01_2/Ses01F_script01_2_M001.wav"
    content = {
        "labels": {"neu": 0, "hap": 1, "ang": 2, "sad": 3},
        "meta_data": [
            {"path": path, "label": "neu", "speaker": "Ses01F"},
            {"path": path.replace("M001", "F001"), "label": 2, "speaker": "Ses01F"},
        ],
    }
    file = tmp_path / "Session1" / "test_meta_data.json"
    file.parent.mkdir()
    file.write_text(json.dumps(content))
    assert find_format(file) == "s3prl"
    first, second = listed(file)
    assert (first.speaker, first.session, first.fold) == ("Ses01M", "Ses01", "test")
    assert first.extra == {"s3prl_speaker": "Ses01F"} and first.category == "neutral"
    assert (second.speaker, second.category, second.extra) == ("Ses01F", "angry", {})
    content["meta_data"][1]["label"] = 9
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="entry 2: label 9 is not in 'labels'"):
        listed(file)


def test_speechbrain_when_read_then_data_root_is_the_folder(tmp_path):
    content = {
        "u1": {"wav": "{data_root}/a/x.wav", "length": 1.5, "emo": "hap", "spk_id": "s1"},
        "u2": {"wav": "b.wav", "length": 2.0, "words": "oh no", "emotion": "sad"},
    }
    for indent in (None, 2):  # one line, or many
        file = tmp_path / "train.json"
        file.write_text(json.dumps(content, indent=indent))
        assert find_format(file) == "speechbrain"
        first, second = listed(file)
        assert first.source == tmp_path / "a/x.wav"
        assert (first.utterance_id, first.category, first.speaker) == ("u1", "happy", "s1")
        assert (second.category, second.text, second.fold) == ("sad", "oh no", "train")
        assert first.extra == {"length": 1.5}


def test_nemo_when_offset_then_segment_else_whole(tmp_path):
    file = write_lines(
        tmp_path / "nemo.jsonl",
        {"audio_filepath": "a.wav", "duration": 2.0, "text": ""},
        {"audio_filepath": "a.wav", "duration": 2.0, "offset": 0.5, "label": "angry"},
    )
    assert find_format(file) == "nemo"
    whole, part = listed(file)
    assert (whole.start, whole.end, whole.extra) == (None, 2.0, {"duration": 2.0})
    assert (part.start, part.end, part.category) == (0.5, 2.5, "angry")
    write_lines(file, {"audio_filepath": "a.wav", "offset": 0.5})
    with pytest.raises(UserError, match="line 1: there is an offset and no duration"):
        listed(file)


def test_fairseq_when_labels_are_beside_then_joined_line_by_line(tmp_path):
    file = tmp_path / "train.tsv"
    file.write_text("audio/wav\nx/a.wav\t16000\nb.wav\t32000\n")
    (tmp_path / "train.emo").write_text("a\tneu\nb\tang\n")
    (tmp_path / "train.ltr").write_text("H I | Y O U |\nN O |\n")
    assert find_format(file) == "fairseq"
    first, second = listed(file)
    assert first.source == tmp_path / "audio/wav/x/a.wav" and first.utterance_id == "x/a"
    assert (first.category, first.text, first.fold) == ("neutral", "HI YOU", "train")
    assert second.category == "angry" and second.extra == {"listed_samples": 32000}
    (tmp_path / "train.emo").write_text("neu\n")
    with pytest.raises(UserError, match=r"train.emo has 1 lines and train.tsv 2 paths"):
        listed(file)
    (tmp_path / "train.emo").write_text("b neu\na ang\n")
    with pytest.raises(UserError, match="line 2: the label's line is of 'b'"):
        listed(file)


def kaldi(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1) if name == "wav_scp" else folder / name).write_text(
            text
        )
    return folder


def test_kaldi_when_segments_then_rows_are_segments(tmp_path):
    folder = kaldi(
        tmp_path / "train",
        wav_scp="r1 audio/my file.wav\nr2 /abs/r2.flac\n",
        segments="u1 r1 0.5 1.25\nu2 r2 3 -1\n",
        utt2spk="u1 ann\nu2 bob\n",
        text="u1 hello you\nu2\n",
        spk2gender="ann f\nbob m\n",
        utt2emo="u1 hap\n",
    )
    assert find_format(folder) == "kaldi"
    first, second = listed(folder)
    assert first.source == folder / "audio/my file.wav"
    assert (first.utterance_id, first.start, first.end) == ("u1", 0.5, 1.25)
    assert (first.speaker, first.gender, first.text) == ("ann", "female", "hello you")
    assert (first.category, second.category) == ("happy", "")
    assert (second.start, second.end, second.gender) == (3.0, None, "male")


def test_kaldi_when_no_segments_then_rows_are_recordings(tmp_path):
    folder = kaldi(tmp_path / "d", wav_scp="u1 a.wav\r\nu2 b.wav\r\n")
    assert [item.utterance_id for item in listed(folder)] == ["u1", "u2"]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"wav_scp": "u1 sph2pipe -f wav a.sph |\n"}, "line 1: 'u1' is a command, not a file"),
        ({"wav_scp": "u1 a.wav\nu1 b.wav\n"}, "line 2: 'u1' is already in wav.scp line 1"),
        ({"wav_scp": "u1\n"}, "line 1, column 'path': path is empty"),
        ({"wav_scp": "u a.wav\n", "utt2spk": "v x\n"}, "utt2spk line 1: 'v' is not an utterance"),
        ({"wav_scp": "u a\n", "utt2emo": "u sad\n", "emotion": "u sad\n"}, "emotions in two of"),
        ({"wav_scp": "r a.wav\n", "segments": "u s 0 1\n"}, "recording 's' is not in wav.scp"),
        ({"wav_scp": "r a.wav\n", "segments": "u r 0\n"}, "not an utterance, a recording, a start"),
        ({"wav_scp": "r a.wav\n", "segments": "u r 2 1\n"}, "segment from 2 to 1 s is impossible"),
    ],
)
def test_kaldi_when_broken_then_one_sentence(tmp_path, files, sentence):
    with pytest.raises(UserError, match=sentence):
        listed(kaldi(tmp_path / "d", **files))


DB = """
name: mydb
source: https://example.org
usage: research
languages: [deu]
schemes:
  emotion: {dtype: str, labels: [anger, happiness]}
  arousal: {dtype: float, minimum: 1, maximum: 5}
  confidence: {dtype: float}
  speaker: {dtype: int, labels: {3: {gender: male, age: 31}, 8: {gender: female}}}
raters:
  gold: {type: vote}
  r1: {type: human}
splits:
  train: {type: train}
  test: {type: test}
tables:
  files:
    type: filewise
    columns:
      speaker: {scheme_id: speaker}
  emotion.train:
    type: segmented
    split_id: train
    columns:
      emotion: {scheme_id: emotion, rater_id: gold}
      emotion.confidence: {scheme_id: confidence, rater_id: gold}
      r1: {scheme_id: emotion, rater_id: r1}
      r2: {scheme_id: arousal}
  emotion.test:
    type: filewise
    split_id: test
    columns:
      emotion: {scheme_id: emotion, rater_id: gold}
"""
TABLES = {
    "files": "file,speaker\nwav/a.wav,3\nwav/b.wav,8\n",
    "emotion.train": "file,start,end,emotion,emotion.confidence,r1,r2\n"
    "wav/a.wav,0 days 00:00:01,0 days 00:00:02.500000,anger,0.8,happiness,3\n"
    "wav/a.wav,0 days 00:01:00,NaT,happiness,0.5,,\n",
    "emotion.test": "file,emotion\nwav/b.wav,happiness\n",
}


def audformat(folder, header=DB, **more):
    folder.mkdir(exist_ok=True)
    (folder / "db.yaml").write_text(header)
    for name, text in (TABLES | more).items():
        (folder / f"db.{name}.csv").write_text(text)
    return folder


def check_audformat(items):
    third, first, second = items  # the filewise table comes first
    assert (first.path, first.start, first.end) == ("wav/a.wav", 1.0, 2.5)
    assert (first.category, first.fold, first.speaker) == ("angry", "train", "3")
    assert (first.gender, first.language) == ("male", "de")
    assert first.extra["annotators"] == {"r1": {"category": "happy"}, "r2": {"arousal": 0.5}}
    assert first.votes == {"happy": 1} and first.arousal == 0.5
    assert (first.scale_low, first.scale_high) == (1.0, 5.0)
    assert float(first.extra["emotion.confidence"]) == 0.8 and str(first.extra["age"]) == "31"
    assert second.start == pytest.approx(60.0) and second.end is None
    assert second.category == "happy"
    assert (third.path, third.start, third.fold) == ("wav/b.wav", None, "test")
    assert third.gender == "female"


def test_audformat_when_csv_then_tables_are_joined(tmp_path):
    folder = audformat(tmp_path / "db")
    assert find_format(folder) == "audformat"
    check_audformat(listed(folder))


def test_audformat_when_parquet_then_as_csv(tmp_path):
    folder = audformat(tmp_path / "db")
    (folder / "db.emotion.train.csv").unlink()
    second = 1_000_000_000
    table = {
        "file": ["wav/a.wav", "wav/a.wav"],
        "start": pa.array([second, 60 * second + 1], pa.duration("ns")),
        "end": pa.array([2.5 * second, None], pa.duration("ns")),
        "emotion": ["anger", "happiness"],
        "emotion.confidence": [0.8, 0.5],
        "r1": ["happiness", None],
        "r2": [3.0, math.nan],
    }
    pq.write_table(pa.table(table), folder / "db.emotion.train.parquet")
    check_audformat(listed(folder))


@pytest.mark.parametrize(
    ("header", "given", "licence"),
    [
        (DB, "", ""),
        ("license: CC-BY-4.0\n" + DB, "", "CC-BY-4.0"),
        ("license: CC-BY-4.0\n" + DB, "CC0", "CC0"),
    ],
)
def test_audformat_when_it_states_a_licence_then_it_is_that_of_the_corpus(
    tmp_path, header, given, licence
):
    folder = audformat(tmp_path / "db", header)
    builder = ManifestBuilder(data_dir=tmp_path, manifest=folder, licence=given)
    assert builder.about.licence == licence


@pytest.mark.parametrize(
    ("more", "header", "sentence"),
    [
        ({"files": "file,speaker\nwav/a.wav\n"}, DB, "db.files.csv line 2: 1 values for 2"),
        ({"files": "x,speaker\nwav/a.wav,3\n"}, DB, "there is no column 'file'"),
        (
            {"emotion.test": "file,emotion\nwav/b.wav,happiness\nwav/b.wav,anger\n"},
            DB,
            "emotion is 'anger' here and 'happiness' in another table",
        ),
        (
            {"emotion.train": TABLES["emotion.train"].replace("0 days 00:00:01", "soon")},
            DB,
            "column 'start': 'soon' is not a number: write seconds, or a time such as",
        ),
        ({}, "tables: [", "is not YAML"),
        ({}, "name: x", "has no tables"),
        ({}, DB.replace("  files:", "  people:"), "there is no db.people.csv"),
    ],
)
def test_audformat_when_broken_then_one_sentence(tmp_path, more, header, sentence):
    with pytest.raises(UserError, match=sentence):
        listed(audformat(tmp_path / "db", header, **more))


def test_audiofolder_when_class_folders_then_class_is_the_emotion(tmp_path, tone):
    folder = tmp_path / "mine"
    for path in ("train/angry/a.wav", "train/Happy/b.wav", "test/sad/c.wav"):
        tone(folder / path)
    assert find_format(folder) == "audiofolder"
    items = listed(folder)
    assert [(i.path, i.category, i.fold) for i in items] == [
        ("test/sad/c.wav", "sad", "test"),
        ("train/Happy/b.wav", "happy", "train"),
        ("train/angry/a.wav", "angry", "train"),
    ]


def test_audiofolder_when_files_have_no_ending_of_audio_then_a_note(tmp_path, tone):
    folder = tmp_path / "calls"
    tone(folder / "anna" / "1.wav")
    (folder / "anna" / "call_2").touch()
    (folder / "label_map.json").write_text("{}")
    prepared = prepare(data_dir=tmp_path / "data", manifest=folder)
    (note,) = [note for note in prepared.summary["notes"] if note.startswith("not read")]
    assert "1 file of" in note and "anna/call_2;" in note


def test_format_when_a_folder_holds_no_audio_then_its_files_are_named(tmp_path):
    with pytest.raises(UserError, match="holds no audio, it is empty: give a folder with audio"):
        find_format(tmp_path)
    (tmp_path / "call_1").touch()
    with pytest.raises(UserError, match=r"holds no audio, only 1 file of .*: call_1: give"):
        find_format(tmp_path)


def test_audiofolder_when_metadata_then_rows_of_it(tmp_path, tone):
    folder = tmp_path / "mine"
    tone(folder / "train/x/a.wav")
    (folder / "train/metadata.csv").write_text("file_name,label,age\nx/a.wav,sad,31\n")
    write_lines(folder / "test/metadata.jsonl", {"file_name": "b.wav", "emotion": "angry"})
    second, first = listed(folder)  # test before train
    assert (first.path, first.category, first.fold) == ("train/x/a.wav", "sad", "train")
    assert first.extra == {"age": "31"} and second.path == "test/b.wav"
    (folder / "train/metadata.jsonl").write_text("{}")
    with pytest.raises(UserError, match="two metadata files"):
        listed(folder)


def test_audiofolder_when_a_folder_is_no_known_emotion_then_it_is_a_category(tmp_path, tone):
    tone(tmp_path / "mine/sleepy/a.wav")
    tone(tmp_path / "mine/sad/b.wav")
    assert [item.category for item in listed(tmp_path / "mine")] == ["sad", "sleepy"]
    (tmp_path / "mine/label_map.json").write_text('{"sleepy": "boredom"}')
    assert [item.category for item in listed(tmp_path / "mine")] == ["sad", "boredom"]


@pytest.mark.parametrize("path", ["{word}/{who}/{n}.wav", "{who}/{word}/{n}.wav"])
def test_audiofolder_when_folders_are_of_emotions_and_others_then_words_from_one_depth(
    tmp_path, tone, path
):
    words = {"Col\u00e8re": "Col\u00e8re", "Joie": "Joie", "neutral": "neutral"}
    for n, word in enumerate(words):
        for who in ("weak", "strong"):
            tone(tmp_path / "mine" / path.format(word=word, who=who, n=n))
    tone(tmp_path / "mine/loose.wav")
    items = listed(tmp_path / "mine")
    assert Counter(item.category for item in items) == {"": 1, **dict.fromkeys(words.values(), 2)}
    assert all(item.category in ("", *item.path.split("/")) for item in items)


def test_parquet_when_read_then_typed_values_and_times_as_text(tmp_path):
    table = pa.table(
        {
            "Path": ["a.wav", "b.wav"],
            "speaker": [1.0, math.nan],
            "emotion": ["sad", None],
            "votes": [{"sad": 2, "happy": None}, None],
            "day": pa.array([0, None], pa.date32()),
            "start": [0.5, None],
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    assert find_format(tmp_path / "m.parquet") == "parquet"
    first, second = listed(tmp_path / "m.parquet")
    assert (first.speaker, first.category, first.votes) == ("1", "sad", {"sad": 2})
    assert first.extra == {"day": "1970-01-01"} and first.start == 0.5
    assert (second.speaker, second.votes, second.extra) == ("", None, {})
    pq.write_table(pa.table({"path": ["a"], "audio": [b"RIFF"]}), tmp_path / "m.parquet")
    with pytest.raises(UserError, match="row 1: column 'audio' holds bytes"):
        listed(tmp_path / "m.parquet")
    (tmp_path / "m.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        listed(tmp_path / "m.parquet")


def test_csv_when_nkululeko_then_file_is_the_path(tmp_path):
    (tmp_path / "m.csv").write_text("file,speaker,gender,emotion\na.wav,s1,female,anger\n")
    (item,) = listed(tmp_path / "m.csv")
    assert (item.path, item.category, item.gender) == ("a.wav", "angry", "female")


def test_find_format_when_it_cannot_tell_then_error_lists_the_formats(tmp_path):
    (tmp_path / "notes.txt").write_text("buy milk\n")
    with pytest.raises(UserError, match=r"cannot tell what .* --format with one of csv: ") as e:
        find_format(tmp_path / "notes.txt")
    assert all(f"{name}: " in str(e.value) for name in FORMATS)


def test_find_format_when_given_then_checked(tmp_path):
    file = write_lines(tmp_path / "m.jsonl", {"path": "a.wav"})
    assert find_format(file, "nemo") == "nemo"
    with pytest.raises(UserError, match="did you mean 'kaldi'"):
        find_format(file, "kadli")
    with pytest.raises(UserError, match="'kaldi' is a folder"):
        find_format(file, "kaldi")
    with pytest.raises(UserError, match="'csv' is a file"):
        find_format(tmp_path, "csv")


def test_prepare_when_channels_and_segments_then_each_is_cut_out(tmp_path):
    rate = 16_000
    time = np.arange(2 * rate) / rate
    both = np.stack([0.3 * np.sin(2 * np.pi * f * time) for f in (200, 400)], axis=1)
    soundfile.write(tmp_path / "two.wav", both, rate)
    file = tmp_path / "two.csv"
    file.write_text("path,channel,start,end\ntwo.wav,0,0,1\ntwo.wav,1,0.5,2\ntwo.wav,,,\n")
    prepare(data_dir=tmp_path / "data", manifest=file)
    index = load_index(tmp_path / "data", "two")
    assert index.column("num_samples").tolist() == [16_000, 24_000, 32_000]
    assert index.column("utterance_id").tolist()[0] == "two#0.000-1.000#channel0"
    assert len(set(index.column("sha256"))) == 3


def test_prepare_when_folder_then_prepared_under_its_name(tmp_path, tone):
    folder = kaldi(tmp_path / "My set", wav_scp="u1 a.wav\nu2 b.wav\n", utt2spk="u1 x\nu2 y\n")
    tone(folder / "a.wav")
    tone(folder / "b.wav", hertz=330)
    prepared = prepare(data_dir=tmp_path / "data", manifest=folder)
    assert prepared.summary["corpus"] == "my_set" and prepared.summary["num_utterances"] == 2
    assert prepare(data_dir=tmp_path / "data", manifest=folder).skipped_work
    (folder / "utt2spk").write_text("u1 x\nu2 x\n")
    with pytest.raises(UserError, match="has changed"):
        prepare(data_dir=tmp_path / "data", manifest=folder)


@pytest.mark.corpora
def test_find_format_when_real_manifests_then_csv_and_files_are_found(corpora_dir, tmp_path):
    for name, emotion in (("nemo", True), ("librispeech_mini", False), ("picovoice", False)):
        manifest = corpora_dir / name / "manifest.csv"
        assert find_format(manifest) == "csv"
        items = listed(manifest) if emotion else None
        if emotion:
            counts = {c: sum(i.category == c for i in items) for c in ("angry", "surprise", "")}
            assert counts["angry"] > 500 and counts[""] == 0
            assert len({i.speaker for i in items}) == 9
        first = next(read_rows(manifest)).values["path"]
        assert (corpora_dir / name / first).is_file()


def sample_manifests(folder):
    """Writes one sound manifest of each format; name -> (manifest, file to damage)."""
    csv_file = folder / "m.csv"
    csv_file.write_text('path,start,end,emotion,votes\na.wav,0,1,sad,"{""sad"": 2}"\nb.wav,,,,\n')
    jsonl = write_lines(folder / "m.jsonl", {"path": "a.wav", "annotators": {"r": "sad"}})
    parquet = folder / "m.parquet"
    pq.write_table(pa.table({"path": ["a.wav"], "emotion": ["sad"]}), parquet)
    emobox = write_lines(folder / "e.jsonl", emobox_row("DC_a01", "a"), emobox_row("DC_n01", "n"))
    s3prl = folder / "s3prl.json"
    meta = [{"path": "a.wav", "label": "neu", "speaker": "s"}]
    s3prl.write_text(json.dumps({"labels": {"neu": 0}, "meta_data": meta}))
    speechbrain = folder / "sb.json"
    speechbrain.write_text(json.dumps({"u": {"wav": "a.wav", "length": 1.0, "emo": "sad"}}))
    nemo = write_lines(folder / "n.jsonl", {"audio_filepath": "a.wav", "offset": 0, "duration": 1})
    fairseq = folder / "train.tsv"
    fairseq.write_text("root\na.wav\t100\nb.wav\t200\n")
    (folder / "train.emo").write_text("sad\nneu\n")
    kaldi_folder = kaldi(folder / "k", wav_scp="r a.wav\n", segments="u r 0 1\n", utt2emo="u sad\n")
    database = audformat(folder / "db")
    audio = folder / "af"
    audio.mkdir()
    (audio / "metadata.csv").write_text("file_name,label\na.wav,sad\n")
    return {
        "csv": (csv_file, csv_file),
        "jsonl": (jsonl, jsonl),
        "parquet": (parquet, parquet),
        "emobox": (emobox, emobox),
        "s3prl": (s3prl, s3prl),
        "speechbrain": (speechbrain, speechbrain),
        "nemo": (nemo, nemo),
        "fairseq": (fairseq, fairseq),
        "kaldi": (kaldi_folder, kaldi_folder / "segments"),
        "audformat": (database, database / "db.yaml"),
        "audiofolder": (audio, audio / "metadata.csv"),
    }


def damage(content: bytes, rng) -> bytes:
    """Cuts, overwrites, doubles or swaps a random piece."""
    at, to = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    junk = rng.choice([b"", b"\0", b'"', b"\xff", b"null", b"{", b"-1e999", b"\r", b"[]", b"3"])
    kind = rng.integers(4)
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + bytes(junk) + content[at + len(junk) :]
    if kind == 2:
        return content[:at] + bytes(junk) + content[to:]
    return content[:to] + content[at:]


@pytest.mark.parametrize("name", FORMATS)
def test_format_when_damaged_at_random_then_rows_or_one_sentence(tmp_path, name):
    manifest, file = sample_manifests(tmp_path)[name]
    sound = file.read_bytes()
    assert find_format(manifest) == name and listed(manifest)
    rng = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(150):
        file.write_bytes(damage(sound, rng))
        try:
            for item in listed(manifest, format=name):
                assert item.utterance_id and item.path and isinstance(item.category, str)
            outcomes["read"] += 1
        except UserError as error:
            assert "\n" not in str(error)
            outcomes["refused"] += 1
    assert outcomes["refused"] > 20, outcomes


def test_command_when_format_and_audio_dir_are_given_then_used(tmp_path, tone, arguments, capsys):
    tone(tmp_path / "audio/a.wav")
    file = write_lines(tmp_path / "lists/n.jsonl", {"audio_filepath": "a.wav", "duration": 0.3})
    given = {"manifest": str(file), "data_dir": str(tmp_path / "data")}
    audio = str(tmp_path / "audio")
    assert run(arguments(format="nemo", audio_dir=audio, **given)) == 0
    assert "corpus n 1.0.0 is prepared" in capsys.readouterr().out
    with pytest.raises(UserError, match="'kaldi' is a folder"):
        run(arguments(format="kaldi", **given))
    with pytest.raises(UserError, match="--scale and --licence are of a --manifest"):
        run(arguments(format="nemo", corpus="ravdess", data_dir=audio))
