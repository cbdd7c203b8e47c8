"""Reads the tensors of a PyTorch checkpoint (`pytorch_model.bin`) safely and without PyTorch.

Such a file is a zip of a pickle, which names the tensors, and of one raw file per storage. A pickle
can call any function of any module; this reader replaces the few functions that tensors need and
refuses all others before they are called.
"""

import collections
import math
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import ml_dtypes
import numpy as np

from sersl.core.errors import UserError, first_line

_MOST_PICKLE = 64 * 2**20  # bytes; a model of 10,000 tensors has about 1 MB
_MOST_DIMENSIONS = 8
_MOST_VALUES = 2**44
_STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


@dataclass(frozen=True)
class _Storage:
    """A raw file of the zip."""

    key: str
    dtype: np.dtype[Any]
    size: int  # values


@dataclass(frozen=True)
class TorchTensor:
    """A tensor of the pickle, not yet read.

    Attributes:
      storage: the raw file that holds it and perhaps others.
      offset: values before its first.
      shape: of the tensor.
      strides: values between neighbours, per dimension.
    """

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type as stored."""
        return self.storage.dtype


class TorchFile:
    """A PyTorch checkpoint: names and shapes are read at once, arrays one by one."""

    def __init__(self, path: Path):
        """Reads the names.

        Args:
          path: of the checkpoint.

        Raises:
          UserError: it is not such a file, is damaged, or its pickle has anything but tensors.
        """
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
            names = self._zip.namelist()
            pickles = [name for name in names if name.endswith("data.pkl")]
            if len(pickles) != 1:
                raise UserError(f"{path} is a zip, but not a PyTorch checkpoint: give another file")
            # PyTorch stores without compression; what is compressed may grow a thousandfold.
            if any(info.compress_type != zipfile.ZIP_STORED for info in self._zip.infolist()):
                raise UserError(
                    f"{path} is compressed, which PyTorch checkpoints are not: copy it again"
                )
            if self._zip.getinfo(pickles[0]).file_size > _MOST_PICKLE:
                raise UserError(f"{path} has a pickle of more than 64 MiB: give another file")
            self._root = pickles[0].removesuffix("data.pkl")
            if f"{self._root}byteorder" in names and self._read("byteorder") != b"little":
                raise UserError(f"{path} was written on a big-endian machine: convert it there")
            content = self._load(pickles[0])
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            raise UserError(
                f"{path} is damaged, truncated, or of a PyTorch before 1.6 ({first_line(error)}): "
                "copy it again, or save the model as safetensors"
            ) from error
        if not isinstance(content, dict) or not content:
            raise UserError(f"{path} has no named tensors: give another file")
        for name, value in content.items():
            if not isinstance(name, str) or not isinstance(value, TorchTensor):
                shown = repr(name[:80]) if isinstance(name, str) else "a key that is not text"
                raise UserError(
                    f"{path} has {shown}, which is not a tensor: give the weights of a model alone"
                )
        self.tensors: dict[str, TorchTensor] = dict(content)

    def read(self, name: str) -> np.ndarray:
        """Reads one tensor.

        Args:
          name: a key of `tensors`.

        Returns:
          The array, in the type of the file.

        Raises:
          UserError: the file is damaged.
        """
        tensor = self.tensors[name]
        storage = tensor.storage
        try:
            values = np.frombuffer(self._read(f"data/{storage.key}"), storage.dtype)
        except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
            raise UserError(f"{self.path}: tensor {name!r} is damaged: copy it again") from error
        reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
        if 0 in tensor.shape:
            return np.zeros(tensor.shape, storage.dtype)
        if min((*tensor.strides, tensor.offset, 0)) < 0 or tensor.offset + reach >= values.size:
            raise UserError(f"{self.path}: tensor {name!r} reaches beyond its data: copy it again")
        return np.lib.stride_tricks.as_strided(
            values[tensor.offset :],
            tensor.shape,
            [stride * values.itemsize for stride in tensor.strides],
            writeable=False,
        )

    def _read(self, name: str) -> bytes:
        return self._zip.read(f"{self._root}{name}")

    def _load(self, name: str) -> object:
        with self._zip.open(name) as file:
            try:
                return _TensorUnpickler(file, self.path).load()
            except UserError:
                raise
            except Exception as error:  # a broken pickle may raise anything
                raise UserError(
                    f"{self.path}: its pickle is damaged ({first_line(error):.200}): copy it again"
                ) from error


def _rebuild_tensor(
    storage: object, offset: object, shape: object, strides: object, *_: object
) -> TorchTensor:
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor without storage")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or type(offset) is not int:
        raise ValueError("a tensor without shape")
    if len(shape) != len(strides) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError("a tensor of impossible shape")
    if not all(type(n) is int and 0 <= n <= _MOST_VALUES for n in (offset, *shape, *strides)):
        raise ValueError("a tensor of impossible shape")
    # With strides of 0 a few values could stand for terabytes.
    if math.prod(shape) > storage.size:
        raise ValueError("a tensor that is larger than its storage")
    return TorchTensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: object, *_: object) -> object:
    return tensor


def _ordered_dict() -> dict[str, object]:
    return collections.OrderedDict()


_KNOWN = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): np.dtype(dtype) for name, dtype in _STORAGES.items()},
}


# Instructions that a checkpoint of tensors has, by their names in `pickle`.
_INSTRUCTIONS = (
    *("PROTO", "FRAME", "STOP", "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
    *("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("SETITEM", "SETITEMS", "APPEND", "APPENDS", "NONE", "NEWTRUE", "NEWFALSE"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2", "LONG1"),
    *("BINFLOAT", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "MEMOIZE"),
)

_RUN = pickle._Unpickler.dispatch


def _set_item(reader: Any) -> None:
    _check_keys([reader.stack[-2]])
    _RUN[pickle.SETITEM[0]](reader)


def _set_items(reader: Any) -> None:
    _check_keys(reader.stack[::2])
    _RUN[pickle.SETITEMS[0]](reader)


def _check_keys(keys: list[object]) -> None:
    if not all(isinstance(key, str) for key in keys):
        raise ValueError("a key that is not text")


class _TensorUnpickler(pickle._Unpickler):
    """A pickle reader that reads tensors and refuses everything else.

    It is the one in Python, whose instructions can be replaced: nested tuples that share their
    parts can take years to hash, so only text is a key.
    """

    dispatch: ClassVar = {
        **{code: _RUN[code] for code in (getattr(pickle, name)[0] for name in _INSTRUCTIONS)},
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
    }

    def __init__(self, file: IO[bytes], path: Path):
        super().__init__(file)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise UserError(
                f"{self._path} is refused: its pickle asks to run {f'{module}.{name}':.80}, which "
                "no tensor needs; get the model as safetensors from a source that you trust"
            ) from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, size = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise ValueError("an unknown kind of storage")
        if not isinstance(key, str) or type(size) is not int or not 0 <= size <= _MOST_VALUES:
            raise ValueError("a storage of impossible size")
        return _Storage(key, dtype, size)
