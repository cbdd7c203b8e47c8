"""Which losses, labels and settings of fine-tuning go together."""

import dataclasses
from collections.abc import Sequence

from sersl.config.schema import CombineConfig, FinetuneConfig
from sersl.core.errors import UserError, unknown_name
from sersl.corpora.protocols.protocol import Fold
from sersl.finetuning.beside import CLASS_TASKS
from sersl.models.pooling.pooling import KINDS
from sersl.objectives.supervision.category_losses import CATEGORY_LOSSES
from sersl.objectives.supervision.dimension_losses import DIMENSION_LOSSES


def check_losses(config: FinetuneConfig, *, multi: bool, stored: bool) -> None:
    """Refuses losses that cannot be computed together.

    Args:
      config: of the run.
      multi: whether several categories of one utterance may apply.
      stored: whether the run trains from kept outputs.

    Raises:
      UserError: naming the settings.
    """
    heads, tasks, domain = config.heads, config.tasks, config.domain
    weights = [f"{name}_weight" for name in (*CLASS_TASKS, "transcript")]
    beside = [
        *(f"tasks.{name}" for name in weights if getattr(tasks, name)),
        *(["tasks.adversary"] if tasks.adversary != "none" else []),
        *(["heads.contrast_weight"] if heads.contrast_weight else []),
        *(["fusion.contrast_weight"] if config.fusion.contrast_weight else []),
        *(["domain.kind"] if domain.kind not in ("none", "pseudo_labels") else []),
    ]
    if multi and heads.category_loss != "cross_entropy":
        raise UserError(
            f"heads.category_loss={heads.category_loss!r} is for one category per utterance, and "
            "several may apply here: set it to 'cross_entropy', or labels.kind to 'single'"
        )
    if multi and domain.kind == "pseudo_labels":
        raise UserError(
            "domain.kind='pseudo_labels' is for one category per utterance, and several may apply "
            "here: choose another domain.kind, or set labels.kind to 'single'"
        )
    combined = config.combine != CombineConfig()
    by_rater = CATEGORY_LOSSES[heads.category_loss].needs == "annotators"
    if combined and (beside or by_rater):
        what = beside[0] if beside else f"heads.category_loss={heads.category_loss!r}"
        raise UserError(
            f"{what} needs the labels of single utterances, and combine mixes utterances: leave "
            "one of them out"
        )
    adaptation = config.adaptation
    if tasks.transcript_weight and (adaptation.frame_share < 1.0 or adaptation.head_steps):
        raise UserError(
            "tasks.transcript_weight needs every frame: set adaptation.frame_share to 1.0 and "
            "adaptation.head_steps to 0"
        )
    if tasks.weighting == "uncertainty" and heads.dimensions_loss == "evidential":
        raise UserError(
            "tasks.weighting='uncertainty' divides by the size of each loss, and heads."
            "dimensions_loss='evidential' may be negative: set tasks.weighting to 'fixed', or "
            "choose another loss"
        )
    if stored and beside and not _learns_in_front(config):
        raise UserError(
            f"{beside[0]} changes nothing here: the encoder is frozen, the pooling has no weights "
            "and heads.kind='linear' has no hidden layer to share: set heads.kind to 'gelu' or "
            "'tanh'"
        )


def _learns_in_front(config: FinetuneConfig) -> bool:
    """Tells whether something trains between a frozen encoder and the output layers."""
    pooling = config.pooling
    pools = KINDS[pooling.kind].weights != "equal" or pooling.layers == "weighted"
    return pools or pooling.projection > 0 or config.heads.kind != "linear"


def settle(config: FinetuneConfig) -> FinetuneConfig:
    """Checks the names of the losses, and sets what follows from them.

    Args:
      config: of the run.

    Returns:
      The config, with labels.soft for a loss of votes.

    Raises:
      UserError: an unknown loss, ordered categories without their order, nothing to average, or
        nuisance corpora that nothing would read.
    """
    heads, labels = config.heads, config.labels
    if config.solver.nuisance_corpora and config.solver.kind != "ridge":
        raise UserError(
            "solver.nuisance_corpora is for heads in closed form: set solver.kind to 'ridge', or "
            "leave it out"
        )
    if config.views.average and not config.views.copies:
        raise UserError(
            "views.average averages over copies at other speeds, and views.speeds has none: set "
            "views.speeds, such as 0.9,1.1, or set views.average to False"
        )
    for setting, name, known in (
        ("heads.category_loss", heads.category_loss, CATEGORY_LOSSES),
        ("heads.dimensions_loss", heads.dimensions_loss, DIMENSION_LOSSES),
    ):
        if name not in known:
            raise unknown_name(setting, name, known)
    if heads.category_loss == "ordinal" and labels.view != "none" and not labels.categories:
        raise UserError(
            "heads.category_loss='ordinal' needs the order of the categories: list them in "
            "labels.categories from lowest to highest"
        )
    if CATEGORY_LOSSES[heads.category_loss].needs == "votes" and labels.view != "none":
        labels = dataclasses.replace(labels, soft=True)
    return dataclasses.replace(config, labels=labels)


def marked(
    config: FinetuneConfig,
    folds: Sequence[Fold],
    *,
    differences: Sequence[str] = (),
    also: Sequence[str] = (),
) -> list[Fold]:
    """Adds to the warnings of folds what makes scores differ from those of others.

    That is what a run takes from the test side beside its labels, and what corpora lack.

    Args:
      config: of the run.
      folds: of the protocol.
      differences: of the corpora from the published ones.
      also: further warnings.

    Returns:
      The folds, whose warnings results.json, the report and the model card repeat.
    """
    used = [f"{text}: do not compare the scores with published ones" for text in differences]
    used += also
    if config.domain.kind != "none":
        used.append(
            f"trained on the audio of the test side, without its labels (domain.kind="
            f"{config.domain.kind!r}): compare it only with runs that do the same"
        )
    if config.domain.normalize != "none":
        used.append(
            f"outputs are standardized per {config.domain.normalize} over all of its utterances, "
            "those of the test side included: this uses information about the test speakers"
        )
    return [
        dataclasses.replace(
            fold, checks={**fold.checks, "warnings": [*fold.checks["warnings"], *used]}
        )
        for fold in folds
    ]
