"""Rows of other devices: indexing a batch whose rows are spread over a mesh."""

import math

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from sersl.parallel.sharding import RULES


def take_rows(rows: jax.Array, index: jax.Array) -> jax.Array:
    """Computes `rows[index]` without gathering the rows on every device.

    The devices pass their rows around a ring, and each keeps the ones it needs, so that a device
    never holds more than its own rows and those of one other device. Left to itself, XLA gathers
    the whole array on every device.

    Args:
      rows: [B, ...], of any dtype, rows over the mesh axes data and fsdp if a mesh is set.
      index: int [B'] or [B', K] with values in 0..B - 1, rows over the same axes.

    Returns:
      [B', ...] or [B', K, ...]; the gradient flows back to the rows.
    """
    mesh = jax.sharding.get_abstract_mesh()
    spread = RULES["batch"]
    assert isinstance(spread, tuple)
    axes = tuple(a for a in spread if a in mesh.axis_names and a not in mesh.manual_axes)
    parts = math.prod(mesh.shape[axis] for axis in axes)
    if parts == 1 or len(rows) % parts or len(index) % parts:
        return rows[index]
    ring = [((number + 1) % parts, number) for number in range(parts)]

    def own(rows: jax.Array, index: jax.Array) -> jax.Array:
        holder, place = index // len(rows), index % len(rows)
        first = jax.lax.axis_index(axes)

        def keep(found, rows, distance):
            mine = (holder == (first + distance) % parts).reshape(
                index.shape + (1,) * (rows.ndim - 1)
            )
            return jnp.where(mine, rows[place], found)

        def step(carry, distance):
            found, rows = carry
            rows = jax.lax.ppermute(rows, axes, ring)
            return (keep(found, rows, distance), rows), None

        (found, _), _ = jax.lax.scan(step, (rows[place], rows), jnp.arange(1, parts))
        return found

    spec = PartitionSpec(axes)
    return jax.shard_map(own, mesh=mesh, in_specs=(spec, spec), out_specs=spec)(rows, index)
