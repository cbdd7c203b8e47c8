"""Which training ideas go together with which settings."""

from collections.abc import Mapping
from typing import Any

from sersl.config.schema import CombineConfig, FinetuneConfig
from sersl.core.errors import UserError
from sersl.finetuning.trained_parts import num_frozen
from sersl.models.heads.training_heads import EXIT
from sersl.objectives.supervision.category_losses import CATEGORY_LOSSES


def check_ideas(config: FinetuneConfig, *, multi: bool, categories: bool) -> None:
    """Refuses training ideas that make no sense here.

    Args:
      config: of the run.
      multi: whether several categories of one utterance may apply.
      categories: whether the run predicts categories.

    Raises:
      UserError: naming the settings.
    """
    distill, pairs = config.distill, config.combine.mixup_pairs
    asked = [
        *(["distill.teacher"] if distill.teacher else []),
        *(["distill.exit_weight"] if distill.exit_weight else []),
        *(["co_teaching.noise"] if config.co_teaching.noise else []),
    ]
    by_category = [*asked, *(["combine.mixup_pairs"] if pairs != "any" else [])]
    by_category += ["domain.kind='mdd'"] if config.domain.kind == "mdd" else []
    for name in by_category:
        if multi or not categories:
            what = "several may apply" if multi else "none is predicted"
            raise UserError(
                f"{name} is for one category per utterance, and {what} here: leave it out, or "
                "change labels.kind or labels.view"
            )
    if distill.labels != "given" and not distill.teacher:
        raise UserError(
            f"distill.labels={distill.labels!r} takes labels from a teacher, and there is none: "
            "give distill.teacher, or set it to 'given'"
        )
    if distill.exit_weight and config.adaptation.head_steps:
        raise UserError(
            "distill.exit_weight reads inner layers, and adaptation.head_steps trains on pooled "
            "outputs alone: set one of them to 0"
        )
    if asked and config.combine != CombineConfig():
        raise UserError(
            f"{asked[0]} needs single utterances, and combine mixes utterances: leave one of them "
            "out"
        )
    by_votes = config.labels.soft or CATEGORY_LOSSES[config.heads.category_loss].needs
    for name, on in (
        ("distill.labels", distill.labels != "given"),
        ("co_teaching.noise", config.co_teaching.noise > 0),
    ):
        if on and by_votes:
            raise UserError(
                f"{name} is for given categories, and this run learns from the raters' votes: "
                f"leave {name} out, or set labels.soft to False and heads.category_loss to "
                "'cross_entropy'"
            )


def check_baseline(config: FinetuneConfig) -> None:
    """Refuses training ideas and averages for a baseline, which has no network to train.

    Raises:
      UserError: naming the settings.
    """
    if config.baseline.kind == "none":
        return
    for name, on in (
        ("distill.teacher", bool(config.distill.teacher)),
        ("distill.exit_weight", config.distill.exit_weight > 0),
        ("co_teaching.noise", config.co_teaching.noise > 0),
        ("enrolment.utterances", config.enrolment.utterances > 0),
        ("views.average", config.views.average),
        ("solver.nuisance_corpora", bool(config.solver.nuisance_corpora)),
    ):
        if on:
            raise UserError(
                f"{name} is for networks, and baseline.kind={config.baseline.kind!r} has none: "
                "leave one of them out"
            )


def exit_sizes(
    config: FinetuneConfig, starts: Mapping[str, Any], *, num_categories: int
) -> dict[str, int]:
    """Lists the heads of inner layers: of those that train, but the last.

    Args:
      config: of the run, with `distill.exit_weight`.
      starts: int per parameter, the step from which it trains.
      num_categories: outputs of each.

    Returns:
      Name of a head to its outputs, for `TrainingHeads`.

    Raises:
      UserError: no inner layer trains, or there is no category to learn.
    """
    frozen = num_frozen(starts, config.encoder.num_layers) or 0
    layers = range(frozen + 1, config.encoder.last_layer)
    if not layers or not num_categories:
        raise UserError(
            "distill.exit_weight needs categories and a layer that trains below the last one: set "
            "it to 0, or let more layers train"
        )
    return {f"{EXIT}{layer}": num_categories for layer in layers}
