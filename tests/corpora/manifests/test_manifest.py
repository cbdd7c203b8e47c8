import json
import math

import pytest

from sersl.core.errors import UserError
from sersl.corpora.manifests.manifest import ManifestBuilder, corpus_name, read_rows


def listed(tmp_path, text: str, *, name: str = "own.csv", encoding: str = "utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return list(ManifestBuilder(data_dir=tmp_path, manifest=path).listing())


def test_csv_when_only_path_then_everything_else_is_unknown(tmp_path):
    (item,) = listed(tmp_path, "path\na/b.wav\n")
    assert item.utterance_id == "a/b" and item.source == tmp_path / "a/b.wav"
    assert item.category == item.speaker == "" and math.isnan(item.valence)
    assert math.isnan(item.scale_low) and item.extra == {}


def test_csv_when_all_columns_then_typed_and_scaled(tmp_path):
    header = "Path,start,end,channel,utterance_id,speaker,gender,language,session,text,emotion,"
    header += "intensity,arousal,dominance,valence,scale_low,scale_high,fold,mood,empty"
    row = 'x.wav,0.5,1.25,1,u1,ann,F,de,s1,"Hallo, du",Anger,0.25,7,1,4,1,7,train,blue,'
    (item,) = listed(tmp_path, f"{header}\n{row}\n")
    assert (item.start, item.end, item.channel) == (0.5, 1.25, 1)
    assert (item.gender, item.language, item.text) == ("female", "de", "Hallo, du")
    assert (item.category, item.category_raw, item.intensity) == ("angry", "Anger", 0.25)
    assert (item.arousal, item.dominance, item.valence) == (1.0, 0.0, 0.5)
    assert (item.scale_low, item.scale_high, item.fold) == (1.0, 7.0, "train")
    assert item.extra == {"mood": "blue"}


def test_csv_when_bom_semicolons_windows_lines_and_decimal_commas_then_read(tmp_path):
    text = '\ufeffpath;emotion;valence;text\r\n"a b.wav";"sad";0,5;"so; so"\r\n\r\nc.wav;;;\r\n'
    first, second = listed(tmp_path, text)
    assert (first.path, first.category, first.valence) == ("a b.wav", "sad", 0.5)
    assert first.text == "so; so" and second.category == ""


def test_csv_when_paths_have_backslashes_then_they_are_folders(tmp_path):
    (item,) = listed(tmp_path, "path,emotion\r\nsub\\a.wav,sad\r\n")
    assert item.path == "sub/a.wav" and item.source == tmp_path / "sub" / "a.wav"


def test_csv_when_paths_mix_slashes_and_backslashes_then_folders_unless_there_is_such_a_file(
    tmp_path,
):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b\\c.wav").touch()
    first, second = listed(tmp_path, "path\n./sub\\a.wav\nsub/b\\c.wav\n")
    assert first.source == tmp_path / "sub" / "a.wav" and second.path == "sub/b\\c.wav"


@pytest.mark.parametrize("column", ["speaker", "session", "fold"])
def test_csv_when_a_name_is_in_two_unicode_forms_then_one_name(tmp_path, column):
    rows = "".join(f"{n}.wav,{name}\n" for n, name in enumerate(("Jos\u00e9", "Jose\u0301")))
    items = listed(tmp_path, f"path,{column}\n{rows}")
    assert [getattr(item, column) for item in items] == ["Jos\u00e9"] * 2


def test_jsonl_when_read_then_as_csv_and_nested_extras_are_kept(tmp_path):
    rows = [
        {"path": "a.wav", "valence": 0.5, "emotion": "hap", "more": {"k": [1]}},
        {"path": "b.wav"},
    ]
    text = "\n\n".join(json.dumps(row) for row in rows)
    first, second = listed(tmp_path, text, name="own.jsonl")
    assert (first.category, first.valence, first.extra) == ("happy", 0.5, {"more": {"k": [1]}})
    assert second.utterance_id == "b"


def test_ids_when_segments_share_a_file_then_each_has_its_own(tmp_path):
    items = listed(tmp_path, "path,start,end\na.wav,0,1\na.wav,1,2\n")
    assert [item.utterance_id for item in items] == ["a#0.000-1.000", "a#1.000-2.000"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "sound,emotion\na.wav,sad\n",
            "own.csv line 1: there is no column 'path'; columns are sound",
        ),
        ("", "own.csv lists no utterance"),
        ("path,emotion\n", "own.csv lists no utterance"),
        (
            "path,utterance_id\na.wav,u\nb.wav,v\nc.wav,u\n",
            "line 4, column 'utterance_id': 'u' is already on own.csv line 2",
        ),
        (
            "path\na.wav\na.wav\n",
            "line 3, column 'path': the same audio is already on own.csv line 2",
        ),
        (
            "path,start,end\na.wav,2,1\n",
            "line 2, column 'start': segment from 2 to 1 s is impossible",
        ),
        (
            "path,start,end\na.wav,-1,1\n",
            "line 2, column 'start': segment from -1 to 1 s is impossible",
        ),
        ("path,end\na.wav,0\n", "line 2, column 'end': segment from nan to 0 s is impossible"),
        ("path,start\na.wav,soon\n", "line 2, column 'start': 'soon' is not a number"),
        ("path,start\na.wav,inf\n", "line 2, column 'start': 'inf' is not finite"),
        (
            "path,emotion\na.wav,happy;sad\n",
            r"line 2, column 'emotion': 'happy;sad' cannot .* several words, .*categories=NAME",
        ),
        ("path,emotion,category\na.wav,sad,angry\n", "line 2: emotion and category differ"),
        (
            "path,arousal\na.wav,5\n",
            "line 2, column 'arousal': 5 is outside of 0 to 1; give the corpus's scale with",
        ),
        (
            "path,arousal,scale_low\na.wav,5,1\n",
            "line 2, column 'scale_low': scale_low and scale_high are given together",
        ),
        (
            "path,arousal,scale_low,scale_high\na.wav,1,1,1\n",
            "scale_high 1 is not above scale_low 1",
        ),
        ("path,intensity\na.wav,3\n", "line 2, column 'intensity': 3 is outside of 0 to 1"),
        ("path,channel\na.wav,0.5\n", "line 2, column 'channel': 0.5 is not a whole number"),
        ("path,gender\na.wav,robot\n", "line 2, column 'gender': 'robot'"),
        ("path,emotion\na.wav\n", "line 2: 1 values for 2 columns"),
        ("path,emotion\n,sad\n", "line 2, column 'path': path is empty"),
        ("path,path\na,b\n", "column 'path' occurs twice"),
        ('path,text\na.wav,"x\n', "line 2: .*check the quotes"),
    ],
)
def test_csv_when_broken_then_one_sentence_with_the_line(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence):
        listed(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"path": "a.wav"}\n{"path": ', "line 2: not JSON"),
        ("[1]", "line 1: not a JSON object"),
        ('{"sound": "a.wav"}', "line 1: there is no column 'path'"),
        ('{"path": 3}', "line 1, column 'path': path is empty"),
    ],
)
def test_jsonl_when_broken_then_one_sentence_with_the_line(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence):
        listed(tmp_path, text, name="own.jsonl")


def test_corpus_name_when_taken_from_the_file_then_made_valid(tmp_path):
    assert corpus_name(tmp_path / "My Data-v2.csv") == "my_data_v2"
    assert corpus_name(tmp_path / "x.csv", "mine") == "mine"
    for file, name in (("x.csv", "My-Data"), ("123.csv", "")):
        with pytest.raises(UserError, match="give another with --name"):
            corpus_name(tmp_path / file, name)


@pytest.mark.corpora
def test_csv_when_real_manifests_then_every_row_is_read(corpora_dir):
    counts = {
        name: sum(1 for _ in read_rows(corpora_dir / name / "manifest.csv"))
        for name in ("ravdess", "nemo", "librispeech_mini", "picovoice")
    }
    assert counts == {"ravdess": 1440, "nemo": 4481, "librispeech_mini": 351, "picovoice": 619}
