"""Distillation from frozen teachers: regress layers of one or several other encoders."""

import functools

import jax
import jax.numpy as jnp

from sersl.core.errors import UserError
from sersl.objectives.cosine import unit
from sersl.objectives.mean import Mean, at_least_float32
from sersl.objectives.regression import regression


def check_frames(student: int, teacher: int, *, name: str) -> None:
    """Checks that student and teacher have the same number of frames for one input.

    Raises:
      UserError: the numbers differ; the message has the teacher's name.
    """
    if student != teacher:
        raise UserError(
            f"teacher {name!r} has {teacher} frames where the student has {student}: choose a "
            "teacher with 50 frames per second, such as wav2vec 2.0, HuBERT, WavLM or a model of "
            "sersl"
        )


def layer_regression(
    predicted: jax.Array,
    target: jax.Array,
    *,
    weights: jax.Array,
    cosine_weight: float,
    name: str,
) -> tuple[jax.Array, dict[str, Mean]]:
    """Compares predicted frames with a layer of a teacher by L1 distance and by cosine.

    Args:
      predicted: [B, T, D].
      target: [B, T, D]; no gradient flows into it.
      weights: [B, T], weight of each frame, 0 at padding; bool counts as 0 and 1.
      cosine_weight: of -log sigmoid(cosine).
      name: of the metrics.

    Returns:
      (mean over frames of mean |error| - cosine_weight log sigmoid(cos), metrics: <name>_l1,
      <name>_cosine).

    Source: DistilHuBERT (2110.01900), eq. 1, there cosine_weight = 1.
    """
    predicted = at_least_float32(predicted)
    target = jax.lax.stop_gradient(at_least_float32(target))
    error = jnp.abs(predicted - target).mean(-1)
    cosine = (unit(predicted) * unit(target)).sum(-1)
    mean = Mean.of(error - cosine_weight * jax.nn.log_sigmoid(cosine), weights)
    return mean.value(empty=0.0), {
        f"{name}_l1": Mean.of(error, weights),
        f"{name}_cosine": Mean.of(cosine, weights),
    }


def hierarchical(
    low: jax.Array,
    high: jax.Array,
    cross: jax.Array,
    *,
    middle: jax.Array,
    last: jax.Array,
    masked_low: jax.Array,
    masked_high: jax.Array,
    valid: jax.Array,
    shares: tuple[float, float, float],
) -> tuple[jax.Array, dict[str, Mean]]:
    """Computes Vesper's loss: hierarchical, and across layers.

    Args:
      low: [B, T, D] from the student's middle layer, compared with `middle` at short spans masked
        from the input.
      high: [B, T, D] from its last layer, compared with `last` at long spans masked from its upper
        half.
      cross: [B, T, D] from its last layer, compared with `middle` at every real frame.
      middle: [B, T, D], the teacher's middle layer.
      last: [B, T, D], its last.
      masked_low: bool [B, T].
      masked_high: bool [B, T].
      valid: bool [B, T].
      shares: weights of low, high and cross; 1, 0.1, 1 in the source.

    Returns:
      (weighted sum of the three mean squared errors, metrics: vesper_low, vesper_high,
      vesper_cross).

    Source: Vesper (2307.10757), sec. 3.3. Differs from its code: padding does not count.
    """
    compare = functools.partial(regression, loss="squared")
    parts = (
        compare(low, middle, weights=masked_low & valid, name="vesper_low"),
        compare(high, last, weights=masked_high & valid, name="vesper_high"),
        compare(cross, middle, weights=valid, name="vesper_cross"),
    )
    total = functools.reduce(
        jnp.add, [share * loss for share, (loss, _) in zip(shares, parts, strict=True)]
    )
    return total, {name: mean for _, found in parts for name, mean in found.items()}
