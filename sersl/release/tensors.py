"""Named tensors of a model folder: safetensors, whole or in shards, or a PyTorch checkpoint.

Tensors are read and written one at a time, so that a model may be larger than half of the memory.
Nothing is allocated before the header is known to fit the size of the file.
"""

import functools
import json
import math
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from sersl.core.errors import UserError
from sersl.core.fields import Fields
from sersl.core.files import parse_json, read_json
from sersl.release.torch_file import TorchFile

# In the order in which Hugging Face looks for them.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
# The format allows 100 MB; a model of 10,000 tensors has about 1.
_MOST_HEADER = 16 * 2**20  # bytes
_MOST_DIMENSIONS = 8
_MOST_BYTES = 2**44  # 16 TiB
_ALIGNMENT = 8  # bytes at which the data of a safetensors file starts
_AGAIN = "copy the model again"


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, not yet read.

    Attributes:
      shape: as stored.
      dtype: as stored.
      file: that holds it.
      read: reads the array, of that shape and dtype.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    file: Path
    read: Callable[[], np.ndarray]


def open_weights(folder: Path) -> dict[str, StoredTensor]:
    """Finds the tensors of a model folder.

    Args:
      folder: with at least one of `WEIGHTS`; the first of them is read.

    Returns:
      {name: tensor}.

    Raises:
      UserError: there is none, or it is damaged or refused.
    """
    for name in WEIGHTS:
        path = folder / name
        if path.is_file():
            return _open_shards(path) if name.endswith(".index.json") else _open_file(path)
    raise UserError(f"{folder} has no weights: there must be one of {', '.join(WEIGHTS)}")


def open_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Finds the tensors of one safetensors file.

    Args:
      path: of the file.

    Returns:
      {name: tensor}.

    Raises:
      UserError: the header is truncated or damaged, does not fit the file, or its tensors overlap
        or leave gaps.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > size - 8:
                raise UserError(f"{path} is truncated within its header: {_AGAIN}")
            if length > _MOST_HEADER:
                raise UserError(f"{path} has a header of more than 16 MiB: {_AGAIN}")
            header = parse_json(file.read(length))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {_AGAIN}") from error
    except ValueError as error:
        raise UserError(f"{path} has a damaged header ({error}): {_AGAIN}") from error
    header.pop("__metadata__", None)
    tensors, places = {}, []
    for name, entry in header.items():
        dtype, shape, begin, end = _described(path, name, entry)
        if 8 + length + end > size:
            raise UserError(f"{path} is truncated within tensor {name!r}: {_AGAIN}")
        places.append((begin, end, name))
        read = functools.partial(_read_raw, path, dtype, shape, 8 + length + begin)
        tensors[name] = StoredTensor(shape=shape, dtype=dtype, file=path, read=read)
    _check_places(path, places, size - 8 - length)
    return tensors


def write_safetensors(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    arrays: Iterable[tuple[str, np.ndarray]],
    *,
    int8: Container[str] = (),
) -> None:
    """Writes a safetensors file, one tensor at a time.

    Args:
      path: to write.
      shapes: {name: shape}, in the order of the file.
      arrays: (name, array) in that order, float32 but for `int8`.
      int8: names of the tensors that are int8.

    Raises:
      ValueError: an array has another name, shape or type than is due.
    """
    header: dict[str, dict[str, Any]] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in shapes.items():
        end = position + (1 if name in int8 else 4) * math.prod(shape)
        code = "I8" if name in int8 else "F32"
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for (name, shape), (given, array) in zip(shapes.items(), arrays, strict=True):
            dtype = np.int8 if name in int8 else np.float32
            if name != given or tuple(array.shape) != tuple(shape) or array.dtype != dtype:
                raise ValueError(f"{given} {array.dtype} {array.shape} came for {name} {shape}")
            file.write(np.ascontiguousarray(array).data)


def as_float32(name: str, tensor: StoredTensor) -> np.ndarray:
    """Reads a tensor of weights.

    Args:
      name: of the tensor, for the message.
      tensor: of 16, 32 or 64 bits.

    Returns:
      A float32 array.

    Raises:
      UserError: it has integers, or values that are NaN or infinite.
    """
    if tensor.dtype.name not in ("float32", "float16", "bfloat16", "float64"):
        raise UserError(
            f"{tensor.file}: tensor {name!r} is {tensor.dtype.name}, not of real numbers: give the "
            "model before it was quantized"
        )
    with np.errstate(over="ignore"):  # of float64; found below
        array = np.asarray(tensor.read(), np.float32)
    if not np.isfinite(array).all():
        raise UserError(
            f"{tensor.file}: tensor {name!r} has values that are NaN or infinite: give weights of "
            "a run that did not diverge"
        )
    return array


def _described(
    path: Path, name: str, entry: object
) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    """Reads the entry of one tensor: (dtype, shape, first byte, byte after the last)."""
    wrong = UserError(f"{path}: tensor {name[:200]!r} has a damaged header: {_AGAIN}")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise wrong
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise wrong
    for numbers, most in ((shape, _MOST_DIMENSIONS), (offsets, 2)):
        if not isinstance(numbers, list) or len(numbers) > most:
            raise wrong
        if not all(type(n) is int and 0 <= n <= _MOST_BYTES for n in numbers):
            raise wrong
    dtype = np.dtype(_DTYPES[kind])
    if len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        raise wrong
    return dtype, tuple(shape), offsets[0], offsets[1]


def _check_places(path: Path, places: list[tuple[int, int, str]], size: int) -> None:
    """Checks that tensors follow each other from the first byte of the data to the last."""
    position = 0
    for begin, end, name in sorted(places):
        if begin != position:
            fault = "overlaps another" if begin < position else "follows a gap"
            raise UserError(f"{path}: tensor {name!r} {fault}: {_AGAIN}")
        position = end
    if position != size:
        raise UserError(f"{path} has {size - position} bytes that no tensor uses: {_AGAIN}")


def _read_raw(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int) -> np.ndarray:
    values = np.fromfile(path, dtype, count=math.prod(shape), offset=offset)
    if values.size != math.prod(shape):
        raise UserError(f"{path} became shorter while it was read: {_AGAIN}")
    return values.reshape(shape)


def _open_file(path: Path) -> dict[str, StoredTensor]:
    if path.suffix == ".safetensors":
        return open_safetensors(path)
    file = TorchFile(path)
    return {
        name: StoredTensor(
            shape=tensor.shape,
            dtype=np.dtype(tensor.dtype),
            file=path,
            read=functools.partial(file.read, name),
        )
        for name, tensor in file.tensors.items()
    }


def _open_shards(index: Path) -> dict[str, StoredTensor]:
    fields = Fields(
        read_json(index, what="index of weights", remedy=_AGAIN), where=str(index), remedy=_AGAIN
    )
    places = fields.texts("weight_map")
    if not places:
        raise UserError(f"{index} has an empty weight_map: {_AGAIN}")
    shards = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name:
            raise UserError(f"{index} names the shard {name!r} outside of its folder: refused")
        if not (index.parent / name).is_file():
            raise UserError(f"{index.parent} has no {name}, which {index.name} names: copy it too")
        shards[name] = _open_file(index.parent / name)
    tensors = {}
    for name, shard in places.items():
        if name not in shards[shard]:
            raise UserError(f"{index.parent / shard} has no tensor {name!r}: copy it again")
        tensors[name] = shards[shard][name]
    for shard, content in shards.items():
        for name in sorted(content.keys() - tensors.keys()):
            raise UserError(f"{index.parent / shard} has {name!r}, which {index.name} lacks")
    return tensors
