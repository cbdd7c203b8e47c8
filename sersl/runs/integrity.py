"""Checks of a restored checkpoint: its arrays, shapes and dtypes, and checksums of the bytes.

Orbax detects a missing or short file, but not a flipped byte.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from sersl.core.bounded import read_bounded
from sersl.core.errors import UserError
from sersl.core.files import find_paths, parse_json
from sersl.parallel.sharding import path_name

_GOLDEN = np.uint32(0x9E3779B9)  # 2^32 / golden ratio: the element at 0 is mixed too


def checksums(tree) -> dict[str, int]:
    """Computes a checksum of 32 bits of every array of a tree.

    Each element's bits are mixed with its position, one to one, and the results added modulo
    2^32. So a change of one element is always detected, and other changes and swaps all but once
    in 2^32. The order of the additions, and hence the mesh, does not matter.

    Args:
      tree: pytree of numpy arrays (host memory) or of jax arrays, sharded or not; jax arrays stay
        on their devices, only the sums are moved.

    Returns:
      Path to checksum, 0..2^32 - 1.
    """
    leaves = jax.tree_util.tree_flatten_with_path(jax.block_until_ready(tree))[0]
    return {path_name(path): _number(x) for path, x in leaves}


def changed(tree, stored: Mapping[str, int]) -> str | None:
    """Finds the first array of a tree whose checksum differs from the stored one.

    Args:
      tree: as in `checksums`.
      stored: result of `checksums` when the tree was saved.

    Returns:
      The path; None if no array has changed.
    """
    now = checksums(tree)
    return next((path for path, number in now.items() if stored[path] != number), None)


def describe(tree) -> dict[str, list]:
    """Gives path to [shape, dtype] for every array of a tree."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {path_name(path): [list(leaf.shape), str(leaf.dtype)] for path, leaf in leaves}


def check_same(stored: Mapping, items: Mapping, *, where: str) -> None:
    """Compares the stored arrays with the expected ones, shapes and dtypes included.

    Orbax casts to another dtype silently, so dtypes are compared here.

    Args:
      stored: item name to `describe` of the stored tree.
      items: item name to the expected tree.
      where: for the message.

    Raises:
      UserError: naming the first array that is missing, left over or different.
    """
    for name, tree in items.items():
        have, want = stored.get(name), describe(tree)
        if have is None:
            raise UserError(f"{where} has no item {name!r}, only {sorted(stored)}")
        for path in sorted(have.keys() | want.keys()):
            a, b = (side.get(path, "no such array") for side in (have, want))
            if a != b:
                raise UserError(
                    f"{where} holds another model: {name} {path} is {a} there and {b} in this "
                    "config: use the config of that run, or another workdir"
                )


def check_array_list(item: str | Path) -> None:
    """Checks the files in which Orbax lists the arrays of an item, before Orbax reads it.

    Orbax parses them while it reads the arrays. If that fails, the reads that are still running
    print tracebacks when they end.

    Args:
      item: folder of one item of a checkpoint.

    Raises:
      OSError: a file cannot be read.
      ValueError: a file is damaged.
    """
    for path in find_paths(item, "array_metadatas/process_*"):
        arrays = parse_json(read_bounded(path)).get("array_metadatas")
        if not isinstance(arrays, list) or not all(map(_is_listed_array, arrays)):
            raise ValueError(f"{path.name} of array_metadatas does not list arrays")


def _is_listed_array(entry: object) -> bool:
    array = entry.get("array_metadata") if isinstance(entry, dict) else None
    return (
        isinstance(array, dict)
        and isinstance(array.get("param_name"), str)
        and all(isinstance(array.get(name), list) for name in ("write_shape", "chunk_shape"))
    )


def check_unchanged(tree, stored: Mapping[str, int], *, item: str) -> None:
    """Compares the arrays that were read with those that were saved.

    Args:
      tree: arrays of one item.
      stored: their checksums when they were saved.
      item: its name.

    Raises:
      ValueError: an array has changed.
    """
    path = changed(tree, stored)
    if path is not None:
        raise ValueError(f"the bytes of {item} {path} have changed since it was saved")


def _sum(x, xp):
    """Checksum of one array in numpy or jax.numpy: uint32 scalar."""
    if x.ndim == 0:
        x = x[None]  # numpy warns of overflow in scalars, which is meant here
    if x.dtype == bool:
        x = x.astype(np.uint8)
    if x.dtype.itemsize == 8:
        x = x[..., None]  # two words each
    bits = x.view(f"uint{8 * min(x.dtype.itemsize, 4)}").astype(np.uint32)
    mixed = _mix(bits ^ _mix(_positions(bits.shape, xp) + _GOLDEN))
    return xp.sum(mixed, dtype=np.uint32)


def _positions(shape: tuple[int, ...], xp):
    """Numbers the elements modulo 2^32, from one small row per dimension."""
    number = xp.zeros(shape, np.uint32)
    for axis, size in enumerate(shape):
        along = xp.arange(size, dtype=np.uint32) * np.uint32(math.prod(shape[axis + 1 :]) % 2**32)
        number = number + along.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return number


def _mix(x):
    """Mixes the bits of uint32 values one to one.

    Source: "lowbias32" of C. Wellons' hash prospector (2018).
    """
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def _number(x) -> int:
    if isinstance(x, np.ndarray):
        return int(_sum(np.ascontiguousarray(x), np))
    # Waits for each: simulated devices on few cores may deadlock when several programs that use
    # all of them run at the same time.
    return int(_sum_there(x))


@jax.jit
def _sum_there(x: jax.Array) -> jax.Array:
    # A scalar is the same on every device, whatever the sharding of x.
    return _sum(x, jnp)
