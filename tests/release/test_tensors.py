import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sersl.core.errors import UserError
from sersl.release.tensors import as_float32, open_weights, write_safetensors

TENSORS = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.half": np.array([1.5, -2.0], np.float16),
    "a.brain": np.array([1.5, -2.0], ml_dtypes.bfloat16),
    "scalar": np.array(3.0, np.float64),
    "ids": np.arange(4),
}


def _equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name].read(), array)


def test_safetensors_when_read_then_equal_to_the_library(tmp_path):
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found = open_weights(tmp_path)
    _equal(found, TENSORS)
    brain = as_float32("a.brain", found["a.brain"])
    assert brain.dtype == np.float32
    np.testing.assert_array_equal(brain, [1.5, -2.0])


def test_safetensors_when_written_then_the_library_reads_them(tmp_path):
    arrays = {"z": np.ones((2, 3), np.float32), "a": np.zeros((), np.float32), "e": np.ones(0, "f")}
    shapes = {name: array.shape for name, array in arrays.items()}
    write_safetensors(tmp_path / "model.safetensors", shapes, iter(arrays.items()))
    found = load_file(tmp_path / "model.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(ValueError, match=r"came for z \(2, 3\)"):
        write_safetensors(tmp_path / "x", shapes, iter([("z", np.ones(3, np.float32))] * 3))


def _shards(folder):
    names = list(TENSORS)
    save_file({n: TENSORS[n] for n in names[:2]}, folder / "model-00001-of-00002.safetensors")
    save_file({n: TENSORS[n] for n in names[2:]}, folder / "model-00002-of-00002.safetensors")
    places = {n: f"model-0000{1 + (i >= 2)}-of-00002.safetensors" for i, n in enumerate(names)}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index, places


def test_shards_when_read_then_one_model(tmp_path):
    _shards(tmp_path)
    _equal(open_weights(tmp_path), TENSORS)


def test_shards_when_the_index_is_wrong_then_said(tmp_path):
    index, places = _shards(tmp_path)

    def check(places, message):
        index.write_text(json.dumps({"weight_map": places}))
        with pytest.raises(UserError, match=message):
            open_weights(tmp_path)

    check({**places, "more": places["ids"]}, "has no tensor 'more'")
    check({n: f for n, f in places.items() if n != "ids"}, "has 'ids', which .* lacks")
    check({**places, "ids": "../model.safetensors"}, "outside of its folder")
    check({**places, "ids": "model-3.safetensors"}, "has no model-3.safetensors")
    check({}, "has an empty weight_map")


def test_folder_when_it_has_no_weights_then_said(tmp_path):
    with pytest.raises(UserError, match="has no weights: there must be one of model"):
        open_weights(tmp_path)


def _entry(**change):
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **change}
    text = json.dumps({"a": entry}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated within its header"),
        (b"\x10\x00", "truncated within its header"),
        (_entry()[:30], "truncated within its header"),
        ((2**60).to_bytes(8, "little") + b"{}", "truncated within its header"),
        ((4).to_bytes(8, "little") + b"{]{]", "damaged header"),
        ((2).to_bytes(8, "little") + b"[]", "damaged header"),
        (_entry()[:-1], "truncated within tensor 'a'"),
        (_entry(dtype="F8"), "tensor 'a' has a damaged header"),
        (_entry(shape=[3]), "tensor 'a' has a damaged header"),
        (_entry(shape=[-2, -1]), "tensor 'a' has a damaged header"),
        (_entry(data_offsets=[-8, 0]), "tensor 'a' has a damaged header"),
        (_entry(data_offsets=[0]), "tensor 'a' has a damaged header"),
    ],
)
def test_safetensors_when_damaged_then_said(tmp_path, content, message):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_weights(tmp_path)
