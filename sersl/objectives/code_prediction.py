"""Prediction of the code of a frame, from k-means or from a random projection."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from sersl.objectives.cosine import unit
from sersl.objectives.mean import Mean, any_counted, at_least_float32


def cosine_logits(projected: jax.Array, codewords: jax.Array, *, temperature: float) -> jax.Array:
    """Divides the cosine of frames [B, T, W] and codewords [K, W] by a temperature.

    Returns:
      float32 [B, T, K].

    Source: HuBERT (2106.07447), eq. 3.
    """
    return jnp.einsum("btw,kw->btk", unit(projected), unit(codewords)) / temperature


def code_prediction(
    logits: Mapping[str, jax.Array],
    codes: Mapping[str, jax.Array],
    *,
    weights: jax.Array,
    name: str,
) -> tuple[jax.Array, dict[str, Mean]]:
    """Predicts the code of each frame in every code book by cross-entropy; the books are summed.

    Args:
      logits: code book to [B, T, K of the book].
      codes: code book to int [B, T]; -1 unknown.
      weights: [B, T], weight of each frame, 0 if it was not masked.
      name: prefix of the metrics.

    Returns:
      (sum over books of the weighted mean over frames with a code, metrics: <name>, and of each
      book <name>_<book> and <name>_accuracy_<book>).

    Source: HuBERT (2106.07447), eq. 1 and sec. 2.3 (several code books); P-TAPT (2110.06309).
    """
    total, metrics = jnp.float32(0.0), {}
    for book, scores in logits.items():
        scores, chosen = at_least_float32(scores), codes[book]
        counted = jnp.where(chosen >= 0, weights, 0.0)
        label = jnp.maximum(chosen, 0)
        picked = jnp.take_along_axis(scores, label[..., None], axis=-1)[..., 0]
        mean = Mean.of(jax.nn.logsumexp(scores, axis=-1) - picked, counted)
        total = total + mean.value(empty=0.0)
        metrics[f"{name}_{book}"] = mean
        metrics[f"{name}_accuracy_{book}"] = Mean.of(scores.argmax(-1) == label, counted != 0)
    anything = any_counted(metrics[f"{name}_{book}"] for book in logits)
    return total, {name: Mean.of(total, anything), **metrics}


def random_projection(
    num_features: int, *, num_books: int, num_codes: int, width: int, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Draws the projections and codebooks of BEST-RQ, which are not trained.

    Args:
      num_features: F of the input.
      num_books: number of independent quantizers.
      num_codes: K of each.
      width: W of their codewords.
      key: PRNG key.

    Returns:
      (projections float32 [num_books, F, W], Xavier uniform; codewords float32
      [num_books, K, W] of length 1).

    Source: BEST-RQ (2202.01855), sec. 3.1.
    """
    keys = jax.random.split(key)
    bound = (6.0 / (num_features + width)) ** 0.5
    shape = (num_books, num_features, width)
    projections = jax.random.uniform(keys[0], shape, jnp.float32, -bound, bound)
    codewords = jax.random.normal(keys[1], (num_books, num_codes, width), jnp.float32)
    return projections, unit(codewords)


def random_codes(
    features: jax.Array, projections: jax.Array, codewords: jax.Array, *, valid: jax.Array
) -> jax.Array:
    """Finds the nearest random codeword of each frame's random projection.

    Features are first standardised per channel over the real frames of the utterance, with the
    population standard deviation; otherwise nearly all frames have one of a few codes.

    Args:
      features: [B, T, F].
      projections: [Q, F, W].
      codewords: [Q, K, W] of length 1.
      valid: bool [B, T].

    Returns:
      int32 [B, T, Q], -1 at padding.

    Source: BEST-RQ (2202.01855), eq. 1.
    """
    features = at_least_float32(features)
    weights = valid[..., None].astype(features.dtype)
    num_real = jnp.maximum(weights.sum(1, keepdims=True), 1.0)
    centred = features - (features * weights).sum(1, keepdims=True) / num_real
    variance = (jnp.square(centred) * weights).sum(1, keepdims=True) / num_real
    # A constant channel, as in silence, stays 0.
    standard = centred * jnp.where(variance > 0, jax.lax.rsqrt(jnp.maximum(variance, 1e-8)), 0.0)
    projected = jnp.einsum("btf,qfw->btqw", standard, projections)
    # Of unit codewords the one nearest to the projection's direction has the largest product.
    codes = jnp.einsum("btqw,qkw->btqk", projected, codewords).argmax(-1)
    return jnp.where(valid[..., None], codes, -1).astype(jnp.int32)


def code_usage(codes: jax.Array, *, num_codes: int) -> Mean:
    """Measures the number of codes in use: the perplexity of their distribution over the batch.

    Of a batch in parts it is the mean over the parts, since the sum over all of them would need
    another run of the encoder.

    Args:
      codes: int [B, T, Q]; -1 unknown.
      num_codes: K.

    Returns:
      Mean over books, each in 1..K; of weight 0 without any code.
    """
    books = jnp.broadcast_to(jnp.arange(codes.shape[-1]), codes.shape)
    # Scatter-add, because a one-hot of 8192 codes for each frame would not fit in memory.
    counts = jnp.zeros((codes.shape[-1], num_codes))
    counts = counts.at[books, jnp.where(codes < 0, num_codes, codes)].add(1.0, mode="drop")
    total = counts.sum(-1, keepdims=True)
    shares = counts / jnp.maximum(total, 1.0)
    perplexity = jnp.exp(-jax.scipy.special.xlogy(shares, shares).sum(-1))
    return Mean.of(perplexity, total[:, 0] > 0)
