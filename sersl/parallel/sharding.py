"""Named shardings of all arrays, from the logical axis names of parameters.

A parameter is declared as `nnx.Param(value, axes=("embed", "mlp"))`. `RULES` maps each of these
names to the mesh axis over which the dimension is sharded, so a layout changes without touching a
model.
"""

from collections.abc import Mapping

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.core.errors import UserError, unknown_name

RULES: dict[str, str | tuple[str, ...] | None] = {
    "batch": ("data", "fsdp"),  # rows; devices along the tensor axis share them
    "embed": "fsdp",  # model width; FSDP shards the state along it
    "mlp": "tensor",  # hidden units of the feed-forward blocks
    "heads": "tensor",  # attention heads times their width
    "codes": "tensor",  # quantizer logits and codebook entries
    "conv": "fsdp",  # channels of the conv stack
    "mel": None,  # frontend features, few
    "classes": None,  # outputs of the heads, few
    "layers": None,  # stacked layers of a scanned encoder; each device has a part of every layer
}


def logical_axes(state: nnx.State) -> dict:
    """Collects the logical axis names of the parameters of a split model.

    Args:
      state: `nnx.split(model)[1]`, abstract or not.

    Returns:
      Nested dict shaped like `nnx.to_pure_dict(state)` whose leaves are `Axes`.

    Raises:
      ValueError: a parameter has no axes, or not one for each dimension.
    """
    tree: dict = {}
    for path, variable in nnx.to_flat_state(state):
        axes = variable.get_metadata().get("axes")
        name = "/".join(map(str, path))
        if axes is None or len(axes) != len(variable.shape):
            raise ValueError(f"parameter {name} {variable.shape} declares axes {axes}")
        where = tree
        for part in path[:-1]:
            where = where.setdefault(part, {})
        where[path[-1]] = Axes(axes)
    return tree


class Axes(tuple):
    """Logical axis names of one array; a leaf of a pytree, unlike a plain tuple."""

    __slots__ = ()


def param_shardings(shapes, axes, mesh: Mesh, *, rules: Mapping = RULES) -> tuple[dict, list[str]]:
    """Maps parameters to named shardings.

    Args:
      shapes: nested dict of arrays or `jax.ShapeDtypeStruct`.
      axes: nested dict of `Axes`, as from `logical_axes`.
      mesh: the mesh.
      rules: logical axis to mesh axis.

    Returns:
      (shardings shaped like `shapes`, sentences about dimensions that are replicated because the
      mesh axis does not divide them).

    Raises:
      UserError: an axis name that has no rule.
      ValueError: one mesh axis is used for two dimensions of a parameter.
    """
    notes: list[str] = []

    def sharding(path, shape, names):
        spec = []
        for size, name in zip(shape.shape, names, strict=True):
            if name is not None and name not in rules:
                raise unknown_name("logical axis", name, rules)
            target = None if name is None else rules[name]
            parts = 1 if target is None else mesh.shape[target]
            if size % parts:
                notes.append(
                    f"{path_name(path)} {tuple(shape.shape)}: {name}={size} is replicated because "
                    f"{target}={parts} does not divide it"
                )
                target = None
            spec.append(target)
        used = [target for target in spec if target is not None]
        if len(used) != len(set(used)):
            raise ValueError(f"{path_name(path)}: axes {names} use a mesh axis twice: {spec}")
        return NamedSharding(mesh, P(*spec))

    shardings = jax.tree_util.tree_map_with_path(
        sharding, shapes, axes, is_leaf=lambda leaf: isinstance(leaf, Axes)
    )
    return shardings, notes


def path_name(path) -> str:
    """Writes a pytree path as "encoder/layers/0/attention/query/kernel"."""
    parts = []
    for entry in path:
        for attribute in ("key", "name", "idx"):
            if hasattr(entry, attribute):
                parts.append(str(getattr(entry, attribute)))
                break
    return "/".join(parts)


def like_params(tree, params, shardings, mesh: Mesh):
    """Shards trees that mirror the parameters, such as optimizer moments or a teacher.

    Args:
      tree: any pytree, e.g. an abstract optax state. A leaf belongs to the parameter whose path is
        the end of its own path and which has its shape.
      params: nested dict of arrays or shapes.
      shardings: shaped like `params`.
      mesh: the mesh; scalars that belong to no parameter are replicated on it.

    Returns:
      Named shardings shaped like `tree`.

    Raises:
      ValueError: a leaf of more than one element belongs to no parameter.
    """
    known = {
        path_name(path): (leaf.shape, sharding)
        for (path, leaf), sharding in zip(
            jax.tree_util.tree_flatten_with_path(params)[0],
            jax.tree.leaves(shardings),
            strict=True,
        )
    }

    def find(path, leaf):
        parts = path_name(path).split("/")
        for i in range(len(parts)):
            shape, sharding = known.get("/".join(parts[i:]), (None, None))
            if shape == leaf.shape:
                return sharding
        if leaf.size > 1:
            raise ValueError(f"no parameter has the shape of {path_name(path)} {leaf.shape}")
        return NamedSharding(mesh, P())

    return jax.tree_util.tree_map_with_path(find, tree)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Shards the first dimension over data and fsdp and replicates it over tensor."""
    return NamedSharding(mesh, P(RULES["batch"]))


def check_rows(rows: int, mesh: Mesh) -> None:
    """Raises UserError if the rows of a global batch are not a multiple of data * fsdp."""
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if rows % parts:
        raise UserError(
            f"a batch of {rows} rows does not divide over mesh data={mesh.shape['data']} * "
            f"fsdp={mesh.shape['fsdp']}: set data.row_multiple to a multiple of {parts}"
        )


def local_rows(mesh: Mesh, rows: int) -> np.ndarray:
    """Lists the rows of a global batch of `rows` rows that the devices of this process hold.

    Returns:
      Sorted row numbers, int64 [local rows].
    """
    slices = batch_sharding(mesh).addressable_devices_indices_map((rows,)).values()
    return np.unique(np.concatenate([np.arange(rows)[index[0]] for index in slices if index]))


def global_arrays(batch: Mapping[str, np.ndarray], mesh: Mesh, *, rows: int) -> dict:
    """Turns this process's rows into global arrays sharded over the mesh.

    Args:
      batch: arrays [local rows, ...], in the order of `local_rows`.
      mesh: the mesh over all processes.
      rows: rows of the global batch.

    Returns:
      jax arrays [rows, ...] with `batch_sharding`.
    """
    sharding = batch_sharding(mesh)
    position = {int(row): i for i, row in enumerate(local_rows(mesh, rows))}

    def place(array):
        def part(index):
            wanted = np.arange(rows)[index[0]]
            first = position[int(wanted[0])]
            return array[first : first + len(wanted)]

        return jax.make_array_from_callback((rows, *array.shape[1:]), sharding, part)

    return {name: place(array) for name, array in batch.items()}


def place(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """Puts an array of any shape, the same in every process, on the devices of a sharding."""
    return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)


def bytes_per_device(shapes, shardings) -> int:
    """Adds up the bytes that one device holds of a sharded tree.

    Args:
      shapes: tree of arrays or `jax.ShapeDtypeStruct`.
      shardings: tree of shardings, shaped like `shapes`.
    """
    return sum(
        int(np.prod(sharding.shard_shape(leaf.shape), dtype=np.int64)) * leaf.dtype.itemsize
        for leaf, sharding in zip(jax.tree.leaves(shapes), jax.tree.leaves(shardings), strict=True)
    )
