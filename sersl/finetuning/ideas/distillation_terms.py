"""The losses against a teacher and against the model's own last layer."""

import jax
import jax.numpy as jnp

from sersl.config.schema import FinetuneConfig
from sersl.finetuning.beside import Rows, Term
from sersl.models.emotion_model import EmotionOutput
from sersl.models.heads.training_heads import EXIT, TrainingHeads
from sersl.objectives.mean import Mean
from sersl.objectives.supervised import cross_entropy
from sersl.objectives.supervision import distillation

TABLES = ("teacher_scores", "teacher_dimensions", "teacher_shared")


def distillation_terms(
    heads: TrainingHeads | None, output: EmotionOutput, rows: Rows, config: FinetuneConfig
) -> dict[str, Term]:
    """Computes the losses of `distill`.

    Args:
      heads: of training; None where no loss needs them.
      output: of the model.
      rows: of the batch; `tables` holds those of the teacher, with NaN where there is none.
      config: of the run.

    Returns:
      Name to term, in the order of `sersl.finetuning.beside.weighted_losses`.
    """
    terms = {}
    if config.distill.teacher:
        terms["teacher"] = _teacher(output, rows, config)
    if heads is not None and heads.exits:
        terms["exits"] = _exits(heads, output, rows, config)
    return terms


def _teacher(output: EmotionOutput, rows: Rows, config: FinetuneConfig) -> Term:
    distill, scores = config.distill, rows.tables["teacher_scores"]
    known = ~jnp.isnan(scores[:, 0])
    metrics: dict[str, Mean] = {}
    if distill.kind == "decoupled":
        parts = distillation.decoupled(
            output.category, scores, rows.category, temperature=distill.temperature
        )
        labelled = known & (rows.category >= 0)
        metrics["teacher_target_loss"] = Mean.of(parts.target, labelled)
        metrics["teacher_other_loss"] = Mean.of(parts.other, labelled)
        weights = [distill.target_weight, distill.other_weight]
    else:
        rowwise = distillation.divergence_from(
            output.category, scores, temperature=distill.temperature
        )
        metrics["teacher_loss"], weights = Mean.of(rowwise, known), [1.0]
    if distill.kind == "cubic":
        assert output.shared is not None
        # Scores are known up to a constant of the row.
        pairs = {
            "scores": (_centred(output.category), _centred(scores)),
            "shared": (output.shared, rows.tables["teacher_shared"]),
        }
        for name, (own, wanted) in pairs.items():
            mean = distillation.relation_distance(own, wanted, known)
            metrics[f"teacher_{name}_relation"] = mean
            weights.append(distill.relation_weight)
    if "teacher_dimensions" in rows.tables:
        rated = rows.tables["teacher_dimensions"]
        squares = jnp.square(output.dimensions - jnp.nan_to_num(rated))
        metrics["teacher_dimensions_loss"] = Mean.of(squares, ~jnp.isnan(rated))
        weights.append(1.0)
    loss = jnp.float32(0.0)
    for weight, mean in zip(weights, metrics.values(), strict=True):
        loss = loss + weight * mean.value(empty=0.0)
    return Term(distill.weight, loss, metrics)


def _centred(scores: jax.Array) -> jax.Array:
    return scores - scores.mean(-1, keepdims=True)


def _exits(heads: TrainingHeads, output: EmotionOutput, rows: Rows, config: FinetuneConfig) -> Term:
    """Trains a head on each inner layer, and pulls its vector to the last layer's.

    (1 - a) cross-entropy + a T^2 KL(last, exit) + h |f - f_last|^2, averaged over the exits.

    Source: Zhang et al. 2019 (1905.08094), eq. 2 to 5; Ren et al. 2022 (2210.14636) for speech
    emotion. Differs: one linear layer on the mean of standardized hidden states as an exit, and
    the mean over exits.
    """
    distill = config.distill
    assert output.inner is not None
    last = jax.lax.stop_gradient(output.inner[-1])
    wanted = jax.lax.stop_gradient(output.category)
    real = rows.valid.any(1)
    loss, metrics = jnp.float32(0.0), {}
    for number, layer in enumerate(heads.exits):
        vector = output.inner[number]
        scores = heads.scores(f"{EXIT}{layer}", vector)
        own, found = cross_entropy(scores, rows.category)
        agreement = Mean.of(
            distillation.divergence_from(scores, wanted, temperature=distill.temperature), real
        )
        distance = Mean.of(jnp.square(vector - last).mean(-1), real)
        share = distill.exit_share
        loss = loss + (1.0 - share) * own + share * agreement.value(empty=0.0)
        loss = loss + distill.exit_hint * distance.value(empty=0.0)
        metrics[f"exit_{layer}_loss"] = found["category_loss"]
        metrics[f"exit_{layer}_accuracy"] = found["category_accuracy"]
    return Term(distill.exit_weight, loss / len(heads.exits), metrics)
