"""Cells: one list of missing marks, numbers, times, names and objects."""

import math

import pytest

from sersl.core.errors import UserError
from sersl.corpora.tables.values import Row, clean, is_missing, nearest

PANDAS = [
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
]


@pytest.mark.parametrize("mark", [*PANDAS, "NaT", "-", "--", "?", "NONE", " nan ", "\u2014"])
def test_cell_when_a_mark_of_no_value_then_missing_for_every_reader(mark):
    row = Row("own.csv line 2", {"a": clean(mark, "x")})
    assert is_missing(mark) and not row.has("a")
    assert row.text("a") == row.name("a") == row.choice("a", {"": ""}) == ""
    assert math.isnan(row.number("a")) and math.isnan(row.seconds("a"))
    assert row.whole("a") is None and row.mapping("a") == {}


@pytest.mark.parametrize("text", ["0", "no", "Nan Li", "A", "N", "nano", "-1", "false", "NAN1"])
def test_cell_when_it_only_looks_like_a_mark_then_kept(text):
    assert not is_missing(text) and clean(text, "x") == text


@pytest.mark.parametrize("value", [None, math.nan, "", "NaN"])
def test_value_when_json_or_parquet_has_none_then_missing(value):
    assert clean(value, "x") == ""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2.5", 2.5),
        ("0 days 00:00:02.500000", 2.5),
        ("0 days 00:00:02", 2.0),
        ("0 days", 0.0),
        ("1 day, 0:00:02", 86402.0),
        ("2 days 01:00:00.5", 176400.5),
        ("00:00:02.5", 2.5),
        ("0:01:02.500000000", 62.5),
        ("P0DT0H0M2.5S", 2.5),
        ("PT1M", 60.0),
        (" 1e1 ", 10.0),
        (3, 3.0),
    ],
)
def test_seconds_when_written_by_pandas_python_or_hand_then_the_same_time(text, seconds):
    assert Row("x", {"start": text}).seconds("start") == seconds


@pytest.mark.parametrize(
    "text", ["soon", "1:30", "P", "1_0", "0x10", "1e400", "inf", "2 days later", True, [1], "1e9"]
)
def test_seconds_when_not_a_time_then_one_sentence_with_the_place(text):
    row = Row("own.csv line 2", {"start": text}, names={"start": "begin"})
    with pytest.raises(UserError, match=r"own\.csv line 2, column 'begin': "):
        row.seconds("start")


def test_number_when_the_file_has_semicolons_then_a_comma_is_the_decimal_sign():
    assert Row("x", {"a": "-2,25"}, decimal_comma=True).number("a") == -2.25
    for row in (Row("x", {"a": "2,25"}), Row("x", {"a": "1.000,5"}, decimal_comma=True)):
        with pytest.raises(UserError, match="is not a number"):
            row.number("a")


@pytest.mark.parametrize(
    "name", ["a\nb", "a\rb", "\x1b[31mred", "a\0", "a\u2028b", "\u202eabc", "\x07", "a\x85b"]
)
def test_name_when_it_has_control_characters_then_refused_but_text_is_kept(name):
    row = Row("own.csv line 2", {"speaker": name, "text": name})
    with pytest.raises(UserError, match=r"line 2, column 'speaker': .* has the control character"):
        row.name("speaker")
    assert row.text("text") == name.strip()


@pytest.mark.parametrize(
    "name", ["J\u00fcrgen", "\u674e", "a b", "a\u00a0b", "\u0645\u06cc\u200c\u062e"]
)
def test_name_when_of_any_language_then_taken(name):
    assert Row("x", {"speaker": name}).name("speaker") == name


def test_clean_when_not_valid_text_or_bytes_or_infinite_then_one_sentence():
    for value in ("a\ud800", {"k": ["\udcff"]}, {"\ud800": 1}, b"x", math.inf, [math.inf]):
        with pytest.raises(UserError, match=r"own\.csv line 2"):
            clean(value, "own.csv line 2")


def test_mapping_when_json_is_hostile_then_one_sentence():
    for text in ("[" * 100_000, '{"a": 1e999}', "[1]", "3", "{", '{"a": 1, "a": 2}'):
        with pytest.raises(UserError, match=r"own\.csv line 2, column 'votes'"):
            Row("own.csv line 2", {"votes": text}).mapping("votes")
    assert Row("x", {"votes": '{"a": NaN, "b": "NA", "c": 1}'}).mapping("votes") == {"c": 1}


def test_text_when_a_list_or_object_then_one_sentence():
    for value in ([1], {"a": 1}):
        with pytest.raises(UserError, match="instead of text"):
            Row("x", {"a": value}).text("a")
    assert Row("x", {"a": 3.0}).text("a") == "3"


def test_nearest_when_a_word_of_it_is_known_then_that_one():
    known = ["emotion", "speaker", "fold", "label", "arousal"]
    for name, near in (("speaker_id", "speaker"), ("emotoin", "emotion"), ("xyz", "")):
        assert nearest(name, known) == near


def test_name_when_too_long_then_refused_with_its_place():
    row = Row("own.csv line 2", {"speaker": "x" * 5_000, "text": "x" * 5_000})
    with pytest.raises(UserError, match=r"line 2, column 'speaker': 'x+'... has 5,000 characters"):
        row.name("speaker")
    assert len(row.text("text")) == 5_000
