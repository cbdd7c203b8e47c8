"""k-means on the device: k-means++ to start, Lloyd's iterations, empty clusters moved."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

_ROWS_PER_DEVICE = 4096  # frames whose distances to all centroids are in memory at once
_START_FRAMES_PER_CODE = 50  # frames that k-means++ looks at


class Frames(NamedTuple):
    """Frames to cluster, spread over the local devices.

    Attributes:
      values: float32 [blocks, rows, D], rows cut over the devices.
      weights: float32 [blocks, rows], 0 for padding.
    """

    values: jax.Array
    weights: jax.Array


class Iteration(NamedTuple):
    """State of the fit.

    Attributes:
      number: iterations done.
      centroids: float32 [K, D].
      inertia: mean squared distance to the nearest of the centroids before this iteration.
    """

    number: int
    centroids: np.ndarray
    inertia: float


def place(values: np.ndarray) -> Frames:
    """Puts frames on the local devices.

    Args:
      values: float32 [n, D].

    Returns:
      Frames, padded with zeros to whole blocks.
    """
    devices = jax.local_devices()
    rows = min(_ROWS_PER_DEVICE, -(-len(values) // len(devices))) * len(devices)
    missing = -len(values) % rows
    weights = np.pad(np.ones(len(values), np.float32), (0, missing))
    values = np.pad(np.asarray(values, np.float32), ((0, missing), (0, 0)))
    mesh = Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))
    cut = NamedSharding(mesh, PartitionSpec(None, "data"))
    return Frames(
        jax.device_put(values.reshape(-1, rows, values.shape[1]), cut),
        jax.device_put(weights.reshape(-1, rows), cut),
    )


def nearest(values: jax.Array, centroids: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Finds the nearest centroid of each frame.

    Args:
      values: float32 [n, D].
      centroids: float32 [K, D].

    Returns:
      (int32 [n], squared distance float32 [n], at least 0).
    """
    products = jnp.matmul(values, centroids.T, precision=jax.lax.Precision.HIGHEST)
    scores = jnp.square(centroids).sum(1) - 2.0 * products
    distances = scores.min(1) + jnp.square(values).sum(1)
    return scores.argmin(1).astype(jnp.int32), jnp.maximum(distances, 0.0)


def start(values: np.ndarray, num_codes: int, *, seed: int) -> np.ndarray:
    """Chooses frames far from each other by k-means++.

    Args:
      values: float32 [n, D], n at least K; 50 K of them are looked at.
      num_codes: K.
      seed: of the choice.

    Returns:
      float32 [K, D], frames.

    Source: Arthur & Vassilvitskii (2007), algorithm 1, step 1.
    """
    rng = np.random.default_rng(seed)
    most = min(len(values), _START_FRAMES_PER_CODE * num_codes)
    chosen = np.sort(rng.choice(len(values), most, replace=False))
    return np.asarray(_plus_plus(jnp.asarray(values[chosen]), num_codes, jax.random.key(seed)))


def _plus_plus(values: jax.Array, num_codes: int, key: jax.Array) -> jax.Array:
    @jax.jit
    def run(values, key):
        keys = jax.random.split(key, num_codes)
        first = values[jax.random.randint(keys[0], (), 0, len(values))]
        chosen = jnp.zeros((num_codes, values.shape[1])).at[0].set(first)

        def add(number, state):
            chosen, distances = state
            logits = jnp.log(distances)  # -inf for a frame that is already chosen
            # Where all are chosen, as in silence, any will do.
            logits = jnp.where(distances.max() > 0, logits, 0.0)
            new = values[jax.random.categorical(keys[number], logits)]
            return chosen.at[number].set(new), jnp.minimum(
                distances, jnp.square(values - new).sum(1)
            )

        distances = jnp.square(values - first).sum(1)
        return jax.lax.fori_loop(1, num_codes, add, (chosen, distances))[0]

    return run(values, key)


def iterate(
    frames: Frames, begin: Iteration, *, max_iterations: int, tolerance: float
) -> Iterator[Iteration]:
    """Runs Lloyd's iterations until the inertia settles.

    Args:
      frames: from `place`.
      begin: where to begin, from `start` or an earlier fit.
      max_iterations: number of the last iteration at most.
      tolerance: an iteration that lowers the inertia by less than this share is the last.

    Yields:
      Each iteration.
    """
    at = begin
    while at.number < max_iterations:
        centroids, inertia = _lloyd(frames.values, frames.weights, jnp.asarray(at.centroids))
        before = at.inertia
        at = Iteration(at.number + 1, np.asarray(centroids), float(inertia))
        yield at
        if before - at.inertia <= tolerance * before < np.inf:
            return


@jax.jit
def _lloyd(values, weights, centroids):
    """Moves each centroid to the mean of its frames; one without any to the farthest of a block."""

    def block(totals, at):
        sums, counts, inertia = totals
        x, w = at
        codes, distances = nearest(x, centroids)
        member = jax.nn.one_hot(codes, len(centroids)) * w[:, None]
        sums += jnp.matmul(member.T, x, precision=jax.lax.Precision.HIGHEST)
        distances = distances * w
        far = distances.argmax()
        totals = sums, counts + member.sum(0), inertia + distances.sum()
        return totals, (distances[far], x[far])

    begin = jnp.zeros_like(centroids), jnp.zeros(len(centroids)), jnp.float32(0.0)
    (sums, counts, inertia), (distances, farthest) = jax.lax.scan(block, begin, (values, weights))
    empty = counts == 0
    rank = jnp.cumsum(empty) - 1
    moved = farthest[jnp.argsort(-distances)[jnp.clip(rank, 0, len(distances) - 1)]]
    moved = jnp.where((rank < len(distances))[:, None], moved, centroids)
    means = sums / jnp.maximum(counts, 1.0)[:, None]
    return jnp.where(empty[:, None], moved, means), inertia / weights.sum()
