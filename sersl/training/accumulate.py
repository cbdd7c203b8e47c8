"""Loss and gradient of a batch processed in parts, equal to those of the whole batch."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from sersl.core.errors import UserError
from sersl.objectives.whole_batch import collecting, knowing
from sersl.parallel.sharding import RULES

LossFn = Callable[[dict, dict, jax.Array], tuple[jax.Array, dict]]


def loss_and_gradient(
    loss_fn: LossFn, params: dict, batch: dict, key: jax.Array, *, num_parts: int
) -> tuple[tuple[jax.Array, dict], dict]:
    """Computes `jax.value_and_grad(loss_fn, has_aux=True)` one part after another.

    Args:
      loss_fn: (params, batch, key) -> (loss, {name: Mean}).
      params: nested dict of arrays.
      batch: arrays of [B, ...], B a multiple of the devices that hold rows times `num_parts`.
      key: PRNG key; with several parts each has its own.
      num_parts: number of parts; only the activations of one are in memory.

    Returns:
      ((loss, metrics), gradient), both of the whole batch: sums and weights of the metrics are
      added, gradients averaged in the dtype of the parameters.

    Raises:
      UserError: an objective needs the whole batch, or the rows do not divide.
    """
    if num_parts == 1:
        return jax.value_and_grad(loss_fn, has_aux=True)(params, batch, key)
    parts = {name: split_rows(array, num_parts) for name, array in batch.items()}
    keys = jax.random.split(key, num_parts)

    def shared(_, part):
        with collecting(num_parts) as sums:
            loss_fn(params, *part)
        return None, tuple(sums)

    _, stacked = jax.lax.scan(shared, None, (parts, keys))
    totals = [jnp.sum(one, axis=0) for one in stacked]

    def gradient(summed, part):
        with knowing(num_parts, totals):
            (loss, metrics), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, *part)
        return jax.tree.map(jnp.add, summed, grads), (loss, metrics)

    zeros = jax.tree.map(jnp.zeros_like, params)
    summed, (losses, metrics) = jax.lax.scan(gradient, zeros, (parts, keys))
    metrics = jax.tree.map(lambda values: jnp.sum(values, axis=0), metrics)
    return (losses.mean(), metrics), jax.tree.map(lambda g: g / num_parts, summed)


def split_rows(array: jax.Array, num_parts: int) -> jax.Array:
    """Splits rows into parts without communication: every device splits its own rows.

    Which rows are in a part, and in what order, does not depend on the mesh, so neither does the
    randomness of a row, which is addressed by its position in the part.

    Args:
      array: [B, ...], rows over the mesh axes of "batch".
      num_parts: P.

    Returns:
      [P, B / P, ...]; part i has the rows i, i + P, i + 2 P and so on.

    Raises:
      UserError: B is not a multiple of the devices that hold rows times the number of parts.
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = RULES["batch"]
    assert isinstance(axes, tuple)
    devices = math.prod(mesh.shape.get(axis, 1) for axis in axes)
    rows, *rest = array.shape
    if rows % (devices * num_parts):
        raise UserError(
            f"a batch of {rows} rows does not divide over {devices} devices and "
            f"train.accumulate_steps={num_parts}: set data.row_multiple to a multiple of "
            f"{devices * num_parts}"
        )
    parts = array.reshape(rows // num_parts, num_parts, *rest).swapaxes(0, 1)
    if not set(axes) <= set(mesh.axis_names):
        return parts
    spec = PartitionSpec(None, axes, *[None] * len(rest))
    return jax.lax.with_sharding_constraint(parts, spec)
