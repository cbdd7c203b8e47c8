"""Trains heads that read the context of a dialogue, from kept outputs of a frozen encoder."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh

from sersl.config.auxiliary import DomainConfig, TasksConfig
from sersl.config.fusion import FusionConfig
from sersl.config.schema import CombineConfig, FinetuneConfig
from sersl.config.solver import FinetuneViewsConfig, SolverConfig
from sersl.config.training_ideas import CoTeachingConfig, DistillConfig, EnrolmentConfig
from sersl.core.errors import UserError
from sersl.corpora.dialogues import Dialogues, read_dialogues
from sersl.corpora.protocols.by_dialogue import keep_dialogues
from sersl.corpora.protocols.protocol import Fold
from sersl.data.batch_plan import BatchPlan
from sersl.data.buckets import Bucket
from sersl.data.dialogue_batches import ROW_SAMPLES, DialogueBatches
from sersl.data.sources import CorpusSource
from sersl.eval.answers import Answers
from sersl.finetuning.baselines.baseline_trainer import NONE
from sersl.finetuning.fusion.run_views import NO_WEIGHTS
from sersl.finetuning.targets import Targets
from sersl.finetuning.task import FinetuneTask
from sersl.finetuning.trainer import Trainer
from sersl.parallel.sharding import local_rows
from sersl.runs.initial_weights import InitialWeights


class ConversationTrainer(Trainer):
    """A `Trainer` whose batches are whole dialogues."""

    def __init__(
        self,
        config: FinetuneConfig,
        sources: list[CorpusSource],
        targets: Targets,
        folds: list[Fold],
        *,
        mesh: Mesh,
        weights: InitialWeights | None,
        say: Callable[[str], None],
        view_weights: Mapping[str, InitialWeights] = NO_WEIGHTS,
    ):
        """Checks the settings and reads the dialogues; see `Trainer` for the arguments.

        Raises:
          UserError: a setting does not go with dialogues, or the outputs are not kept.
        """
        self._dialogues = read_dialogues([source.index for source in sources])
        for note in self._dialogues.notes:
            say(note)
        self._slots = slots_of(self._dialogues, config, multiple=mesh.size)
        super().__init__(
            config,
            sources,
            targets,
            folds,
            mesh=mesh,
            weights=weights,
            view_weights=view_weights,
            say=say,
        )
        counts = [len(own) for own in self._dialogues.rows]
        say(f"{len(counts)} dialogues of {min(counts)} to {max(counts)} turns")

    def _make_task(self, make: Callable[..., FinetuneTask]) -> FinetuneTask:
        store = self._store
        if store is None or store.num_frozen is not None or not store.shape.vectors:
            raise UserError(
                f"conversation.kind={self.config.conversation.kind!r} needs the kept vectors of a "
                "frozen encoder: use configs/finetune/conversation.py with init_from, and set "
                "pooling.kind to 'statistics', 'mean' or 'max'"
            )
        return super()._make_task(functools.partial(make, turns=self._slots))

    def _plan(self, folds: list[Fold]) -> tuple[dict[str, BatchPlan], tuple[Bucket, ...]]:
        # Dialogues are drawn by seed and step, without a plan.
        return {}, self._answer_buckets()

    def _answer_buckets(self) -> tuple[Bucket, ...]:
        rows = self.config.conversation.dialogues_per_batch * self._slots
        return (Bucket(num_samples=ROW_SAMPLES, rows=rows),)

    def _answer(self, params: dict[str, Any], *, rows: np.ndarray) -> Answers:
        batches = self._dialogue_batches().of(rows, own_rows=self._own_rows())
        return self._answerer.of_batches(
            params, batches, rows, self._targets.view, truth=self._targets.truth
        )

    def _batches(self, fold: Fold, start_step: int) -> Iterator[dict[str, np.ndarray]]:
        return self._dialogue_batches().train(
            self._train_rows(fold),
            seed=self.config.train.seed,
            start_step=start_step,
            num_steps=self.config.train.num_steps - start_step,
            own_rows=self._own_rows(),
        )

    def _dialogue_batches(self) -> DialogueBatches:
        return DialogueBatches(
            self._sources,
            self._dialogues,
            self._targets.view,
            num_dialogues=self.config.conversation.dialogues_per_batch,
            slots=self._slots,
            dimensions=self._targets.dimensions,
            needs=self._task.needs,
        )

    def _own_rows(self) -> np.ndarray:
        return np.asarray(local_rows(self._mesh, self._buckets[0].rows))


def slots_of(dialogues: Dialogues, config: FinetuneConfig, *, multiple: int) -> int:
    """Counts the slots that hold the longest dialogue, a multiple of the devices.

    Raises:
      UserError: a dialogue has more than `conversation.most_turns` turns.
    """
    most = config.conversation.most_turns
    if dialogues.longest > most:
        name = dialogues.names[int(np.argmax([len(rows) for rows in dialogues.rows]))]
        raise UserError(
            f"{name} has {dialogues.longest} turns, more than conversation.most_turns={most}: "
            "raise it, or give parts of the dialogue names of their own"
        )
    return -(-dialogues.longest // multiple) * multiple


def whole_dialogues(
    config: FinetuneConfig, sources: list[CorpusSource], folds: list[Fold]
) -> list[Fold]:
    """Keeps dialogues on one side of each fold, where the run reads dialogues.

    Raises:
      UserError: a setting does not go with dialogues, or a fold divides one.
    """
    if config.conversation.kind == "none":
        return folds
    check_conversation(config)
    indexes = [source.index for source in sources]
    return keep_dialogues(
        folds,
        read_dialogues(indexes),
        indexes,
        validation_fraction=config.protocol.validation_fraction,
        seed=config.train.seed,
        allow_speaker_overlap=config.protocol.allow_speaker_overlap,
    )


def check_conversation(config: FinetuneConfig) -> None:
    """Refuses settings that do not go with dialogues.

    Raises:
      UserError: naming the setting.
    """
    heads = config.heads
    of_raters = heads.category_loss in ("annotators", "listeners")
    for name, value, plain in (
        ("baseline.kind", config.baseline.kind, NONE),
        ("solver", config.solver, SolverConfig()),
        ("views", config.views, FinetuneViewsConfig()),
        ("fusion", config.fusion, FusionConfig()),
        ("combine", config.combine, CombineConfig()),
        ("tasks", config.tasks, TasksConfig()),
        ("domain.kind", config.domain.kind, DomainConfig().kind),
        ("distill", config.distill, DistillConfig()),
        ("co_teaching", config.co_teaching, CoTeachingConfig()),
        ("enrolment", config.enrolment, EnrolmentConfig()),
        ("heads.contrast_weight", heads.contrast_weight, 0.0),
        ("heads.category_loss", of_raters, False),
        ("pooling.network.kind", config.pooling.network.kind, "none"),
        ("train.accumulate_steps", config.train.accumulate_steps, 1),
    ):
        if value != plain:
            raise UserError(
                f"conversation.kind={config.conversation.kind!r} reads the kept vectors of whole "
                f"dialogues, which does not go with {name}: leave it at its default, or set "
                "conversation.kind to 'none'"
            )
