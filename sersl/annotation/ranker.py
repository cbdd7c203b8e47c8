"""Relative attributes: learns to rank utterances by how much of an attribute they have.

A linear function w is fitted so that w x_i > w x_j by a margin if i is known to be above j
("emotional above neutral", "strong above normal"), and w x_i = w x_j if both are similar.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sersl.core.seeds import generator

_MAX_NEWTON = 50  # steps; the loss is piecewise quadratic, mostly 5 to 15 are enough
_MAX_LINE = 30  # steps of the exact line search, each the minimum of one quadratic piece
_TOLERANCE = 1e-5  # of the gradient, relative to that at w = 0


def ordered_pairs(
    above: np.ndarray, below: np.ndarray, *, most: int, seed: int, purpose: str
) -> np.ndarray:
    """Pairs every row of one group with every row of another, or draws some of these pairs.

    Args:
      above: int [m], rows that have more of the attribute.
      below: int [n], rows that have less.
      most: pairs to return; if there are more, they are drawn without replacement.
      seed: of the draw.
      purpose: of the pairs; another purpose draws other pairs.

    Returns:
      int64 [min(m * n, most), 2]: (more, less).
    """
    count = len(above) * len(below)
    if count > most:  # large corpora have far too many to list
        rng = generator(seed, f"ordered pairs {purpose}")
        chosen = np.sort(rng.choice(count, most, replace=False))
    else:
        chosen = np.arange(count)
    first, second = np.divmod(chosen, max(len(below), 1))
    return np.stack([above[first], below[second]], axis=1).astype(np.int64)


def similar_pairs(rows: np.ndarray, count: int, *, seed: int, purpose: str) -> np.ndarray:
    """Draws pairs of different rows of one group.

    Args:
      rows: int [m].
      count: pairs, drawn with replacement.
      seed: of the draw.
      purpose: of the pairs; another purpose draws other pairs.

    Returns:
      int64 [count, 2], or [0, 2] if the group has fewer than two rows.
    """
    if len(rows) < 2:
        return np.zeros((0, 2), np.int64)
    rng = generator(seed, f"similar pairs {purpose}")
    first = rng.integers(0, len(rows), count)
    second = (first + rng.integers(1, len(rows), count)) % len(rows)
    return np.stack([rows[first], rows[second]], axis=1).astype(np.int64)


def at_most(pairs: np.ndarray, count: int, *, seed: int, purpose: str) -> np.ndarray:
    """Keeps all pairs [P, 2], or `count` of them drawn at random without replacement.

    Args:
      pairs: int [P, 2].
      count: pairs to keep.
      seed: of the draw.
      purpose: of the pairs.

    Returns:
      int [min(P, count), 2].
    """
    if len(pairs) <= count:
        return pairs
    chosen = generator(seed, f"pairs {purpose}").choice(len(pairs), count, replace=False)
    return pairs[np.sort(chosen)]


def ranking_loss(
    w: jax.Array, above: jax.Array, alike: jax.Array, *, order_weight: float, similar_weight: float
) -> jax.Array:
    """Computes the loss of a ranking function.

    Args:
      w: [F].
      above: [P, F], x_i - x_j of ordered pairs.
      alike: [Q, F], x_i - x_j of similar pairs.
      order_weight: C of ordered pairs.
      similar_weight: C of similar pairs.

    Returns:
      Scalar: |w|^2 / 2 + order_weight / 2 mean(max(0, 1 - w d)^2) + similar_weight / 2
      mean((w d)^2); a mean over no pairs is 0.

    Source: Parikh and Grauman 2011, "Relative attributes", eq. 3-6 (their soft constraints,
    squared). Differs: C is over means, not sums, so that it does not depend on the number of pairs;
    similar pairs count both ways, as in the paper and unlike its public code.
    """
    short = jnp.maximum(0.0, 1.0 - _times(above, w))
    apart = _times(alike, w)
    return (
        0.5 * jnp.dot(w, w, precision=jax.lax.Precision.HIGHEST)
        + 0.5 * order_weight * jnp.square(short).sum() / max(len(above), 1)
        + 0.5 * similar_weight * jnp.square(apart).sum() / max(len(alike), 1)
    )


def fit_ranking(
    features: np.ndarray,
    ordered: np.ndarray,
    similar: np.ndarray,
    *,
    order_weight: float,
    similar_weight: float,
) -> np.ndarray:
    """Minimises `ranking_loss` by Newton's method with exact line search.

    Args:
      features: [n, F], of about unit deviation.
      ordered: int [P, 2], rows (more, less).
      similar: int [Q, 2], rows that are similar.
      order_weight: C of ordered pairs.
      similar_weight: C of similar pairs.

    Returns:
      float32 [F]: w.

    Raises:
      ValueError: there is no ordered pair.

    Source: Chapelle and Keerthi 2010, "Efficient algorithms for ranking with SVMs", sec. 3.
    """
    if not len(ordered):
        raise ValueError("ranking needs ordered pairs")
    features = np.asarray(features, np.float32)
    above = features[ordered[:, 0]] - features[ordered[:, 1]]
    alike = features[similar[:, 0]] - features[similar[:, 1]]
    w = _newton(above, alike, order_weight / len(above), similar_weight / max(len(alike), 1))
    return np.asarray(w)


@jax.jit
def _newton(above, alike, c_order, c_similar):
    F = above.shape[1]
    curvature = jnp.eye(F) + c_similar * _times(alike.T, alike)

    def gradient(w):
        short = jnp.maximum(0.0, 1.0 - _times(above, w))
        return _times(curvature, w) - c_order * _times(above.T, short)

    def go_on(state):
        step, _, size, start = state
        return (step < _MAX_NEWTON) & (size > _TOLERANCE * start)

    def update(state):
        step, w, _, start = state
        active = (_times(above, w) < 1.0).astype(above.dtype)
        hessian = curvature + c_order * _times(above.T * active, above)
        direction = jax.scipy.linalg.solve(hessian, -gradient(w), assume_a="pos")
        w = w + _line_search(w, direction) * direction
        return step + 1, w, jnp.linalg.norm(gradient(w)), start

    def _line_search(w, direction):
        """Finds the t that minimises the loss of w + t direction: Newton in one dimension."""
        at, along = _times(above, w), _times(above, direction)
        flat = _times(direction, _times(curvature, w))
        bend = _times(direction, _times(curvature, direction))

        def better(_, t):
            short = 1.0 - at - t * along
            active = short > 0
            slope = flat + t * bend - c_order * jnp.where(active, short * along, 0.0).sum()
            curve = bend + c_order * jnp.where(active, along * along, 0.0).sum()
            return t - slope / jnp.maximum(curve, 1e-12)

        return jax.lax.fori_loop(0, _MAX_LINE, better, jnp.zeros(()))

    zero = jnp.zeros(F, above.dtype)
    start = jnp.linalg.norm(gradient(zero))
    return jax.lax.while_loop(go_on, update, (0, zero, start, start))[1]


def _times(a, b):
    # Full precision, also on devices whose default is bfloat16 passes or TF32.
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
