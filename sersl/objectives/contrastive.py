"""The masked contrastive loss of wav2vec 2.0: InfoNCE over quantized frames, and diversity."""

import jax
import jax.numpy as jnp

from sersl.config.objectives import ContrastiveConfig
from sersl.core.errors import UserError
from sersl.objectives.cosine import unit
from sersl.objectives.mean import Mean, at_least_float32
from sersl.objectives.whole_batch import over_batch, over_batch_constant


def contrastive(
    context: jax.Array,
    quantized: jax.Array,
    *,
    codes: jax.Array,
    probabilities: jax.Array,
    masked: jax.Array,
    weights: jax.Array | None = None,
    config: ContrastiveConfig,
    key: jax.Array,
) -> tuple[jax.Array, dict[str, Mean]]:
    """Computes the loss of wav2vec 2.0: InfoNCE plus the diversity of the codebook.

    Args:
      context: [B, T, W], projected outputs of the encoder.
      quantized: [B, T, W], the targets.
      codes: int32 [B, T, G], the chosen code of each group.
      probabilities: [B, T, G, V], of the codes, without noise.
      masked: bool [B, T], frames hidden from the encoder.
      weights: [B, T], weight of each masked frame in InfoNCE; None: 1.
      config: temperatures and weights.
      key: PRNG key of the negatives.

    Returns:
      (InfoNCE + diversity_weight * diversity, the metrics of `info_nce` and `diversity`).
    """
    loss, metrics = info_nce(
        context,
        quantized,
        codes=codes,
        masked=masked,
        weights=weights,
        temperature=config.temperature,
        num_negatives=config.num_negatives,
        key=key,
    )
    penalty, usage = diversity(codes, probabilities, masked=masked)
    return loss + config.diversity_weight * penalty, metrics | usage


def info_nce(
    context: jax.Array,
    quantized: jax.Array,
    *,
    codes: jax.Array,
    masked: jax.Array,
    weights: jax.Array | None = None,
    temperature: float,
    num_negatives: int,
    key: jax.Array,
) -> tuple[jax.Array, dict[str, Mean]]:
    """Identifies each masked frame's target among those of other masked frames of its utterance.

    `num_negatives` frames are drawn with replacement from the other masked frames, never from
    padding. A negative with the codes of the positive is left out of the denominator. A row with
    fewer than two masked frames has no negatives: its weight is 0, and it is counted in
    `rows_without_negatives`.

    Args:
      context: [B, T, W].
      quantized: [B, T, W].
      codes: int32 [B, T, G].
      masked: bool [B, T].
      weights: [B, T], weight of each masked frame; None: 1.
      temperature: of the cosine similarity.
      num_negatives: K.
      key: PRNG key.

    Returns:
      (weighted mean over masked frames of -log softmax of the positive, metrics: contrastive,
      contrastive_accuracy (the positive is above every negative), duplicate_negatives (fraction of
      the draws left out), rows_without_negatives (fraction of the rows)).

    Raises:
      UserError: num_negatives is less than 1.

    Source: wav2vec 2.0 (2006.11477), eq. 3; draws as fairseq's `sample_negatives`.
    """
    if num_negatives < 1:
        raise UserError("contrastive.num_negatives is less than 1: set it to 1 or more")
    # All pairs of an utterance in one product [B, T, T], far smaller than K targets per frame.
    similarity = jnp.einsum("btw,bsw->bts", unit(context), unit(quantized)) / temperature
    drawn = draw_negatives(masked, num_negatives=num_negatives, key=key)
    same = jnp.all(codes[:, :, None] == codes[:, None, :], axis=-1)
    positive = jnp.diagonal(similarity, axis1=1, axis2=2)
    negatives = jnp.take_along_axis(similarity, drawn, axis=2)
    duplicate = jnp.take_along_axis(same, drawn, axis=2)
    negatives = jnp.where(duplicate, -jnp.inf, negatives)
    best = jnp.maximum(positive, negatives.max(-1))
    shifted = jnp.exp(negatives - jax.lax.stop_gradient(best)[..., None]).sum(-1)
    # The largest is subtracted, so that the sum is between 1 and K + 1.
    best = jax.lax.stop_gradient(best)
    loss = best + jnp.log(jnp.exp(positive - best) + shifted) - positive
    row_counts = masked.sum(1) >= 2
    counted = (masked & row_counts[:, None]).astype(jnp.float32)
    weights = counted if weights is None else counted * weights
    # Strictly above all negatives, and there is one: a collapsed model has accuracy 0, not 1.
    correct = (positive > negatives.max(-1)) & ~duplicate.all(-1)
    metrics = {
        "contrastive": Mean.of(loss, weights),
        "contrastive_accuracy": Mean.of(correct, counted),
        "duplicate_negatives": Mean.of(duplicate.mean(-1), counted),
        "rows_without_negatives": Mean.of(~row_counts),
    }
    return metrics["contrastive"].value(empty=0.0), metrics


def draw_negatives(masked: jax.Array, *, num_negatives: int, key: jax.Array) -> jax.Array:
    """Draws other masked frames of the same row, uniformly and with replacement.

    Args:
      masked: bool [B, T].
      num_negatives: K.
      key: PRNG key.

    Returns:
      int32 [B, T, K], indices of frames; undefined at frames that are not masked and in rows with
      fewer than two masked frames.
    """
    num_rows, num_frames = masked.shape
    others = jnp.maximum(masked.sum(1) - 1, 1)[:, None, None]
    uniform = jax.random.uniform(key, (num_rows, num_frames, num_negatives))
    # A draw just below 1 may round up to the bound.
    draw = jnp.minimum((uniform * others).astype(jnp.int32), others - 1)
    own = (jnp.cumsum(masked, axis=1) - 1)[..., None]
    draw = draw + (draw >= own)  # skips the frame itself
    # The draw-th masked frame of the row, with masked frames sorted to the front in order.
    order = jnp.argsort(~masked, axis=1, stable=True).astype(jnp.int32)
    return jax.vmap(lambda frames, at: frames[at])(order, draw)


def diversity(
    codes: jax.Array, probabilities: jax.Array, *, masked: jax.Array
) -> tuple[jax.Array, dict[str, Mean]]:
    """Penalises a codebook of which few entries are used over the masked frames of the batch.

    Args:
      codes: int32 [B, T, G].
      probabilities: [B, T, G, V].
      masked: bool [B, T].

    Returns:
      (1 - mean over groups of exp(entropy of the averaged probabilities) / V, in 0..1; metrics:
      diversity, probability_perplexity (codes in use per group, of the averaged probabilities),
      code_perplexity (the same of the chosen codes), both in 1..V).

    Source: wav2vec 2.0, eq. 4, in the form of fairseq's `prob_perplexity` penalty.
    """
    num_codes = probabilities.shape[-1]
    weights = masked.astype(jnp.float32)
    num_all = over_batch_constant(weights.sum())
    num_masked = jnp.maximum(num_all, 1.0)
    average = over_batch(jnp.einsum("bt,btgv->gv", weights, probabilities)) / num_masked
    chosen = jax.nn.one_hot(codes, num_codes, dtype=jnp.float32)
    usage = over_batch_constant(jnp.einsum("bt,btgv->gv", weights, chosen)) / num_masked
    soft, hard = _perplexity(average), _perplexity(usage)
    counted = (num_all > 0).astype(jnp.float32)
    penalty = counted * (1.0 - soft.mean() / num_codes)
    return penalty, {
        "diversity": Mean.of(penalty, counted),
        "probability_perplexity": Mean.of(soft.mean(), counted),
        "code_perplexity": Mean.of(hard.mean(), counted),
    }


def feature_penalty(features: jax.Array, *, valid: jax.Array) -> tuple[jax.Array, dict[str, Mean]]:
    """Penalises the mean square of a waveform frontend's features.

    Args:
      features: [B, T, F].
      valid: bool [B, T].

    Returns:
      (mean over channels and real frames, metrics: penalty).

    Source: fairseq's wav2vec2.py, features_pen; its mean runs over padding too.
    """
    mean = Mean.of(jnp.square(at_least_float32(features)), valid[..., None])
    return mean.value(empty=0.0), {"penalty": mean}


def _perplexity(distribution: jax.Array) -> jax.Array:
    """exp(entropy) over the last dimension; 0 log 0 = 0."""
    return jnp.exp(-jax.scipy.special.xlogy(distribution, distribution + 1e-7).sum(-1))
