"""Contrast between the utterances of a batch, by view, label or distortion.

All rows of the global batch are used. Under `jax.jit` with rows sharded over a mesh the arrays here
are the global ones, so negatives come from every device, and the loss does not depend on the number
of devices.
"""

import itertools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from sersl.core.errors import UserError
from sersl.objectives.cosine import cosines, unit
from sersl.objectives.mean import Mean
from sersl.objectives.whole_batch import need_whole_batch


def multiview(
    views: Mapping[str, jax.Array], *, identity: jax.Array, temperature: float
) -> tuple[jax.Array, dict[str, Mean]]:
    """Aligns every pair of views of an utterance, in both directions.

    Args:
      views: two or more, name to [B, W].
      identity: int32 [B], see `contrast`.
      temperature: of the cosine similarity.

    Returns:
      (sum over pairs of half the contrast of both directions, metrics: multiview,
      multiview_<a>_<b> and its _accuracy for each pair).

    Raises:
      UserError: fewer than two views, or a batch of one row.

    Source: pairwise contrastive learning (2406.07900).
    """
    if len(views) < 2:
        raise UserError(f"multi-view contrast needs two or more views, not {list(views)}")
    total, metrics = jnp.float32(0.0), {}
    for first, second in itertools.combinations(views, 2):
        a, b = views[first], views[second]
        there, found = contrast(a, b, identity=identity, temperature=temperature)
        back, found_back = contrast(b, a, identity=identity, temperature=temperature)
        total = total + 0.5 * (there + back)
        name = f"multiview_{first}_{second}"
        metrics[name] = found["contrast"] + found_back["contrast"]
        metrics[f"{name}_accuracy"] = found["accuracy"] + found_back["accuracy"]
    counted = jnp.any(jnp.stack([mean.weight > 0 for mean in metrics.values()]))
    return total, {"multiview": Mean.of(total, counted), **metrics}


def contrast(
    queries: jax.Array, keys: jax.Array, *, identity: jax.Array, temperature: float
) -> tuple[jax.Array, dict[str, Mean]]:
    """Identifies each row's key among those of all rows (InfoNCE in the batch).

    Args:
      queries: [B, W].
      keys: [B, W]; row i is the positive of query i.
      identity: int32 [B], equal for crops of the same utterance, which are not negatives of each
        other; negative for padding, which is ignored. A row without negatives is not counted.
      temperature: of the cosine similarity.

    Returns:
      (mean over rows of -log softmax of the positive, metrics: contrast, accuracy).

    Raises:
      UserError: a batch of one row.

    Source: van den Oord et al. 2018 (1807.03748), eq. 4; CLIP (2103.00020) with one direction.
    """
    _check_rows(queries)
    similarity = cosines(queries, keys) / temperature
    negative, counted = _other_utterances(identity)
    own = jnp.eye(len(identity), dtype=bool)
    return _info_nce(similarity, own, negative, counted)


def nt_xent(
    first: jax.Array, second: jax.Array, *, identity: jax.Array, temperature: float
) -> tuple[jax.Array, dict[str, Mean]]:
    """Identifies an utterance's other augmentation among all augmentations of all utterances.

    Args:
      first: [B, W], of one augmentation.
      second: [B, W], of the other.
      identity: int32 [B], as in `contrast`.
      temperature: of the cosine similarity.

    Returns:
      (mean over the 2 B vectors of -log softmax of the positive over the others, metrics:
      contrast, accuracy).

    Raises:
      UserError: a batch of one row.

    Source: SimCLR (2002.05709), eq. 1.
    """
    _check_rows(first)
    both = jnp.concatenate([first, second])
    similarity = cosines(both, both) / temperature
    negative, counted = _other_utterances(jnp.concatenate([identity, identity]))
    num = len(identity)
    positive = jnp.roll(jnp.eye(2 * num, dtype=bool), num, axis=1)
    return _info_nce(similarity, positive, negative, counted)


def supervised_contrast(
    vectors: jax.Array, positive: jax.Array, *, identity: jax.Array, temperature: float
) -> tuple[jax.Array, dict[str, Mean]]:
    """Pulls the rows of positive pairs together, against all other utterances of the batch.

    Args:
      vectors: [B, W].
      positive: bool [B, B], pairs that belong together, see `same_category`. A row without any is
        not counted, but is a negative of others.
      identity: int32 [B]; negative for padding. Rows of one utterance, such as a row and its
        differently masked copies, are neither positives nor negatives of each other.
      temperature: of the cosine similarity.

    Returns:
      (mean over rows of the mean over their positives of -log softmax over the other rows,
      metrics: supervised_contrast, rows_without_positives (share of the rows)).

    Raises:
      UserError: a batch of one row.

    Source: Khosla et al. 2020 (2004.11362), eq. 2 (L_out).
    """
    _check_rows(vectors)
    others, real = _other_utterances(identity)
    similarity = cosines(vectors, vectors) / temperature
    log_total = _log_sum_exp(similarity, others)
    positive = positive & others
    num = positive.sum(1)
    per_pair = jnp.where(positive, log_total[:, None] - similarity, 0.0)
    mean = Mean.of(per_pair.sum(1) / jnp.maximum(num, 1), num > 0)
    return mean.value(empty=0.0), {
        "supervised_contrast": mean,
        "rows_without_positives": Mean.of(num == 0, real),
    }


def same_category(category: jax.Array) -> jax.Array:
    """Returns which pairs of rows have the same category: int [B], -1 none, to bool [B, B]."""
    return (category[:, None] == category[None, :]) & (category >= 0)[:, None]


def close_intensity(intensity: jax.Array, *, tolerance: float) -> jax.Array:
    """Returns which pairs of utterances differ by at most `tolerance` in intensity.

    Intensity is [B] in 0..1; NaN, unknown, is close to none. The result is bool [B, B].
    """
    return jnp.abs(intensity[:, None] - intensity[None, :]) <= tolerance


def utterance_intensity(intensity: jax.Array, valid: jax.Array) -> jax.Array:
    """Averages intensity [B, T], NaN unknown, over real frames, bool [B, T]; NaN if all unknown."""
    known = valid & ~jnp.isnan(intensity)
    num = known.sum(1)
    total = jnp.where(known, intensity, 0.0).sum(1)
    return jnp.where(num > 0, total / jnp.maximum(num, 1), jnp.nan)


def bootstrap(
    predicted: jax.Array, target: jax.Array, *, identity: jax.Array
) -> tuple[jax.Array, dict[str, Mean]]:
    """Predicts the EMA teacher's view of another augmentation, without negatives.

    Args:
      predicted: [B, W], of the student's predictor.
      target: [B, W], of the teacher; no gradient flows into it.
      identity: int32 [B]; negative for padding.

    Returns:
      (mean over rows of 2 - 2 cos(predicted, target), metrics: bootstrap).

    Source: BYOL (2006.07733), eq. 2.
    """
    target = jax.lax.stop_gradient(target)
    cosine = (unit(predicted) * unit(target)).sum(-1)
    mean = Mean.of(2.0 - 2.0 * cosine, identity >= 0)
    return mean.value(empty=0.0), {"bootstrap": mean}


def _info_nce(similarity, positive, negative, counted):
    """Averages -log softmax of the one positive, over it and the negatives, over counted rows."""
    own = jnp.where(positive, similarity, 0.0).sum(1)
    loss = _log_sum_exp(similarity, positive | negative) - own
    counted = counted & negative.any(1)
    best = jnp.where(negative, similarity, -jnp.inf).max(1)
    mean = Mean.of(loss, counted)
    metrics = {"contrast": mean, "accuracy": Mean.of(own > best, counted)}
    return mean.value(empty=0.0), metrics


def _other_utterances(identity: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the pairs of real rows of different utterances, and the real rows."""
    real = identity >= 0
    different = identity[:, None] != identity[None, :]
    return different & real[:, None] & real[None, :], real


def _log_sum_exp(similarity: jax.Array, counted: jax.Array) -> jax.Array:
    """Computes log sum exp over the counted entries of each row; about -1e30 if there are none."""
    # Not -inf: its difference to the largest entry of an empty row would be NaN, as its gradient.
    return jax.nn.logsumexp(jnp.where(counted, similarity, -1e30), axis=1)


def _check_rows(rows: jax.Array) -> None:
    need_whole_batch("contrast between utterances")
    if rows.shape[0] < 2:
        raise UserError(
            "the batch has one row, and contrast between utterances needs two or more: raise "
            "data.seconds_per_batch or lower data.max_seconds"
        )
