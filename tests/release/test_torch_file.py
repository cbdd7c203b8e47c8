"""Hostile PyTorch checkpoints, made without PyTorch: refused in a sentence, nothing allocated."""

import io
import pickle
import zipfile
from typing import ClassVar

import pytest

from sersl.core.errors import UserError
from sersl.release.torch_file import TorchFile


class _Tensor:
    """Pickles as a tensor of PyTorch."""

    def __init__(self, size, offset, shape, strides, key="0"):
        self.arguments = (_Storage(size, key), offset, shape, strides, False, None)

    def __reduce__(self):
        return _function("torch._utils", "_rebuild_tensor_v2"), self.arguments


class _Storage:
    def __init__(self, size, key):
        self.size, self.key = size, key


def _function(module, name):
    found = type(name, (), {"__module__": module, "__qualname__": name})
    found.__module__, found.__qualname__ = module, name
    return found


class _Pickler(pickle._Pickler):
    def persistent_id(self, found):
        if isinstance(found, _Storage):
            return ("storage", _function("torch", "FloatStorage"), found.key, "cpu", found.size)
        return None

    def save_global(self, found, name=None):
        self.write(f"c{found.__module__}\n{found.__qualname__}\n".encode())
        self.memoize(found)

    def save_type(self, found):
        self.save_global(found)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, type: save_type}


def write(path, content, data=bytes(64)):
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=2).dump(content)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", buffer.getvalue())
        file.writestr("a/data/0", data)
    return path


def test_torch_file_when_made_by_hand_then_read(tmp_path):
    path = write(
        tmp_path / "x.bin",
        {"a": _Tensor(16, 4, (2, 3), (3, 1)), "b": _Tensor(0, 0, (0, 3), (3, 1))},
    )
    file = TorchFile(path)
    assert file.read("a").shape == (2, 3) and file.read("b").shape == (0, 3)


class _Mapping:
    """Pickles as a mapping of one item, whose key need not be hashed here."""

    def __init__(self, key, value):
        self.item = (key, value)

    def __reduce__(self):
        return _function("collections", "OrderedDict"), (), None, None, iter([self.item])


def _laughs():
    """Takes 40 tuples to hold 2**40 strings."""
    value = ("lol",)
    for _ in range(40):
        value = (value, value)
    return value


HOSTILE = {
    "a tensor of terabytes by strides of 0": {"a": _Tensor(16, 0, (10**6, 10**6), (0, 0))},
    "huge integers": {"a": _Tensor(16, 0, (2**62, 2**62), (1, 1))},
    "3,000 dimensions": {"a": _Tensor(16, 0, (2,) * 3000, (1,) * 3000)},
    "a storage of exabytes": {"a": _Tensor(2**62, 0, (2**62,), (1,))},
    "a negative offset": {"a": _Tensor(16, -4, (2,), (1,))},
    "a negative stride": {"a": _Tensor(16, 4, (2,), (-1,))},
    "a shape of floats": {"a": _Tensor(16, 0, (2.0,), (1,))},
    "a shape that is none": {"a": _Tensor(16, 0, None, (1,))},
    "a key of a storage that is a number": {"a": _Tensor(16, 0, (2,), (1,), key=0)},
    "a name that cannot be hashed": _Mapping(_laughs(), 3),
    "a set": {"a": {1, 2}},
    "a number for a name": {3: _Tensor(16, 0, (2,), (1,))},
    "a value that cannot be printed": {"a": _laughs()},
    "a long name": {"a" * 100_000: 3},
    "no mapping": [1, 2],
    "nothing": {},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_torch_file_when_hostile_then_a_short_sentence(tmp_path, case):
    path = write(tmp_path / "x.bin", HOSTILE[case])
    with pytest.raises(UserError, match=r"x\.bin") as caught:
        TorchFile(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_torch_file_when_a_tensor_reaches_beyond_its_data_then_a_sentence(tmp_path):
    path = write(tmp_path / "x.bin", {"a": _Tensor(10**6, 0, (10**6,), (1,))})
    with pytest.raises(UserError, match="reaches beyond its data"):
        TorchFile(path).read("a")
