import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.corpora.index import CorpusIndex
from sersl.corpora.label_columns import applying, rater_labels, soft_labels
from sersl.corpora.labels import LabelView, make_view
from sersl.corpora.manifests.manifest import ManifestBuilder
from sersl.corpora.ratings import (
    check_scale,
    describe_view,
    plurality,
    view_report,
)
from sersl.corpora.words import canonical


def listed(tmp_path, *rows):
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return list(ManifestBuilder(data_dir=tmp_path, manifest=path).listing())


def test_annotators_when_given_then_kept_scaled_and_counted(tmp_path):
    raters = {
        "r1": {"emotion": "hap", "arousal": 5, "valence": 3},
        "r2": {"emotion": "exc", "arousal": 3},
        "r3": "hap",
        "r4": "xxx",
    }
    (item,) = listed(
        tmp_path, {"path": "a.wav", "annotators": raters, "scale_low": 1, "scale_high": 5}
    )
    assert item.votes == {"happy": 2, "excited": 1} and item.category == "happy"
    assert item.arousal == 0.75 and item.valence == 0.5 and math.isnan(item.dominance)
    assert item.extra["annotators"] == {
        "r1": {"category": "happy", "arousal": 1.0, "valence": 0.5},
        "r2": {"category": "excited", "arousal": 0.5},
        "r3": {"category": "happy"},
        "r4": {"category": ""},
    }


def test_votes_when_json_in_csv_then_read_and_ties_give_no_category(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(
        "path,votes\n"
        'a.wav,"{""happy"": 3, ""anger"": 1, ""xxx"": 2}"\n'
        'b.wav,"{""sad"": 1, ""fear"": 1}"\nc.wav,\n'
    )
    items = list(ManifestBuilder(data_dir=tmp_path, manifest=path).listing())
    assert [item.votes for item in items] == [
        {"happy": 3, "angry": 1},
        {"sad": 1, "fear": 1},
        None,
    ]
    assert [item.category for item in items] == ["happy", "", ""]
    assert plurality({}) == ""


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"votes": "happy 3"}, "not JSON such as"),
        ({"votes": [1]}, "not an object"),
        ({"votes": {"happy": "many"}}, "votes for 'happy' are 'many'"),
        ({"annotators": {"r": {"mood": 1}}}, "rater 'r' has 'mood'"),
        ({"annotators": {"r": {"valence": 3}}}, "'valence': 3 is outside of 0 to 1"),
        ({"emotion": "very/happy"}, "'very/happy' cannot be .* a path: .*label_map.json"),
        ({"emotion": "=A1"}, "'=A1' cannot be .* a formula"),
        ({"emotion": "x" * 101}, "more than 100 characters"),
        ({"categories": ["a", 1.5, {}]}, "column 'categories': {} is not a word"),
        ({"categories": {"a": 1}}, "belong into the column votes"),
        ({"path": "a\0b.wav"}, "has a zero byte"),
    ],
)
def test_row_when_broken_then_one_sentence_with_the_line(tmp_path, row, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        listed(tmp_path, {"path": "a.wav"} | row)
    assert "own.jsonl line 1, column '" in str(caught.value)


def test_label_when_a_code_then_only_within_its_corpus(tmp_path):
    items = listed(
        tmp_path,
        {"path": "a.wav", "emotion": "A", "corpus": "MSP-Podcast"},
        {"path": "b.wav", "emotion": "A", "corpus": "emodb"},
        {"path": "c.wav", "emotion": " anger  ", "corpus": "emodb"},
    )
    assert [item.category for item in items] == ["angry", "fear", "angry"]
    assert items[0].extra == {"corpus": "MSP-Podcast"}
    assert canonical("X", "msp_podcast") == "" and canonical("O", "msp_podcast") == "other"
    with pytest.raises(UserError):
        canonical("O", "emodb")


def test_soft_labels_when_votes_are_of_no_class_or_missing_then_not_a_number():
    view = make_view("4class", ())
    votes = np.array(['{"happy": 1, "excited": 2, "sad": 1}', "", '{"fear": 3}', ""], dtype=object)
    table = soft_labels(CorpusIndex("x", "1", Path(), "f", 4, _columns={"votes": votes}), view)
    assert table.shape == (4, 4) and table.dtype == np.float32
    expected = {"happy": 0.75, "sad": 0.25, "angry": 0.0, "neutral": 0.0}
    np.testing.assert_allclose(table[0], [expected[name] for name in view.names])
    assert np.isnan(table[1:]).all()


def test_view_when_corpora_differ_then_what_is_lost_is_said():
    corpora = {
        "one": np.array(["happy", "excited", "fear", "", "sad"], dtype=object),
        "two": np.array(["happy", "calm", "calm"], dtype=object),
    }
    report = view_report(make_view("4class", ()), corpora)
    one, two = report["corpora"]["one"], report["corpora"]["two"]
    assert one["classes"] == {"happy": 2, "sad": 1} and one["merged"] == {"excited > happy": 1}
    assert one["lost"] == {"fear": 1} and one["unlabelled"] == 1
    assert two["lost"] == {"calm": 2} and two["absent"] == ["angry", "sad", "neutral"]
    lines = describe_view(json.loads(json.dumps(report)))
    assert lines[0] == (
        "labels of one: happy 2, sad 1; merged excited > happy 1; left out fear 1; 1 without a "
        "category; has no angry, neutral"
    )


def test_make_view_when_shared_then_categories_of_all_corpora():
    corpora = {"one": ["sad", "happy", "calm"], "two": ["happy", "sad", "fear", ""]}
    assert make_view("shared", corpora).names == ("happy", "sad")
    assert make_view("corpus", corpora).names == ("happy", "sad", "fear", "calm")
    with pytest.raises(UserError, match="for several corpora"):
        make_view("shared", ["sad"])
    with pytest.raises(UserError, match="one, two have no emotion category in common"):
        make_view("shared", {"one": ["sad"], "two": ["calm"]})


def test_make_view_when_e2v9_then_order_of_emotion2vec_and_unknown_is_never_true():
    view = make_view("e2v9", ())
    names = ["angry", "disgust", "fear", "happy", "neutral", "other", "sad", "surprise", "unknown"]
    assert list(view.names) == names
    assert view.indices(np.array(["", "other", "excited"])).tolist() == [-1, 5, 3]


def test_check_scale_when_absent_then_unit():
    assert check_scale(math.nan, math.nan, "x") == (0.0, 1.0)
    with pytest.raises(UserError, match="x: scale_high 1 is not above"):
        check_scale(1.0, 1.0, "x")


def index_of(**columns):
    rows = len(next(iter(columns.values())))
    given = {name: np.array(values, dtype=object) for name, values in columns.items()}
    empty = {
        name: np.full(rows, "", object) for name in ("category", "category_raw", "votes", "extra")
    }
    return CorpusIndex("own", "1.0.0", Path(), "f", rows, _columns=empty | given)


def test_applying_when_lists_votes_and_single_labels_are_mixed_then_the_nearest_is_taken():
    view = LabelView(("sad", "tense", "tired"), multi=True)
    index = index_of(
        category=["sad", "sad", "", "gone", "tense"],
        votes=["", '{"sad": 2, "tense": 2, "tired": 1}', "", "", ""],
        extra=['{"categories": ["tense", "tired"]}', "", '{"categories": []}', "", ""],
    )
    nothing = [np.nan] * 3
    expected = [[0, 1, 1], [0, 0, 0], [0, 0, 0], nothing, [0, 1, 0]]
    np.testing.assert_array_equal(applying(index, view), expected)
    few = dataclasses.replace(view, votes_at_least=0.4)
    np.testing.assert_array_equal(applying(index, few)[1], [1, 1, 0])
    two = dataclasses.replace(view, votes_at_least=2)
    np.testing.assert_array_equal(applying(index, two)[1], [1, 1, 0])


def test_raters_when_they_answered_then_who_and_what_by_row():
    view = LabelView(("sad", "tense"))
    answers = {"annotators": {"a": {"category": "sad"}, "b": {"category": "tense"}}}
    one = {"annotators": {"b": {"category": "sad"}, "c": {"category": "other"}}}
    index = index_of(extra=[json.dumps(answers), "", json.dumps(one)])
    found = rater_labels([index], view)
    assert found.names == ("own/a", "own/b")
    np.testing.assert_array_equal(found.rater, [[0, 1], [-1, -1], [1, -1]])
    np.testing.assert_array_equal(found.category, [[0, 1], [-1, -1], [0, -1]])
