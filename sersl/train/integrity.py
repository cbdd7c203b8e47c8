"""Checksums of arrays, by which a checkpoint whose bytes have changed on disk is found out.

Orbax notices a file that is missing or short, not one with a flipped byte.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from sersl.parallel.sharding import path_name

_GOLDEN = np.uint32(0x9E3779B9)  # 2^32 / golden ratio: the element at 0 is mixed too


def checksums(tree) -> dict[str, int]:
    """Sums up every array of a tree in 32 bits.

    Each element's bits are mixed with its position, one to one, and the results added modulo
    2^32. So a change of one element always shows, other changes and swaps but once in 2^32; and
    the order of adding, hence the mesh, does not matter.

    Args:
      tree: pytree of numpy arrays (host memory) or of jax arrays, sharded or not; those are
        summed where they lie, and only the sums move.

    Returns:
      Path to checksum, 0..2^32 - 1.
    """
    leaves = jax.tree_util.tree_flatten_with_path(jax.block_until_ready(tree))[0]
    return {path_name(path): _number(x) for path, x in leaves}


def changed(tree, stored: dict[str, int]) -> str | None:
    """Names the first array of a tree whose checksum is not the stored one.

    Args:
      tree: as in `checksums`.
      stored: what `checksums` gave when it was saved.

    Returns:
      The path, or None when all are as they were.
    """
    now = checksums(tree)
    return next((path for path, number in now.items() if stored[path] != number), None)


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
    # Waits for each: pretend devices on few cores wait for each other for ever where many programs
    # that need all of them are under way.
    return int(_sum_there(x))


@jax.jit
def _sum_there(x: jax.Array) -> jax.Array:
    # A scalar is the same on every device, whatever the sharding of x.
    return _sum(x, jnp)
