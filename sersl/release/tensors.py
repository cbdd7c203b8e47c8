"""Named tensors of a model folder: safetensors, whole or in shards, or a PyTorch checkpoint.

What is read is found by its header and read one tensor at a time, and what is written is written
one tensor at a time, so that a model may be larger than half of the memory.
"""

import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from sersl.core.errors import UserError
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
_MOST_HEADER = 100_000_000  # bytes; the limit of the safetensors format
_ALIGNMENT = 8  # bytes at which the data of a safetensors file starts


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, not yet read.

    Attributes:
      shape: as stored.
      dtype: of the file.
      file: that holds it.
      read: gives the numbers, in the file's dtype.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    file: Path
    read: Callable[[], np.ndarray]


def open_weights(folder: Path) -> dict[str, StoredTensor]:
    """Finds the tensors of a model folder.

    Args:
      folder: with one of `WEIGHTS`; the first that is there counts.

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
      UserError: the header is truncated, is no header, or does not fit the file.
    """
    advice = "copy the file again"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > min(_MOST_HEADER, size - 8):
                raise UserError(f"{path} is truncated within its header: {advice}")
            header = json.loads(file.read(length).decode("utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {advice}") from error
    except ValueError as error:
        raise UserError(f"{path} has a damaged header: {advice}") from error
    if not isinstance(header, dict):
        raise UserError(f"{path} has a damaged header: {advice}")
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        try:
            dtype = np.dtype(_DTYPES[entry["dtype"]])
            shape = tuple(int(n) for n in entry["shape"])
            begin, end = (int(n) for n in entry["data_offsets"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: tensor {name!r} has a damaged header: {advice}") from error
        if min((*shape, begin)) < 0 or end - begin != math.prod(shape) * dtype.itemsize:
            raise UserError(f"{path}: tensor {name!r} has a damaged header: {advice}")
        if 8 + length + end > size:
            raise UserError(f"{path} is truncated within tensor {name!r}: {advice}")
        read = functools.partial(_read_raw, path, dtype, shape, 8 + length + begin)
        tensors[name] = StoredTensor(shape=shape, dtype=dtype, file=path, read=read)
    return tensors


def write_safetensors(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    arrays: Iterable[tuple[str, np.ndarray]],
) -> None:
    """Writes a safetensors file of float32 tensors, one at a time.

    Args:
      path: to write.
      shapes: {name: shape}, in the order of the file.
      arrays: (name, float32 array) in that order; made when their turn comes.

    Raises:
      ValueError: an array is not the one whose turn it is.
    """
    header, position = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        end = position + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for (name, shape), (given, array) in zip(shapes.items(), arrays, strict=True):
            if name != given or tuple(array.shape) != tuple(shape) or array.dtype != np.float32:
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
      UserError: it holds no weights, or values that are NaN or infinite.
    """
    if tensor.dtype.name not in ("float32", "float16", "bfloat16", "float64"):
        raise UserError(
            f"{tensor.file}: tensor {name!r} is {tensor.dtype.name}, not of real numbers: give the "
            "model before it was quantised"
        )
    array = np.asarray(tensor.read(), np.float32)
    if not np.isfinite(array).all():
        raise UserError(
            f"{tensor.file}: tensor {name!r} has values that are NaN or infinite: give weights of "
            "a run that did not diverge"
        )
    return array


def read_json(path: Path) -> dict:
    """Reads a JSON object.

    Args:
      path: of the file.

    Returns:
      The object.

    Raises:
      UserError: the file is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}; copy the model again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object: copy the model again")
    return content


def _read_raw(path, dtype, shape, offset):
    values = np.fromfile(path, dtype, count=math.prod(shape), offset=offset)
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
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UserError(f"{index} has no weight_map: copy the model again")
    shards = {}
    for name in sorted(set(map(str, places.values()))):
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
