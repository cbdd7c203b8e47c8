"""What the user says of a manifest's columns and scales, columns nobody used, and label maps."""

import json
import math
import os
import re

import numpy as np
import pytest
import soundfile

from sersl.cli.prepare import run
from sersl.core.errors import UserError
from sersl.corpora.index import load_index, read_summary
from sersl.corpora.manifests.columns import parse_columns, parse_scales
from sersl.corpora.manifests.manifest import ManifestBuilder, leads_out
from sersl.corpora.prepare import prepare
from sersl.data.sources import CorpusSource
from sersl.release.licences import check_release
from sersl.runs.record import describe_corpora


def build(tmp_path, text, *, name="own.csv", encoding="utf-8", **options):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return ManifestBuilder(data_dir=tmp_path, manifest=path, **options)


def listed(tmp_path, text, **options):
    return list(build(tmp_path, text, **options).listing())


def notes_of(builder):
    list(builder.listing())
    return builder.account.notes


@pytest.mark.parametrize("column", ["speaker", "session", "fold", "language", "text", "gender"])
@pytest.mark.parametrize("mark", ["nan", "None", "NA", "-", "<NA>", "n/a", "NULL", "?", "#N/A"])
def test_column_when_a_value_is_missing_then_empty_in_every_column(tmp_path, column, mark):
    (item,) = listed(tmp_path, f"path,{column}\na.wav,{mark}\n")
    assert getattr(item, column) == "" and item.extra == {}


@pytest.mark.parametrize("mark", ["", "NA", "-", "NaT"])
def test_numbers_when_missing_then_not_a_number(tmp_path, mark):
    header = "path,start,end,channel,intensity,arousal,scale_low,scale_high,votes,mood"
    (item,) = listed(tmp_path, f"{header}\na.wav{(',' + mark) * 9}\n")
    assert item.start is item.end is item.channel is item.votes is None
    assert math.isnan(item.intensity) and math.isnan(item.arousal) and item.extra == {}


@pytest.mark.parametrize(("one", "other"), [("Anna", "anna"), ("a  b", "a b"), ("7", "07.0")])
def test_speakers_when_two_may_be_one_person_then_a_note(tmp_path, one, other):
    (note,) = notes_of(build(tmp_path, f"path,speaker\na.wav,{one}\nb.wav,{other}\nc.wav,8\n"))
    assert "may be the same" in note and repr(one) in note and repr(other) in note
    assert not notes_of(build(tmp_path, "path,speaker\na.wav,1.5\nb.wav,15\nc.wav,1\n"))


def test_columns_when_named_in_another_unicode_form_then_found(tmp_path):
    text = "path,e\u0301motion\na.wav,sad\n"
    (item,) = listed(tmp_path, text, columns="emotion=\u00c9motion")
    assert item.category == "sad"


def test_columns_when_named_then_used_and_the_others_are_listed(tmp_path):
    text = "Clip;My_Label;speaker_id;emotion;mood\na.wav;sad;s1;x;blue\n"
    builder = build(
        tmp_path, text, columns="path=clip, emotion=my_label,speaker=Speaker_ID", format="csv"
    )
    (item,) = builder.listing()
    assert (item.path, item.category, item.speaker) == ("a.wav", "sad", "s1")
    assert item.extra == {"other_emotion": "x", "mood": "blue"}
    (note,) = builder.account.notes
    assert note == (
        "columns not used, kept in `extra`: mood, other_emotion (for emotion: --columns "
        "emotion=other_emotion)"
    )


def test_columns_when_not_used_then_the_nearest_known_name_is_given(tmp_path):
    (note,) = notes_of(build(tmp_path, "path,speaker_id,emotoin,xyz\na.wav,s,sad,1\n"))
    assert "speaker_id (for speaker: --columns speaker=speaker_id)" in note
    assert "emotoin (for emotion: --columns emotion=emotoin)" in note and note.endswith(", xyz")


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ("emotion=my_labl", "own.csv has no column 'my_labl': is it 'my_label'"),
        ("emotoin=my_label", "unknown column in --columns 'emotoin': did you mean 'emotion'"),
        ("emotion", "'emotion' is not NAME=VALUE"),
        ("emotion=a,emotion=b", "gives 'emotion' twice"),
        ("=a", "is not NAME=VALUE"),
    ],
)
def test_columns_when_wrong_then_one_sentence(tmp_path, columns, sentence):
    with pytest.raises(UserError, match=sentence):
        listed(tmp_path, "path,my_label\na.wav,sad\n", columns=columns)


def test_error_when_a_column_was_renamed_then_it_names_the_files_own(tmp_path):
    with pytest.raises(UserError, match=r"own\.csv line 2, column 'Act': 'high' is not a number"):
        listed(tmp_path, "path,Act\na.wav,high\n", columns="arousal=act")


def test_scale_when_given_then_ratings_are_mapped(tmp_path):
    text = "path,arousal,valence,intensity\na.wav,3,0,2\nb.wav,5,,\n"
    first, second = listed(tmp_path, text, scale="arousal=1..5,valence=-3..3,intensity=1..3")
    assert (first.arousal, first.valence, first.intensity) == (0.5, 0.5, 0.5)
    assert math.isnan(first.scale_low)  # there is not one scale
    assert first.extra["scales"] == {"arousal": [1.0, 5.0], "valence": [-3.0, 3.0]}
    assert (second.arousal, second.scale_low, second.scale_high) == (1.0, 1.0, 5.0)
    (item, _) = listed(tmp_path, "path,arousal,valence\na.wav,3,5\nb.wav,,\n", scale="1..5")
    assert (item.arousal, item.valence, item.scale_high) == (0.5, 1.0, 5.0)


@pytest.mark.parametrize(
    ("scale", "sentence"),
    [
        ("arousal=5..1", "not above the lowest"),
        ("arousal=1-5", "write LOWEST..HIGHEST"),
        ("arousl=1..5", "own.csv has no column 'arousl': columns are arousal, path"),
        ("warm th=1..5", "cannot be the name of a dimension"),
        ("speaker=1..5", "the column 'speaker' is not a rating"),
        ("scores=1..5", "the column 'scores' is not a rating"),
        ("warmth=1..1", "not above the lowest"),
        ("arousal=a..b", "'a' is not a number"),
        ("arousal=1..5,arousal=1..7", "gives 'arousal' twice"),
        ("1..5", "the scale is given here and as --scale"),
    ],
)
def test_scale_when_wrong_then_one_sentence(tmp_path, scale, sentence):
    text = "path,arousal,scale_low,scale_high\na.wav,1,0,2\n"
    with pytest.raises(UserError, match=sentence):
        listed(tmp_path, text, scale=scale)


def test_options_when_empty_then_nothing_is_chosen():
    assert parse_columns("") == {} and parse_scales("") == {}


def test_labels_when_they_are_words_of_ones_own_then_categories_and_a_note(tmp_path):
    text = "path,emotion\na.wav,hapy\nb.wav,b\u00f6se\nc.wav,hapy\nd.wav,sad\n"
    builder = build(tmp_path, text)
    assert [i.category for i in builder.listing()] == ["hapy", "b\u00f6se", "hapy", "sad"]
    assert builder.account.notes == ["categories of your own: b\u00f6se 1, hapy 2 (is it happy?)"]
    (tmp_path / "label_map.json").write_text('{"Hapy": "happy", "b\u00f6se": "angry"}')
    assert [i.category for i in listed(tmp_path, text)] == ["happy", "angry", "happy", "sad"]


EMOBOX = {
    "asvpesd": {"11": "pain, groan", "17": "UnKnown", "03": "Happy"},
    "emns": {"Sarcastic": "Sarcastic", "Sad": "Sad"},
    "resd": {"enthusiasm": "Enthusiastic"},
    "mer2023": {"worried": "Worried", "happy": "Happy"},
}


@pytest.mark.parametrize("corpus", EMOBOX)
@pytest.mark.parametrize("as_lines", [True, False])
def test_emobox_when_its_map_has_words_of_its_own_then_other_and_said(tmp_path, corpus, as_lines):
    words = EMOBOX[corpus]
    folder = tmp_path / "data" / corpus
    rows = [{"dataset": corpus, "wav": f"{n}.wav", "emo": raw} for n, raw in enumerate(words)]
    entries = {f"{corpus}-{n}": row for n, row in enumerate(rows)}
    lines = "".join(json.dumps({"key": k} | row) + "\n" for k, row in entries.items())
    text = lines if as_lines else json.dumps(entries, indent=4)
    (tmp_path / "data" / corpus).mkdir(parents=True)
    (folder / "label_map.json").write_text(json.dumps(words))
    builder = build(folder / "fold_1", text, name=f"{corpus}_test_fold_1.jsonl")
    items = list(builder.listing())
    known = {"Happy": "happy", "Sad": "sad", "UnKnown": ""}
    assert [i.category for i in items] == [known.get(word, "other") for word in words.values()]
    assert [i.category_raw for i in items] == list(words)
    assert any("'other'" in note for note in builder.account.notes)


def test_label_map_when_its_words_are_of_ones_own_then_they_are_categories(tmp_path):
    (tmp_path / "label_map.json").write_text('{"x": "tense", "y": "Joyful"}')
    items = listed(tmp_path, "path,emotion\na.wav,x\nb.wav,y\n")
    assert [i.category for i in items] == ["tense", "happy"]


def test_label_map_when_broken_then_one_sentence(tmp_path):
    (tmp_path / "label_map.json").write_text('{"x": "../up"}')
    with pytest.raises(UserError, match=r"label_map\.json, key 'x': '../up' cannot be the name"):
        listed(tmp_path, "path,emotion\na.wav,x\n")
    for text in ('{"x": null}', "[1]", '{"x": {}}', "[" * 100_000, '{"x": "a\\u001bb"}'):
        (tmp_path / "label_map.json").write_text(text)
        with pytest.raises(UserError, match=r"label_map\.json"):
            listed(tmp_path, "path,emotion\na.wav,x\n")


@pytest.mark.parametrize(
    ("path", "out"),
    [
        *((name, False) for name in ("..dots.wav", "...x.wav", "a/..b/c.wav", "a/../b.wav")),
        *((name, True) for name in ("../a.wav", "a/../../b.wav", "..", "./../a.wav")),
        ("/abs/a.wav", False),
    ],
)
def test_path_when_it_begins_with_dots_then_only_parts_lead_out(tmp_path, path, out):
    assert leads_out(path) == out
    if out:
        with pytest.raises(UserError, match=r"line 2, column 'path': .* leads out of"):
            listed(tmp_path, f"path\n{path}\n")
    else:
        assert len(listed(tmp_path, f"path\n{path}\n")) == 1


@pytest.mark.parametrize("column", ["speaker", "session", "fold", "emotion", "utterance_id"])
@pytest.mark.parametrize("value", ["a\nb", "\x1b[2J", "a\u2028b", "a\ud800"])
def test_name_when_it_has_control_characters_then_one_sentence(tmp_path, column, value):
    text = json.dumps({"path": "a.wav", column: value})
    with pytest.raises(UserError, match=f"own.jsonl line 1, (key|column) '{column}'") as caught:
        listed(tmp_path, text, name="own.jsonl")
    str(caught.value).encode()
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


@pytest.mark.parametrize("value", [["s"], {"a": 1}])
def test_text_when_a_list_or_object_then_one_sentence(tmp_path, value):
    text = json.dumps({"path": "a.wav", "speaker": value})
    with pytest.raises(UserError, match=r"line 1, column 'speaker': .* instead of text"):
        listed(tmp_path, text, name="own.jsonl")


def test_manifest_when_it_is_no_regular_file_then_one_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere")
    for name in ("pipe.csv", "zero.csv", "gone.csv"):
        with pytest.raises(UserError):
            prepare(data_dir=tmp_path / "data", manifest=tmp_path / name)


def test_csv_when_latin1_then_read_and_noted(tmp_path):
    builder = build(tmp_path, "path;speaker\na.wav;J\u00fcrgen\n", encoding="latin-1")
    (item,) = builder.listing()
    assert item.speaker == "J\u00fcrgen"
    (note,) = builder.account.notes
    assert "own.csv is not UTF-8 and was read as Windows-1252: if letters are wrong, save" in note


def test_csv_when_nkululeko_wrote_segments_then_times_are_read(tmp_path):
    text = (
        ",file,start,end,speaker,gender,emotion\n"
        "0,./a.wav,0 days,0 days 00:00:01.500000,s1,female,anger\n"
        "1,./a.wav,0 days 00:00:01.500000,NaT,s1,male,nan\n"
    )
    builder = build(tmp_path, text)
    first, second = builder.listing()
    assert (first.start, first.end, second.start, second.end) == (0.0, 1.5, 1.5, None)
    assert (first.category, second.category, second.gender) == ("angry", "", "male")
    assert first.extra == {} and builder.account.notes == []


def test_speechbrain_when_nested_then_files_samples_and_splits(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(24_000), 8_000)
    entry = {"wav": {"file": "{data_root}/a.wav", "start": 8000, "stop": 12_000}, "emo": "sad"}
    text = json.dumps({"train": {"u1": entry}, "test": {"u2": {"wav": "a.wav", "start": 4000}}})
    first, second = listed(tmp_path, text, name="sb.json")
    assert (first.utterance_id, first.path, first.start, first.end) == ("u1", "a.wav", 1.0, 1.5)
    assert (first.fold, second.fold, second.start, second.end) == ("train", "test", 0.5, None)
    (item,) = listed(tmp_path, json.dumps({"u1": entry}), name="sb.json")
    assert item.start == 1.0 and item.extra == {}
    for wrong in ({"files": ["a.wav", "b.wav"]}, {"file": 3}, {"file": "a.wav", "more": 1}):
        with pytest.raises(UserError, match="entry 'u1', key 'wav'"):
            listed(tmp_path, json.dumps({"u1": {"wav": wrong}}), name="sb.json")


def test_nemo_when_offset_is_null_or_missing_then_duration_from_the_start(tmp_path):
    rows = [
        {"audio_filepath": "a.wav", "duration": 0.5},
        {"audio_filepath": "b.wav", "offset": None, "duration": 0.5},
        {"audio_filepath": "c.wav", "offset": 0, "duration": None},
        {"audio_filepath": "d.wav", "offset": 0.25, "duration": 0.5},
    ]
    for text in ("\n".join(map(json.dumps, rows)), json.dumps(rows, indent=1)):
        items = listed(tmp_path, text, name="n.json")
        assert [i.end for i in items] == [0.5, 0.5, None, 0.75]
        assert [i.utterance_id for i in items] == ["a", "b", "c", "d#0.250-0.750"]


def test_fairseq_when_a_line_of_words_is_empty_then_it_belongs_to_its_path(tmp_path):
    (tmp_path / "train.tsv").write_text(".\na.wav\t100\nb.wav\t100\nc.wav\t100\n\n\n")
    (tmp_path / "train.wrd").write_text("one\u2028two\n\nthree\n\n")
    items = list(ManifestBuilder(data_dir=tmp_path, manifest=tmp_path / "train.tsv").listing())
    assert [i.text for i in items] == ["one\u2028two", "", "three"]


def test_folder_when_nothing_is_an_emotion_then_speakers_without_labels(tmp_path, tone):
    folder = tmp_path / "mine"
    for path in ("ann/a.wav", "bob/s1/b.wav", "c.wav"):
        tone(folder / path)
    builder = ManifestBuilder(data_dir=tmp_path, manifest=folder)
    assert [(i.path, i.speaker, i.category) for i in builder.listing()] == [
        ("ann/a.wav", "ann", ""),
        ("bob/s1/b.wav", "bob", ""),
        ("c.wav", "", ""),
    ]
    (note,) = builder.account.notes
    assert "folders are speakers" in note and "label_map.json" in note
    summary = prepare(data_dir=tmp_path / "data", manifest=folder).summary
    assert summary["notes"] == [note] and summary["num_speakers"] == 2


def test_folder_when_one_level_is_emotions_then_that_one(tmp_path, tone):
    for path in ("angry/ann/a.wav", "sad/bob/b.wav"):
        tone(tmp_path / "mine" / path)
    items = ManifestBuilder(data_dir=tmp_path, manifest=tmp_path / "mine").listing()
    assert [item.category for item in items] == ["angry", "sad"]


def test_command_when_columns_and_scale_are_given_then_used_and_kept(
    tmp_path, tone, arguments, capsys
):
    tone(tmp_path / "a.wav")
    (tmp_path / "own.csv").write_text("path,what,act,mood\na.wav,sad,4,blue\n")
    given = {"manifest": str(tmp_path / "own.csv"), "data_dir": str(tmp_path / "data")}
    given |= {"columns": "emotion=what,arousal=act", "scale": "arousal=1..5"}
    assert run(arguments(**given)) == 0
    assert "note: columns not used, kept in `extra`: mood" in capsys.readouterr().out
    index = load_index(tmp_path / "data", "own")
    assert index.column("arousal").tolist() == [0.75]
    assert index.column("category").tolist() == ["sad"]
    assert read_summary(index.folder)["source"]["scale"] == "arousal=1..5"
    with pytest.raises(UserError, match="has changed"):
        run(arguments(**given | {"scale": "arousal=1..7"}))
    with pytest.raises(UserError, match="--scale and --licence are of a --manifest"):
        run(arguments(corpus="ravdess", columns="emotion=x", data_dir=str(tmp_path / "data")))


def test_command_when_a_licence_is_given_then_runs_list_it_and_the_records_stay(
    tmp_path, tone, arguments, capsys
):
    tone(tmp_path / "a.wav")
    (tmp_path / "own.csv").write_text("path,emotion\na.wav,sad\n")
    given = {"manifest": str(tmp_path / "own.csv"), "data_dir": str(tmp_path / "data")}
    assert run(arguments(**given)) == 0
    assert re.search(r"licence +not stated", capsys.readouterr().out)
    before = CorpusSource(tmp_path / "data", "own")
    assert describe_corpora([before], labels_used=True)[0]["licence"] == ""
    given["licence"] = "CC BY-NC 4.0"
    with pytest.raises(UserError, match="add --overwrite"):
        run(arguments(**given))
    assert run(arguments(**given, overwrite=True)) == 0
    assert "CC BY-NC 4.0" in capsys.readouterr().out
    after = CorpusSource(tmp_path / "data", "own")
    (listed,) = describe_corpora([after], labels_used=True)
    assert listed["licence"] == "CC BY-NC 4.0"
    assert listed["fingerprint"] == before.index.fingerprint
    with pytest.raises(UserError, match=r"own \(CC BY-NC 4.0\)"):
        check_release("Apache-2.0", [listed])
    for wrong, sentence in (("a\nb", "control character"), ("x" * 300, "300 characters")):
        with pytest.raises(UserError, match=f"--licence.*{sentence}"):
            run(arguments(**given | {"licence": wrong}))
