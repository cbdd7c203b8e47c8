"""Tables and lists: separators, headers, broken rows, JSON lines and arrays, Parquet."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sersl.core.errors import UserError
from sersl.corpora.tables import objects
from sersl.corpora.tables.delimited import read_table
from sersl.corpora.tables.objects import read_array, read_document, read_objects
from sersl.corpora.tables.parquet import read_parquet


def table(tmp_path, text, **more):
    path = tmp_path / "own.csv"
    path.write_bytes(text.encode())
    return list(read_table(path, **more))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_table_when_separated_in_any_way_then_the_same_rows(tmp_path, separator):
    cells = [["a", "b c", "d"], ["1", '"x, y; z"', "NA"], ["", "", ""], ["2", "u", "v"]]
    rows = table(tmp_path, "\r\n".join(separator.join(row) for row in cells) + "\r\n\r\n\r\n")
    assert [row.values for row in rows] == [
        {"a": "1", "b c": "x, y; z", "d": ""},
        {"a": "2", "b c": "u", "d": "v"},
    ]
    assert [row.where for row in rows] == ["own.csv line 2", "own.csv line 4"]


def test_table_when_excel_names_the_separator_or_pads_rows_then_read(tmp_path):
    (row,) = table(tmp_path, "sep=;\na;b\n1;2;;\n;;;\n")
    assert row.values == {"a": "1", "b": "2"} and row.where == "own.csv line 3"


def test_table_when_a_value_has_lines_then_places_are_where_rows_start(tmp_path):
    rows = table(tmp_path, 'a,b\n"x\ny",1\n2,"z"\n')
    assert [row.where for row in rows] == ["own.csv line 2", "own.csv line 4"]
    assert rows[0].values["a"] == "x\ny"


def test_table_when_quotes_are_text_then_kept(tmp_path):
    (row,) = table(tmp_path, 'a\tb\n"hi" he said\t1\n', quotes=False)
    assert row.values["a"] == '"hi" he said'


@pytest.mark.parametrize(
    ("text", "more", "sentence"),
    [
        ("a,b\n1\n", {}, "own.csv line 2: 1 values for 2 columns"),
        ("a,b\n\n1,2,3\n", {}, "own.csv line 3: 3 values for 2 columns"),
        ('a,b\n1,2\n1,"x\n', {}, "own.csv line 3: .*check the quotes"),
        ("a,a\n1,2\n", {}, "own.csv line 1: column 'a' occurs twice"),
        ("Sexe;Age\n", {"columns": ["Sex"]}, "line 1: there is no column 'Sex'; .*is it 'Sexe'"),
        ("", {"columns": ["Sex"]}, "there is no column 'Sex'; columns are none"),
    ],
)
def test_table_when_broken_then_file_line_and_column(tmp_path, text, more, sentence):
    with pytest.raises(UserError, match=sentence):
        table(tmp_path, text, **more)


def test_objects_when_lines_or_an_array_then_the_same_rows(tmp_path):
    rows = [{"path": "a", "x": None}, {"path": "b", "x": "nan"}, {"path": "c", "x": [1]}]
    (tmp_path / "lines").write_text("\n\n".join(map(json.dumps, rows)) + "\n\n")
    (tmp_path / "array").write_text("\n" + json.dumps(rows, indent=1))
    for name in ("lines", "array"):
        found = list(read_objects(tmp_path / name))
        assert [row.values for row in found] == [
            {"path": "a", "x": ""},
            {"path": "b", "x": ""},
            {"path": "c", "x": [1]},
        ]
    assert [row.where for row in found] == ["array line 3", "array line 7", "array line 11"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"a": 1}\n{"a"', "own line 2: not JSON"),
        ('{"a": 1}\n3\n', "own line 2: not a JSON object"),
        ('{"a": Infinity}', "own line 1: not JSON .*not a finite number"),
        ('{"a": 1e999}', "own line 1: not JSON .*not a finite number"),
        ('{"a": 1, "a": 2}', "own line 1: not JSON .*twice"),
        ('{"a":' * 100_000, "own line 1: "),
        ('[{"a": 1},\n{"a": ]', "own line 2: damaged or cut off"),
        ('[{"a": 1},\n 3]', "own line 2: not a JSON object"),
        ("[" * 100_000, "own line 1: "),
        ('[{"a": 1}, {"b": 2e999}]', "own line 1: "),
        ('[{"a": 1}', "own line 1: damaged or cut off"),
    ],
)
def test_objects_when_broken_then_one_sentence_with_the_line(tmp_path, text, sentence):
    (tmp_path / "own").write_text(text)
    with pytest.raises(UserError, match=sentence) as caught:
        list(read_objects(tmp_path / "own"))
    assert "\n" not in str(caught.value)


def test_array_when_read_in_small_pieces_then_the_same(tmp_path, monkeypatch):
    values = [1.5, "a]b", {"c": [1, 2]}, 12345]
    (tmp_path / "own").write_text(json.dumps(values))
    monkeypatch.setattr(objects, "_CHUNK", 3)
    assert [value for _, value in read_array(tmp_path / "own")] == values


def test_document_when_it_is_no_json_then_file_and_line(tmp_path):
    (tmp_path / "a.json").write_text('{\n"a": [1,\n}')
    with pytest.raises(UserError, match=r"a\.json line 3: not JSON"):
        read_document(tmp_path / "a.json")


def test_parquet_when_pandas_wrote_times_then_seconds_and_text(tmp_path):
    columns = {
        "start": pa.array([1_500_000_001, None], pa.duration("ns")),
        "when": pa.array([1, None], pa.timestamp("ns")),
        "kind": pa.array(["a", None]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    first, second = read_parquet(tmp_path / "a.parquet")
    assert first.seconds("start") == pytest.approx(1.500000001)
    assert first.text("when").startswith("1970-01-01") and first.text("kind") == "a"
    assert set(second.values.values()) == {""} and second.where == "a.parquet row 2"
