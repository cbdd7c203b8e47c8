"""Tables of vectors by utterance_id: both formats, and one sentence for each fault."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sersl.core.errors import UserError
from sersl.data.view_tables import ViewTable

IDS = ["a", "b", "c"]
STATES = [[[1.0, 2.0], [3.0, 4.0]], [], [[5.0, 6.0]]]


class Index:
    """What a table reads of the index of a corpus."""

    corpus = "speech"

    def __init__(self, ids):
        self._ids = np.array(ids, object)

    def column(self, name):
        assert name == "utterance_id"
        return self._ids


def parquet(path, ids, values, *, depth=2, name="vectors", **others):
    kind = pa.float32()
    for _ in range(depth):
        kind = pa.list_(kind)
    pq.write_table(pa.table({"utterance_id": ids, name: pa.array(values, kind), **others}), path)
    return path


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("form", ["parquet", "npz"])
def test_table_when_an_utterance_has_several_vectors_or_none_then_they_are_read(tmp_path, form):
    if form == "parquet":
        path = parquet(tmp_path / "t.parquet", IDS, STATES)
    else:
        flat = np.array([[1, 2], [3, 4], [5, 6]], np.float64)
        path = npz(tmp_path / "t.npz", utterance_id=IDS, vectors=flat, lengths=[2, 0, 1])
    table = ViewTable(path, name="text")
    reader = table.reader(Index(["c", "a", "b"]), mean=False)
    assert (reader.shape.layers, reader.shape.vectors, reader.shape.width) == (1, 2, 2)
    np.testing.assert_array_equal(reader.read(0), [[[5, 6]]])
    np.testing.assert_array_equal(reader.read(1), [[[1, 2], [3, 4]]])
    assert reader.read(2).shape == (1, 0, 2)
    by_mean = table.reader(Index(IDS), mean=True)
    np.testing.assert_array_equal(by_mean.read(0), [[[2, 3]]])
    assert by_mean.shape.vectors == 1 and by_mean.read(1).shape == (1, 0, 2)
    other = parquet(tmp_path / "o.parquet", IDS, [STATES[0], [], [[5.0, 7.0]]])
    assert ViewTable(other, name="text").identity != table.identity


def test_table_when_corpora_share_ids_then_a_column_tells_them_apart(tmp_path):
    corpora = ["speech", "other"]
    path = parquet(tmp_path / "t.parquet", ["a", "a"], [[1.0], [2.0]], depth=1, corpus=corpora)
    reader = ViewTable(path, name="text").reader(Index(["a"]), mean=True)
    np.testing.assert_array_equal(reader.read(0), [[[1]]])


@pytest.mark.parametrize(
    ("ids", "values", "others", "message"),
    [
        (["a", "a", "c"], STATES, {}, r"lists utterance 'a' twice"),
        (IDS, [[[1.0]], [], [[1.0, 2.0]]], {}, r"vector of 2 numbers for utterance 'c' where .* 1"),
        (IDS, [[[1.0]], [[float("nan")]], [[2.0]]], {}, r"value for utterance 'b' that is NaN"),
        (IDS, [[[1.0]], [], [[None]]], {}, r"value for utterance 'c' that is NaN"),
        (IDS, [[], [], []], {}, r"has no vectors"),
        (IDS, STATES, {"name": "embedding"}, r"has no 'vectors' \(it has utterance_id, embedding"),
        (IDS, [1.0, 2.0, 3.0], {"depth": 0}, r"column vectors of float: give lists"),
    ],
)
def test_table_when_a_row_is_wrong_then_one_sentence(tmp_path, ids, values, others, message):
    path = parquet(tmp_path / "t.parquet", ids, values, **others)
    with pytest.raises(UserError, match=message):
        ViewTable(path, name="text")


def test_table_when_a_file_does_not_fit_then_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"of view 'text' does not exist"):
        ViewTable(tmp_path / "no.npz", name="text")
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    (tmp_path / "bad.parquet").write_bytes(b"no table")
    for name in ("bad.npz", "bad.parquet"):
        with pytest.raises(UserError, match=r"cannot be read"):
            ViewTable(tmp_path / name, name="text")
    for arrays, message in (
        ({"vectors": np.zeros((3, 2, 2))}, r"float64\[3, 2, 2\]"),
        ({"vectors": np.array([["x"]] * 3)}, r"<U1"),
        ({"vectors": np.zeros((2, 2))}, r"3 ids, 2 lengths with the sum 2, and 2 vectors"),
        ({"vectors": np.zeros((3, 2)), "lengths": [4, 0, 0]}, r"3 lengths with the sum 4"),
    ):
        path = npz(tmp_path / "t.npz", utterance_id=IDS, **arrays)
        with pytest.raises(UserError, match=message):
            ViewTable(path, name="text")
    path = parquet(tmp_path / "t.parquet", IDS, STATES)
    with pytest.raises(UserError, match=r"lacks utterance 'd' of corpus 'speech': add it, with an"):
        ViewTable(path, name="text").reader(Index(["a", "d"]), mean=False)
