"""Language supervision: contrast of audio and descriptions, with soft targets."""

import jax
import jax.numpy as jnp

from sersl.core.errors import UserError
from sersl.objectives.cosine import cosines
from sersl.objectives.mean import Mean, at_least_float32
from sersl.objectives.whole_batch import need_whole_batch


def soft_contrast(
    audio: jax.Array,
    text: jax.Array,
    targets: jax.Array,
    *,
    log_scale: jax.Array,
    counted: jax.Array,
) -> tuple[jax.Array, dict[str, Mean]]:
    """Compares the similarity of audio and texts with the agreement of their descriptions.

    Args:
      audio: [B, W], of any length.
      text: [B, W], the description of each row.
      targets: [B, B] from 0 to 1, symmetric, how well description j fits row i; normalised here
        to sum to 1 over the counted columns.
      log_scale: scalar, learned; cosines are multiplied by its exponential, at most 100.
      counted: bool [B], rows with a description.

    Returns:
      (half the mean over rows of KL(targets, softmax of the row) of audio to text and of text to
      audio, metrics: language, language_accuracy (no text fits better than the most likely one)).

    Raises:
      UserError: a batch of one row.

    Source: GEmo-CLAP (2306.07848), sec. 2.2; the scale as in CLIP (2103.00020), sec. 2.3.
    """
    need_whole_batch("objectives.language")
    if audio.shape[0] < 2:
        raise UserError(
            "the batch has one row, and language supervision compares rows: raise "
            "data.seconds_per_batch or lower data.max_seconds"
        )
    scale = jnp.exp(jnp.minimum(at_least_float32(log_scale), jnp.log(100.0)))
    logits = scale * cosines(audio, text)
    both = counted[:, None] & counted[None, :]
    there, right = _divergence(logits, targets, both)
    back, right_back = _divergence(logits.T, targets.T, both)
    mean = Mean.of(0.5 * (there + back), counted)
    return mean.value(empty=0.0), {
        "language": mean,
        "language_accuracy": Mean.of(0.5 * (right + right_back), counted),
    }


def label_targets(labels: jax.Array) -> jax.Array:
    """Returns which rows share a label: int [B], -1 unknown, to float32 [B, B] of 0 and 1.

    A row with an unknown label fits its own description only.
    """
    same = (labels[:, None] == labels[None, :]) & (labels >= 0)[:, None]
    return (same | jnp.eye(len(labels), dtype=bool)).astype(jnp.float32)


def _divergence(logits, targets, counted):
    """Returns the KL per row over the counted columns, and whether the most likely fits best."""
    targets = jnp.where(counted, targets, 0.0)
    targets = targets / jnp.maximum(targets.sum(1, keepdims=True), 1e-12)
    logits = jnp.where(counted, logits, -1e30)
    log_probabilities = jax.nn.log_softmax(logits)
    # 0 log 0 = 0; columns that do not count are not multiplied with their log-probability.
    entropy = jax.scipy.special.xlogy(targets, targets).sum(1)
    cross = jnp.where(targets > 0, targets * log_probabilities, 0.0).sum(1)
    chosen = jnp.take_along_axis(targets, logits.argmax(1)[:, None], axis=1)[:, 0]
    return entropy - cross, (chosen >= targets.max(1)).astype(jnp.float32)
