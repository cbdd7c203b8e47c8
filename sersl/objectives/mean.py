"""A mean kept as two sums, through micro-batches, hosts and evaluators."""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sersl.objectives.whole_batch import num_parts, over_batch_constant


class Mean(NamedTuple):
    """A sum of weighted values and the sum of their weights; divided once, when it is logged.

    Attributes:
      total: float32 scalar.
      weight: float32 scalar.
    """

    total: jax.Array
    weight: jax.Array

    @classmethod
    def of(cls, values: jax.Array, weights: jax.Array | float = 1.0) -> "Mean":
        """Sums values by weight.

        Args:
          values: of any shape; a value of weight 0 may be NaN.
          weights: of a shape that broadcasts to that of the values; bool counts as 0 and 1.
        """
        values = at_least_float32(values)
        weights = jnp.broadcast_to(jnp.asarray(weights, values.dtype), values.shape)
        # Twice where: a NaN times 0 is NaN, in the gradient too.
        safe = jnp.where(weights != 0, values, 0.0)
        return cls(jnp.sum(safe * weights), jnp.sum(weights))

    def __add__(self, other: "Mean") -> "Mean":  # type: ignore[override]  # of tuples: joins them
        """Adds both sums."""
        return Mean(self.total + other.total, self.weight + other.weight)

    def value(self, *, empty: float = float("nan")) -> jax.Array:
        """Divides.

        Args:
          empty: value when nothing was counted; 0 for a loss.

        Returns:
          A scalar. Of a batch in parts (`sersl.objectives.whole_batch`), this part's share of the
          batch's mean, such that the mean over the parts is that mean; weights then carry no
          gradient.
        """
        weight = over_batch_constant(self.weight)
        counted = weight != 0
        total = self.total * num_parts()
        return jnp.where(counted, total / jnp.where(counted, weight, 1.0), empty)

    def is_counted(self) -> jax.Array:
        """Tells whether any value of the batch has a weight, bool scalar."""
        return over_batch_constant(self.weight) != 0


def any_counted(means: Iterable[Mean]) -> jax.Array:
    """Returns whether any value of any of these means of the batch has a weight, a bool scalar."""
    return jnp.any(jnp.stack([mean.is_counted() for mean in means]))


def average(values: jax.Array, counted: jax.Array) -> jax.Array:
    """Averages values that are of the whole batch already, such as losses of several features.

    A Mean of such values would add them up over the parts of a batch again.

    Args:
      values: [K].
      counted: bool [K], which of them count.

    Returns:
      A scalar, 0 where none counts.
    """
    return jnp.where(counted, values, 0.0).sum() / jnp.maximum(counted.sum(), 1)


def at_least_float32(x: jax.Array) -> jax.Array:
    """Casts an array of any shape to float32, in which losses are computed; float64 stays."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
