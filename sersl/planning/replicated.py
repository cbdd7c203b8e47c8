"""Parameters that are replicated although a mesh axis could shard them, and why."""

import math
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from sersl.parallel.sharding import RULES, path_name

SMALL = 2**16  # values; smaller parameters cost less to replicate than to gather


class Whole(NamedTuple):
    """A parameter that a mesh axis could shard and does not.

    Attributes:
      path: of the parameter.
      shape: of the parameter.
      axis: the mesh axis.
      num_bytes: bytes of it on each device along the axis.
      why: a few words.
    """

    path: str
    shape: tuple[int, ...]
    axis: str
    num_bytes: int
    why: str


def left_whole(shapes, axes, shardings, mesh: Mesh, *, small: int = SMALL) -> list[Whole]:
    """Lists the parameters that a mesh axis of more than one device does not shard.

    Args:
      shapes: nested dict of arrays or shapes.
      axes: shaped like `shapes`, with logical axis names (`sharding.Axes`) as leaves.
      shardings: shaped like `shapes`.
      mesh: the mesh; its data axis is ignored because it replicates on purpose.
      small: parameters with fewer values are left out.

    Returns:
      One entry per parameter and axis, largest first.
    """
    found = []
    named = jax.tree.leaves(axes, is_leaf=lambda leaf: isinstance(leaf, tuple))
    leaves = jax.tree_util.tree_flatten_with_path(shapes)[0]
    for (path, leaf), names, sharding in zip(
        leaves, named, jax.tree.leaves(shardings), strict=True
    ):
        if leaf.size < small:
            continue
        for axis in ("fsdp", "tensor"):
            parts = mesh.shape[axis]
            if parts == 1 or axis in sharding.spec:
                continue
            here = math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
            found.append(
                Whole(path_name(path), leaf.shape, axis, here, _why(leaf.shape, names, axis, parts))
            )
    return sorted(found, key=lambda one: (-one.num_bytes, one.path))


def _why(shape, names, axis: str, parts: int) -> str:
    meant = [
        f"{name}={size}"
        for name, size in zip(names, shape, strict=True)
        if name is not None and RULES[name] == axis
    ]
    if meant:
        return f"{', '.join(meant)} does not divide by {axis}={parts}"
    rest = [name or str(size) for name, size in zip(names, shape, strict=True)]
    return f"no rule shards ({', '.join(rest)}) along {axis}"
