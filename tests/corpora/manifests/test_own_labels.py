"""Words, lists, dimensions and divisions of one's own in a manifest."""

import json

import numpy as np
import pytest

from sersl.cli.main import main
from sersl.core.errors import UserError
from sersl.corpora.manifests.manifest import ManifestBuilder
from sersl.corpora.words import MOST_CATEGORIES


def listed(tmp_path, rows, **options):
    path = tmp_path / "own.jsonl"
    lines = [json.dumps({"path": f"{n}.wav"} | row) for n, row in enumerate(rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return list(ManifestBuilder(data_dir=tmp_path, manifest=path, **options).listing())


def test_words_when_known_and_own_then_known_spellings_meet_and_own_ones_stay(tmp_path):
    items = listed(tmp_path, [{"emotion": w} for w in ("Joy", "stressed", " low ", "-1", "n/a")])
    assert [item.category for item in items] == ["happy", "stressed", "low", "-1", ""]
    assert [item.category_raw for item in items] == ["Joy", "stressed", "low", "-1", ""]


@pytest.mark.parametrize(
    ("one", "other"), [("Stressed", "stressed"), ("gen\u00e9", "gene\u0301"), ("a  b", "a b")]
)
def test_words_when_two_spellings_differ_in_case_or_normalization_then_error(tmp_path, one, other):
    with pytest.raises(UserError, match=r"line 1.* and own.jsonl line 3.* differ only in") as error:
        listed(tmp_path, [{"emotion": one}, {"emotion": "calm"}, {"emotion": other}])
    assert "label_map.json" in str(error.value) and "\n" not in str(error.value)


def test_words_when_there_are_too_many_then_error_says_they_are_ids(tmp_path):
    with pytest.raises(UserError, match=r"more than 1000 .* ids: .*--columns emotion=NAME"):
        listed(tmp_path, [{"emotion": f"id {n}"} for n in range(MOST_CATEGORIES + 1)])


@pytest.mark.parametrize(
    "value", [["tense", "Joy"], "tense;Joy", "tense|Joy|", '["tense", "Joy", "tense"]']
)
def test_categories_when_several_apply_then_a_list_in_any_form(tmp_path, value):
    items = listed(tmp_path, [{"categories": value}, {"labels": "calm"}, {"labels": []}, {}])
    assert [item.extra.get("categories") for item in items] == [
        ["tense", "happy"],
        ["calm"],
        [],
        None,
    ]
    assert items[0].extra["categories_raw"] == ["tense", "Joy"]
    assert [item.category for item in items] == ["", "calm", "", ""]


def test_votes_when_words_are_spelt_in_two_ways_then_both_are_kept(tmp_path):
    votes = {"joy": 1, "Happy": 2, "tense": 1, "xxx": 1}
    (item,) = listed(tmp_path, [{"votes": votes}])
    assert item.votes == {"happy": 3, "tense": 1} and item.category == "happy"
    assert item.extra["votes_raw"] == {"joy": 1, "Happy": 2, "tense": 1}


def test_dimensions_when_they_have_a_scale_then_they_are_ratings(tmp_path):
    rows = [{"warmth": 4, "arousal": 1, "my pace": 3}, {"annotators": {"a": {"warmth": 1}}}]
    items = listed(
        tmp_path, rows, scale="warmth=1..7,arousal=1..5,pace=0..4", columns="pace=my pace"
    )
    assert [item.extra["dimensions"] for item in items] == [
        {"warmth": 0.5, "pace": 0.75},
        {"warmth": 0.0},
    ]
    assert items[0].extra["scales"] == {"warmth": [1.0, 7.0], "pace": [0.0, 4.0]}
    assert items[0].arousal == 0.0 and items[0].scale_high == 5.0
    assert np.isnan(items[0].dominance) and "my pace" not in items[0].extra


def test_dimensions_when_a_rating_is_outside_of_its_scale_then_error(tmp_path):
    with pytest.raises(UserError, match=r"line 1, column 'warmth': 8 is outside of 1 to 7; corr"):
        listed(tmp_path, [{"warmth": 8}], scale="warmth=1..7")
    with pytest.raises(UserError, match="no column 'pace': columns are path, warmth; name it"):
        listed(tmp_path, [{"warmth": 1}], scale="pace=1..7")


def test_fold_when_several_columns_are_given_then_all_are_kept_by_name(tmp_path):
    rows = [{"cv1": "train", "cv2": "test", "split": "x"}]
    (item,) = listed(tmp_path, rows, columns="fold=cv1,fold=cv2")
    assert item.fold == "train" and item.extra["folds"] == {"cv1": "train", "cv2": "test"}


def test_column_when_it_has_the_name_of_a_kept_value_then_it_is_renamed(tmp_path):
    (item,) = listed(tmp_path, [{"dimensions": "3 x 4", "mood": "fine"}])
    assert item.extra == {"other_dimensions": "3 x 4", "mood": "fine"}


@pytest.mark.parametrize(
    ("rows", "options", "sentence"),
    [
        (["a.wav,Tense", "b.wav,tense"], (), "differ only in case"),
        ([f"{n}.wav,id{n}" for n in range(1002)], (), "probably a column of ids"),
        (["a.wav,../up"], (), "could be taken for a path"),
        (["a.wav,=SUM(A1)"], (), "could be taken for a formula"),
        (["a.wav,9"], ("--scale", "mood=1..7"), "9 is outside of 1 to 7"),
        (["a.wav,3"], ("--scale", "mood=7..1"), "not above the lowest"),
        (["a.wav,3"], ("--scale", "mood=7..7"), "not above the lowest"),
        (["a.wav,3"], ("--scale", "mood="), "is not NAME=VALUE"),
        (["a.wav,3"], ("--scale", "mood=.."), "write LOWEST..HIGHEST"),
        (["a.wav,3"], ("--scale", "warmth=1..7"), "no column 'warmth'"),
    ],
)
def test_prepare_when_labels_are_wrong_then_exit_code_2_and_one_sentence(
    tmp_path, capsys, rows, options, sentence
):
    (tmp_path / "own.csv").write_text("\n".join(["path,mood", *rows]))
    columns = () if options else ("--columns", "emotion=mood")
    given = ("--manifest", str(tmp_path / "own.csv"), "--data_dir", str(tmp_path / "data"))
    assert main(["prepare", *given, *columns, *options]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not (tmp_path / "data" / "own").exists()


def test_labels_when_spellings_differ_then_the_map_of_the_message_joins_them(tmp_path):
    rows = [
        {"emotion": word}
        for word in ("Z\u0142o\u015b\u0107", "z\u0142o\u015b\u0107", "Z\u0141O\u015a\u0106", "zl")
    ]
    rows += [{"emotion": word} for word in ("Tense", "TENSE")]
    with pytest.raises(UserError, match=r"\(and 1 more\) differ only in case") as refused:
        listed(tmp_path, rows)
    sentence = str(refused.value)
    assert "\\u" not in sentence  # escapes only where the words look the same
    (tmp_path / "label_map.json").write_text(sentence.partition(" as ")[2], encoding="utf-8")
    items = listed(tmp_path, rows)
    own = ["Z\u0142o\u015b\u0107"] * 3 + ["zl"]
    assert [item.category for item in items] == [*own, "Tense", "Tense"]


def test_gender_when_it_is_another_word_then_the_sentence_has_it_as_it_is(tmp_path):
    with pytest.raises(UserError, match=r"'K' is not female.*: write one of these"):
        listed(tmp_path, [{"gender": "K"}])


def test_path_when_it_has_a_drive_of_windows_then_the_sentence_says_so(tmp_path):
    (tmp_path / "own.csv").write_text("path\nC:\\Users\\Ania\\a.wav\n")
    with pytest.raises(UserError, match=r"path of a Windows machine.*--audio_dir"):
        list(ManifestBuilder(data_dir=tmp_path, manifest=tmp_path / "own.csv").listing())
