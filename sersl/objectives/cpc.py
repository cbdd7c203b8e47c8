"""Contrastive predictive coding: identify the frame k steps later among others."""

import jax
import jax.numpy as jnp
import numpy as np

from sersl.core.errors import UserError, unknown_name
from sersl.objectives.mean import Mean, at_least_float32, average
from sersl.objectives.whole_batch import need_whole_batch
from sersl.parallel.rows import take_rows


def predictive_coding(
    predicted: jax.Array,
    targets: jax.Array,
    *,
    valid: jax.Array,
    weights: jax.Array | None = None,
    pool: jax.Array,
    num_negatives: int,
    key: jax.Array,
) -> tuple[jax.Array, dict[str, Mean]]:
    """Identifies the target k frames later among targets drawn from the row's pool, for k = 1..K.

    The N negatives of a row are used for all its frames and steps; one that is the positive itself
    is left out of the denominator. A frame without a real frame k later, and a row whose pool has
    no other frame, have weight 0.

    Args:
      predicted: [B, T, K, W], W_k c_t: the predictions of frame t for k = 1..K frames later.
      targets: [B, T, W], z_t.
      valid: bool [B, T], real frames, which come first.
      weights: [B, T], weight of the predictions of each frame; None: 1.
      pool: bool [B, B], from which rows the negatives of a row are drawn, see `negative_pool`.
      num_negatives: N.
      key: PRNG key.

    Returns:
      (mean over steps of the weighted mean over frames of -log softmax of the positive, metrics:
      cpc, cpc_accuracy (the positive is above every negative), cpc_step_1, cpc_step_K and
      cpc_rows_alone (fraction of the rows whose negatives are their own frames only)).

    Raises:
      UserError: num_negatives is less than 1.

    Source: CPC (1807.03748), eq. 4; similarity averaged over channels and one draw for all steps
    as CPC_audio. Differs: one draw for all frames of a row, so that scores are a matrix product.
    """
    if num_negatives < 1:
        raise UserError("objectives.cpc.num_negatives is less than 1: set it to 1 or more")
    predicted, targets = at_least_float32(predicted), at_least_float32(targets)
    width, num_frames, num_steps = targets.shape[-1], targets.shape[1], predicted.shape[2]
    drawn = draw_from_pool(valid, pool, num_negatives=num_negatives, key=key)
    negatives = take_rows(targets.reshape(-1, width), drawn)  # [B, N, W]
    scores = jnp.einsum("btkw,bnw->btkn", predicted, negatives) / width
    later = np.arange(num_frames)[:, None] + np.arange(1, num_steps + 1)  # [T, K]
    inside = later < num_frames
    later = np.minimum(later, num_frames - 1)
    positive = (predicted * targets[:, later]).sum(-1) / width  # [B, T, K]
    counted = valid[:, :, None] & inside & valid[:, later]
    own = np.arange(len(valid))[:, None, None] * num_frames + later
    same = drawn[:, None, None, :] == own[..., None]
    counted &= ~same.all(-1)
    scores = jnp.where(same, -jnp.inf, scores)
    joined = jnp.concatenate([positive[..., None], scores], axis=-1)
    losses = jax.nn.logsumexp(joined, axis=-1) - positive
    rows = counted if weights is None else counted * weights[:, :, None]
    means = [Mean.of(losses[..., k], rows[..., k]) for k in range(num_steps)]
    # A step beyond the end of every utterance is left out; it does not count as a loss of 0.
    present = jnp.stack([mean.is_counted() for mean in means])
    loss = average(jnp.stack([mean.value(empty=0.0) for mean in means]), present)
    return loss, {
        "cpc": Mean.of(loss, jnp.any(present)),
        "cpc_accuracy": Mean.of(positive > scores.max(-1), counted),
        "cpc_step_1": means[0],
        f"cpc_step_{num_steps}": means[-1],
        "cpc_rows_alone": Mean.of(pool.sum(1) == 1, valid.any(1)),
    }


def negative_pool(speaker: jax.Array, *, negatives: str) -> jax.Array:
    """Returns from which rows of the batch the negatives of each row are drawn, bool [B, B].

    Args:
      speaker: int [B], -1 unknown.
      negatives: "utterance": the row itself; "speaker": all rows of the same speaker, or the row
        itself if the speaker is unknown.

    Raises:
      UserError: another value of `negatives`, or gradient accumulation with "speaker".
    """
    if negatives not in NEGATIVES:
        raise unknown_name("objectives.cpc.negatives", negatives, NEGATIVES)
    own = jnp.eye(len(speaker), dtype=bool)
    if negatives == "utterance":
        return own
    need_whole_batch(f"objectives.cpc.negatives={negatives!r}")
    return own | ((speaker[:, None] == speaker[None, :]) & (speaker >= 0)[:, None])


NEGATIVES = ("utterance", "speaker")


def draw_from_pool(
    valid: jax.Array, pool: jax.Array, *, num_negatives: int, key: jax.Array
) -> jax.Array:
    """Draws real frames of the rows of each row's pool, uniformly and with replacement.

    Args:
      valid: bool [B, T], real frames, which come first.
      pool: bool [B, B], rows to draw from.
      num_negatives: N.
      key: PRNG key.

    Returns:
      int32 [B, N], b * T + t of the frames; undefined where a pool has no real frame.
    """
    counts = jnp.where(pool, valid.sum(1)[None, :], 0)  # [B, B]
    ends = jnp.cumsum(counts, axis=1)
    total = jnp.maximum(ends[:, -1:], 1)
    uniform = jax.random.uniform(key, (len(valid), num_negatives))
    # A draw just below 1 may round up to the bound.
    draw = jnp.minimum((uniform * total).astype(jnp.int32), total - 1)
    row = jax.vmap(lambda end, at: jnp.searchsorted(end, at, side="right"))(ends, draw)
    row = jnp.minimum(row, len(valid) - 1)
    frame = draw - jnp.take_along_axis(ends - counts, row, axis=1)
    frame = jnp.clip(frame, 0, valid.shape[1] - 1)
    return (row * valid.shape[1] + frame).astype(jnp.int32)
