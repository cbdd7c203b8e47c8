"""The losses beside those of emotion: other labels, contrast, adversaries, distances of domains."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sersl.config.schema import FinetuneConfig
from sersl.models.heads.emotion_output import EmotionOutput
from sersl.models.heads.training_heads import TrainingHeads, view_head
from sersl.objectives.mean import Mean, any_counted
from sersl.objectives.regression import balance
from sersl.objectives.supervised import cross_entropy
from sersl.objectives.supervision import domain_shift
from sersl.objectives.supervision.adversary import reversal_scale, reverse_gradient
from sersl.objectives.supervision.domain_shift import Sides
from sersl.objectives.supervision.supervised_contrast import supervised_contrast
from sersl.objectives.supervision.transcription import transcription

CLASS_TASKS = ("gender", "speaker", "language", "sentiment")  # that tell classes apart


class Term(NamedTuple):
    """One loss of a batch.

    Attributes:
      weight: of the settings.
      loss: scalar.
      metrics: by name; all have weight 0 if no row counted.
    """

    weight: float
    loss: jax.Array
    metrics: dict[str, Mean]


class Rows(NamedTuple):
    """The rows of a batch.

    Attributes:
      category: int32 [B], -1 where there is none or it may not be used.
      sides: labelled rows, and rows of the test side without labels.
      valid: bool [B, T], real frames.
      tables: labels by name, int32 [B] or [B, S], -1 unknown.
    """

    category: jax.Array
    sides: Sides
    valid: jax.Array
    tables: Mapping[str, jax.Array]


def weighted_losses(config: FinetuneConfig, *, categories: bool, dimensions: bool) -> list[str]:
    """Names the losses of a run in the order of their learned weights."""
    tasks = config.tasks
    names = ["category"] * categories + ["dimensions"] * dimensions
    names += [name for name in (*CLASS_TASKS, "transcript") if getattr(tasks, f"{name}_weight")]
    names += ["adversary"] * (tasks.adversary != "none")
    names += ["contrast"] * (config.heads.contrast_weight > 0)
    names += ["view_contrast"] * (config.fusion.contrast_weight > 0)
    names += ["domain"] * (config.domain.kind != "none")
    names += ["teacher"] * bool(config.distill.teacher)
    return names + ["exits"] * (config.distill.exit_weight > 0)


def terms_beside(
    heads: TrainingHeads | None,
    output: EmotionOutput,
    rows: Rows,
    config: FinetuneConfig,
    *,
    progress: jax.Array,
) -> dict[str, Term]:
    """Computes the losses beside those of emotion.

    Args:
      heads: of training; None where no loss needs them.
      output: of the model.
      rows: of the batch.
      config: of the run.
      progress: share of the steps that are done, a scalar.

    Returns:
      Name to term.
    """
    terms: dict[str, Term] = {}
    shared = output.shared
    if shared is None:
        raise ValueError("the output has no shared vectors")
    if heads is not None:
        for name in heads.names:
            if name in CLASS_TASKS:
                weight = getattr(config.tasks, f"{name}_weight")
                terms[name] = _classes(
                    getattr(heads, name)(shared), rows.tables[name], name, weight
                )
        if "transcript" in heads.names:
            terms["transcript"] = _transcript(heads, output, rows, config)
        scale = reversal_scale(progress)
        if "adversary" in heads.names:
            logits = heads.scores("adversary", reverse_gradient(shared, scale))
            weight = config.tasks.adversary_weight
            terms["adversary"] = _classes(logits, rows.tables["adversary"], "adversary", weight)
        if "contrast" in heads.names:
            loss, metrics = supervised_contrast(
                heads.scores("contrast", shared),
                rows.category,
                temperature=config.heads.contrast_temperature,
            )
            terms["contrast"] = Term(config.heads.contrast_weight, loss, metrics)
        if view_head(0) in heads.names:
            terms["view_contrast"] = _across_views(heads, output, rows, config)
    if config.domain.kind != "none":
        terms["domain"] = _domain(heads, output, rows, config, progress)
    return terms


def total_loss(
    terms: Mapping[str, Term], heads: TrainingHeads | None, config: FinetuneConfig
) -> jax.Array:
    """Adds losses by weight, and by what is learned of each where the settings say so.

    Args:
      terms: in the order of `weighted_losses`.
      heads: of training.
      config: of the run.
    """
    if config.tasks.weighting == "fixed" or heads is None:
        total = jnp.float32(0.0)
        for term in terms.values():
            total = total + term.weight * term.loss
        return total
    losses = jnp.stack([term.weight * term.loss for term in terms.values()])
    counted = jnp.stack([any_counted(term.metrics.values()) for term in terms.values()])
    return balance(losses, heads.log_variances[...], counted=counted)


def _classes(logits: jax.Array, label: jax.Array, name: str, weight: float) -> Term:
    loss, found = cross_entropy(logits, label)
    metrics = {
        f"{name}_loss": found["category_loss"],
        f"{name}_accuracy": found["category_accuracy"],
    }
    return Term(weight, loss, metrics)


def _transcript(
    heads: TrainingHeads, output: EmotionOutput, rows: Rows, config: FinetuneConfig
) -> Term:
    if output.states is None:
        raise ValueError("a transcript needs frames")
    logits = heads.scores("transcript", output.states)
    loss, metrics = transcription(logits, rows.valid, rows.tables["transcript"])
    return Term(config.tasks.transcript_weight, loss, metrics)


def _across_views(
    heads: TrainingHeads, output: EmotionOutput, rows: Rows, config: FinetuneConfig
) -> Term:
    """Contrasts the vectors of all views of all rows by category.

    Source: the supervised contrast of MMER (2203.16794, sec. 3.3), with the loss of
    `supervised_contrast`.
    """
    if output.by_view is None or output.views_present is None:
        raise ValueError("the output has no vectors of views")
    vectors = [heads.scores(view_head(view), x) for view, x in enumerate(output.by_view)]
    category = jnp.where(output.views_present, rows.category[:, None], -1)
    loss, metrics = supervised_contrast(
        jnp.stack(vectors, axis=1).reshape(category.size, -1),
        category.reshape(-1),
        temperature=config.heads.contrast_temperature,
    )
    return Term(config.fusion.contrast_weight, loss, {"view_contrast": metrics["contrast"]})


def _domain(
    heads: TrainingHeads | None,
    output: EmotionOutput,
    rows: Rows,
    config: FinetuneConfig,
    progress: jax.Array,
) -> Term:
    domain, shared, sides = config.domain, output.shared, rows.sides
    assert shared is not None
    if domain.kind == "dann" and heads is not None:
        label = jnp.where(sides.target, 1, jnp.where(sides.source, 0, -1))
        logits = heads.scores("domain", reverse_gradient(shared, reversal_scale(progress)))
        return _classes(logits, label, "domain", domain.weight)
    if domain.kind == "mdd" and heads is not None:
        logits = heads.scores("domain", reverse_gradient(shared, reversal_scale(progress)))
        loss, metrics = domain_shift.margin_disparity(
            logits, output.category, sides, margin=domain.margin
        )
    elif domain.kind == "mmd":
        loss, metrics = domain_shift.mean_discrepancy(shared, sides)
    elif domain.kind == "coral":
        loss, metrics = domain_shift.covariance_distance(shared, sides)
    elif domain.kind == "ot":
        loss, metrics = domain_shift.transport_cost(
            shared, sides, entropy=domain.ot_entropy, iterations=domain.ot_iterations
        )
    else:
        begun = progress >= domain.source_share
        target = sides.target & begun
        loss, metrics = domain_shift.information_maximization(
            output.category, target, confidence=domain.confidence
        )
    return Term(domain.weight, loss, metrics)
