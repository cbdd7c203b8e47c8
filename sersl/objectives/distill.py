"""Self-distillation: regress the averaged layers of an EMA teacher."""

from typing import Any

import jax
import jax.numpy as jnp

from sersl.config.schema import TeacherConfig
from sersl.objectives.mean import Mean, at_least_float32

_EPSILON = 1e-5  # in the variance of the instance norm (torch.nn.functional.instance_norm)


def teacher_targets(hidden_states: jax.Array, valid: jax.Array, *, top_layers: int) -> jax.Array:
    """Averages the teacher's top layers, each normalised over the real frames of its utterance.

    Args:
      hidden_states: [L + 1, B, T, D] of the teacher, of which index 0 is not a layer.
      valid: bool [B, T].
      top_layers: K; all L layers if there are fewer than K.

    Returns:
      float32 [B, T, D], without gradient, 0 at padding.

    Source: data2vec (2202.03555), sec. 3.3, with the population variance. Differs: outputs of
    layers instead of outputs of their feed-forward blocks before the residual.
    """
    layers = at_least_float32(hidden_states[1:][-top_layers:])
    weights = valid[None, :, :, None].astype(layers.dtype)
    num_real = jnp.maximum(weights.sum(2, keepdims=True), 1.0)
    centred = layers - (layers * weights).sum(2, keepdims=True) / num_real
    variance = (jnp.square(centred) * weights).sum(2, keepdims=True) / num_real
    normalized = centred * jax.lax.rsqrt(variance + _EPSILON) * weights
    return jax.lax.stop_gradient(normalized.mean(0))


def distill(
    predicted: jax.Array,
    target: jax.Array,
    *,
    masked: jax.Array,
    weights: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, Mean]]:
    """Compares predictions with the teacher's representation at masked frames.

    Args:
      predicted: [B, T, D].
      target: [B, T, D], from `teacher_targets`; no gradient flows into it.
      masked: bool [B, T].
      weights: [B, T], weight of each masked frame; None: 1.

    Returns:
      (weighted mean over masked frames of ||predicted - target||^2 / sqrt(D), metrics: distill,
      target_variance and prediction_variance (population variances over masked frames, averaged
      over channels; either tends to 0 in a collapse)).

    Source: data2vec (2202.03555), eq. 3 with beta = 0 and fairseq's scale 1 / sqrt(D).
    """
    predicted = at_least_float32(predicted)
    target = jax.lax.stop_gradient(target)
    per_frame = jnp.square(predicted - target).sum(-1) / target.shape[-1] ** 0.5
    mean = Mean.of(per_frame, masked if weights is None else masked * weights)
    counted = jnp.any(masked)
    return mean.value(empty=0.0), {
        "distill": mean,
        "target_variance": Mean.of(channel_variance(target, masked), counted),
        "prediction_variance": Mean.of(channel_variance(predicted, masked), counted),
    }


def utterance_targets(hidden_states: jax.Array, valid: jax.Array, *, top_layers: int) -> jax.Array:
    """Averages the teacher's top layers over the real frames of the utterance.

    Args:
      hidden_states: [L + 1, B, T, D] of the teacher, of which index 0 is not a layer.
      valid: bool [B, T].
      top_layers: K; all L layers if there are fewer than K.

    Returns:
      float32 [B, D], without gradient, 0 in rows without a real frame.

    Source: emotion2vec (2312.15185), sec. 3.2. Differs: each frame of a layer is standardised over
    its channels. The instance norm of `teacher_targets` is over time, so the mean of every
    utterance would be 0 and could not be learned from.
    """
    layers = at_least_float32(hidden_states[1:][-top_layers:])
    centred = layers - layers.mean(-1, keepdims=True)
    standard = centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + _EPSILON)
    weights = valid[..., None].astype(layers.dtype)
    num_real = jnp.maximum(weights.sum(1), 1.0)
    return jax.lax.stop_gradient((standard.mean(0) * weights).sum(1) / num_real)


def utterance_distill(
    predicted: jax.Array, target: jax.Array, *, rows: jax.Array
) -> tuple[jax.Array, dict[str, Mean]]:
    """Compares the student's vector of an utterance with the teacher's.

    Args:
      predicted: [B, D].
      target: [B, D], from `utterance_targets`; no gradient flows into it.
      rows: bool [B], rows to count: those with a real frame.

    Returns:
      (mean over rows of ||predicted - target||^2 / sqrt(D), metrics: utterance,
      utterance_target_variance and utterance_prediction_variance (population variances over rows,
      averaged over channels; weight 0 in a batch of one row)).

    Source: emotion2vec (2312.15185), eq. 4; scale of data2vec 2.0's cls_loss in fairseq.
    """
    predicted = at_least_float32(predicted)
    target = jax.lax.stop_gradient(target)
    mean = Mean.of(jnp.square(predicted - target).sum(-1) / target.shape[-1] ** 0.5, rows)
    several = rows.sum() > 1
    return mean.value(empty=0.0), {
        "utterance": mean,
        "utterance_target_variance": Mean.of(
            channel_variance(target[:, None], rows[:, None]), several
        ),
        "utterance_prediction_variance": Mean.of(
            channel_variance(predicted[:, None], rows[:, None]), several
        ),
    }


def ema_decay(step: jax.Array, config: TeacherConfig) -> jax.Array:
    """Returns the decay after `step` updates: linear from start to end, then constant."""
    progress = jnp.clip(step / max(config.decay_steps, 1), 0.0, 1.0)
    start, end = config.decay_start, config.decay_end
    return jnp.asarray(start + (end - start) * progress, jnp.float32)


def ema_update(teacher: dict[str, Any], params: dict[str, Any], decay: jax.Array) -> dict[str, Any]:
    """Returns decay * teacher + (1 - decay) * params in float32, of nested dicts of arrays.

    `decay` is a scalar in 0..1.
    """

    def move(old, new):
        # As a difference: with a decay near 1 the sum of two products loses the small step.
        return old + (1.0 - decay) * (new.astype(jnp.float32) - old)

    return jax.tree.map(move, teacher, params)


def channel_variance(x: jax.Array, counted: jax.Array) -> jax.Array:
    """Averages over channels the population variance of each over the counted frames of a batch.

    Args:
      x: [B, T, D].
      counted: bool [B, T]; of a batch in parts, those of the part.

    Returns:
      A float32 scalar without gradient, 0 where nothing counts.
    """
    x = jax.lax.stop_gradient(at_least_float32(x))
    weights = counted[..., None].astype(x.dtype)
    num = jnp.maximum(weights.sum(), 1.0)
    centred = x - (x * weights).sum((0, 1)) / num
    return ((jnp.square(centred) * weights).sum((0, 1)) / num).mean()
