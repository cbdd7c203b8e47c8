"""Tensors of a PyTorch checkpoint (`pytorch_model.bin`) without PyTorch, and without its dangers.

Such a file is a zip of a pickle, which names the tensors, and of one raw file per storage. A pickle
can call any function of any module; this reader answers only the names that tensors are made of
with stand-ins of its own, and refuses everything else before it is called.
"""

import collections
import math
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from sersl.core.errors import UserError

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
    dtype: np.dtype
    size: int  # values


@dataclass(frozen=True)
class TorchTensor:
    """A tensor that is named in the pickle, not yet read.

    Attributes:
      storage: the raw file it lies in, which it may share.
      offset: values before its first.
      shape: of the tensor.
      strides: values between neighbours, per dimension.
    """

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype:
        """Of the file."""
        return self.storage.dtype


class TorchFile:
    """A PyTorch checkpoint: names and shapes at once, numbers when asked for."""

    def __init__(self, path: Path):
        """Reads the names.

        Args:
          path: of the checkpoint.

        Raises:
          UserError: it is no such file, is damaged, or its pickle asks for anything but tensors.
        """
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
            names = self._zip.namelist()
            pickles = [name for name in names if name.endswith("data.pkl")]
            if len(pickles) != 1:
                raise UserError(f"{path} is a zip, but no PyTorch checkpoint: give another file")
            # PyTorch stores without compression; what is compressed may grow a thousandfold.
            if any(info.compress_type != zipfile.ZIP_STORED for info in self._zip.infolist()):
                raise UserError(f"{path} is compressed, as no PyTorch checkpoint is: refused")
            self._root = pickles[0].removesuffix("data.pkl")
            if f"{self._root}byteorder" in names and self._read("byteorder") != b"little":
                raise UserError(f"{path} was written on a big-endian machine: convert it there")
            content = self._load(pickles[0])
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            raise UserError(
                f"{path} is damaged, truncated, or of a PyTorch before 1.6 ({error}): copy it "
                "again, or save the model as safetensors"
            ) from error
        if not isinstance(content, dict) or not content:
            raise UserError(f"{path} holds no named tensors: give another file")
        for name, value in content.items():
            if not isinstance(name, str) or not isinstance(value, TorchTensor):
                raise UserError(
                    f"{path} holds {name!r}, which is no tensor: give the weights of a model alone"
                )
        self.tensors: dict[str, TorchTensor] = dict(content)

    def read(self, name: str) -> np.ndarray:
        """Reads one tensor.

        Args:
          name: a key of `tensors`.

        Returns:
          The array, in the file's dtype.

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

    def _load(self, name: str):
        with self._zip.open(name) as file:
            try:
                return _TensorUnpickler(file, self.path).load()
            except UserError:
                raise
            except Exception as error:  # a broken pickle may raise anything
                raise UserError(
                    f"{self.path}: its pickle is damaged ({error}): copy it again"
                ) from error


def _rebuild_tensor(storage, offset, shape, strides, *_):
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or not all(isinstance(n, int) for n in numbers):
        raise ValueError("a tensor without storage")
    if len(shape) != len(strides) or min((*shape, 0)) < 0 or math.prod(shape) < 0:
        raise ValueError("a tensor of impossible shape")
    return TorchTensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor, *_):
    return tensor


_KNOWN = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): np.dtype(dtype) for name, dtype in _STORAGES.items()},
}


class _TensorUnpickler(pickle.Unpickler):
    """A pickle reader that knows tensors and nothing else."""

    def __init__(self, file, path: Path):
        super().__init__(file)
        self._path = path

    def find_class(self, module, name):
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise UserError(
                f"{self._path} is refused: its pickle asks to run {module}.{name}, which no tensor "
                "needs; take the model from where you trust it, as safetensors"
            ) from None

    def persistent_load(self, pid):
        kind, dtype, key, _, size = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise ValueError("an unknown kind of storage")
        return _Storage(str(key), dtype, int(size))
