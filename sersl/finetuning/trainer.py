"""Trains the folds of a fine-tuning run, one after the other, with one compiled model."""

import contextlib
import dataclasses
import functools
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from sersl.config.schema import FinetuneConfig
from sersl.corpora.protocols.protocol import Fold
from sersl.data.batch import LabelSizes
from sersl.data.batch_plan import BatchPlan, shortest_trained
from sersl.data.buckets import Bucket, evaluation_buckets
from sersl.data.distortion import make_distorter
from sersl.data.pipeline import damage, training_batches
from sersl.data.sources import CorpusSource, view_shapes
from sersl.data.speed_view import Views
from sersl.eval.answers import ANSWERS, VALIDATION, Answerer, Answers
from sersl.eval.layer_weights import write_layer_weights
from sersl.eval.multi_label import best_thresholds
from sersl.finetuning.best import BestKeeper, Score
from sersl.finetuning.fold_plans import plan_folds
from sersl.finetuning.from_outputs import choose_store, standardize_groups
from sersl.finetuning.frozen import check_frozen, settle_dropout
from sersl.finetuning.fusion.run_views import NO_WEIGHTS, RunViews
from sersl.finetuning.heads_first import FoldStart
from sersl.finetuning.ideas.fold_teacher import FoldTeacher
from sersl.finetuning.ideas.task_shapes import lay_out
from sersl.finetuning.other_labels import collect_other_labels, placed, with_annotators
from sersl.finetuning.shared_params import SharedParams
from sersl.finetuning.targets import Targets
from sersl.finetuning.task import FinetuneTask
from sersl.finetuning.trained_parts import (
    Counts,
    check_weights,
    fitting,
    optimizer_of,
    with_copies,
)
from sersl.parallel.agreement import of_first
from sersl.parallel.distributed import is_first_process
from sersl.parallel.sharding import local_rows
from sersl.runs.checkpoint import Checkpoints
from sersl.runs.initial_weights import InitialWeights
from sersl.runs.output import open_output
from sersl.runs.param_parts import shared_folder
from sersl.runs.startup import sizes, start
from sersl.training.finite import BadUpdates
from sersl.training.loop import Evaluator, Guards, Intervals, Loop
from sersl.training.observe import Progress
from sersl.training.optimizer import table
from sersl.training.program import Program, build_program
from sersl.training.state import TrainState
from sersl.training.step import Layout, abstract_state

SHOWN = ("loss", "category_loss", "dimensions_loss", "category_accuracy")


class Trainer:
    """What all folds share: the model, its compiled steps, the batches of every fold.

    Attributes:
      config: of the run, with an encoder without dropout where it never trains.
      counts: parameters that train, and all.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        sources: list[CorpusSource],
        targets: Targets,
        folds: list[Fold],
        *,
        mesh: Mesh,
        weights: InitialWeights | None,
        view_weights: Mapping[str, InitialWeights] = NO_WEIGHTS,
        say: Callable[[str], None],
    ):
        """Checks the settings and plans the batches of every fold; compiles nothing yet.

        Args:
          config: of the run.
          sources: corpora in order.
          targets: what is learnt.
          folds: of the protocol.
          mesh: the mesh.
          weights: to start every fold from; None starts from scratch.
          view_weights: of the views of `fusion.views` that are encoders, by name.
          say: called with lines for people.

        Raises:
          UserError: a setting is wrong, or a fold has nothing to train on.
        """
        check_weights(config.adaptation, weights)
        indexes = [source.index for source in sources]
        config = with_annotators(config, indexes, targets.view, folds)
        self._other = collect_other_labels(
            config, indexes, targets.view, folds, targets.long_enough
        )
        self._teacher = FoldTeacher(config, sources, targets, mesh=mesh, say=say)
        shortest, average = shortest_trained(config.data), config.views.average
        self._views = Views(sources, config.views, shortest=shortest, average=average)
        self.views = RunViews(config, self._views.sources, view_weights, say=say)
        make, shapes, starts = lay_out(config, targets, self._other.sizes, views=self.views.configs)
        weights = fitting(weights, shapes, targets, say=say)
        check_frozen(starts, shapes, weights)
        self.config = config = settle_dropout(config, starts, weights, say=say)
        self._sources, self._targets, self._mesh = sources, targets, mesh
        copied = None if weights is None else with_copies(weights, config)
        self._weights = self.views.with_weights(copied, config)
        self._say = say
        self._first = is_first_process()
        self._store = choose_store(config, starts, self._views.sources, weights, say)
        self._task = self._make_task(make)
        self._optimizer = optimizer_of(config, self._task, starts)
        self._abstract, notes = abstract_state(self._task, self._optimizer, mesh)
        for note in notes:
            say(f"not sharded: {note}")
        say(table(shapes, self._optimizer))
        self.counts = Counts.of(shapes, starts)
        say(str(self.counts))
        self._plans, self._buckets = self._plan(folds)
        buckets = self._answer_buckets()
        self._answerer = Answerer(
            self._task, buckets=buckets, mesh=mesh, dimensions=targets.dimensions
        )
        self._fold_start = FoldStart.of(
            self._task,
            sources=sources,
            view=targets.view,
            mesh=mesh,
            buckets=buckets,
            heads_task=make(config, stored=True) if config.adaptation.head_steps else None,
            starts=starts,
            rows=min(bucket.rows for bucket in self._buckets),
            views={view.name: view.pooling for view in self.views.configs},
        )
        self._starts = starts
        self._program: Program | None = None

    def _make_task(self, make: Callable[..., FinetuneTask]) -> FinetuneTask:
        """Makes the task, for batches as `_batches` and `_answer` make them."""
        store = self._store
        first_layer = None if store is None else store.num_frozen
        return make(self.config, stored=store is not None, first_layer=first_layer)

    def _plan(self, folds: list[Fold]) -> tuple[dict[str, BatchPlan], tuple[Bucket, ...]]:
        """Plans the training batches: {fold: plan}, and the shapes of all of them."""
        rows = {fold.name: self._views.with_copies(self._train_rows(fold)) for fold in folds}
        # The budget is for activations of a whole encoder, of which kept outputs need none.
        return plan_folds(self.config, self._views, rows, over_budget=self._store is not None)

    def _answer_buckets(self) -> tuple[Bucket, ...]:
        """Chooses the shapes of the batches that are answered."""
        data = self.config.data
        return evaluation_buckets(
            self._views.answered_lengths,
            num_buckets=data.num_buckets,
            seconds_per_batch=2 * data.seconds_per_batch,
            row_multiple=data.row_multiple,
        )

    def open_store(self, *, preempted: Callable[[int], bool]) -> None:
        """Opens kept outputs of frozen encoders and tables of views, see `OutputStore.open`."""
        self._teacher.preempted = preempted
        # Outputs are computed from waveforms, which a source with open outputs does not give.
        sources = self._views.sources
        views = [self.views.open(source, self._say, preempted=preempted) for source in sources]
        if self._store is not None:
            for source in sources:
                source.outputs = self._store.open(source, self._say, preempted=preempted)
        for source, own in zip(sources, views, strict=True):
            source.views = own
        if self._store is not None:
            standardize_groups(sources, self.config)

    def train(
        self,
        fold: Fold,
        folder: Path,
        *,
        title: str,
        score: Score,
        preempted: Callable[[int], bool],
    ) -> None:
        """Trains one fold to its end and writes the answers of its best step on the test side.

        Args:
          fold: one of the run.
          folder: gets metrics.jsonl, checkpoints/, best/, validation.npz and answers.npz.
          title: for people.
          score: of validation answers.
          preempted: given a step, whether to save and leave before it.

        Raises:
          UserError: a checkpoint is wrong, or training diverged.
          Preempted: the state was saved before the last step.
        """
        if self._is_done(folder, title):
            return
        config = self.config
        progress = Progress(title, total=config.train.num_steps, enabled=self._first)
        checkpoints = Checkpoints.of(folder / "checkpoints", config.checkpoint)
        best = Checkpoints(folder / "best", keep_last=1)
        state, start_step = self._start(fold, checkpoints, say=progress.say)
        if self._program is None:
            progress.say(f"model: {sizes(state.params, self._mesh)}")
            self._program = self._build(progress.say)
        keeper = BestKeeper(
            functools.partial(self._answer, rows=fold.validation),
            self._abstract.params,
            best,
            score,
            start_step=start_step,
            shared=self._shared(folder),
        )
        with (
            contextlib.closing(best),
            open_output(
                folder,
                config,
                start_step=start_step,
                checkpoints=checkpoints,
                progress=progress,
                shown=SHOWN,
                first=self._first,
            ) as output,
        ):
            every = config.evaluate_every_steps
            loop = Loop(
                program=dataclasses.replace(self._program, constants=self._constants(fold)),
                output=output,
                intervals=Intervals.of(config.train, config.checkpoint),
                guards=Guards(preempted=preempted, bad_updates=BadUpdates.of(config.train)),
                evaluators=[Evaluator(name="validation", every_steps=every, evaluate=keeper)],
            )
            state = loop.run(state, start_step=start_step, batches=self._batches(fold, start_step))
            for line in damage(self._views.sources):
                progress.say(line)
            self._test(keeper.params(state), fold, folder)
        if self._first:
            shutil.rmtree(folder / "checkpoints")  # the best parameters are kept

    def _is_done(self, folder: Path, title: str) -> bool:
        """Tells whether an earlier start has finished a fold; ends the removal of its states."""
        # As the first process sees it: a file system may show a file to one host before the others.
        if not of_first((folder / ANSWERS).exists()):
            return False
        if self._first:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        self._say(f"{title}: done before")
        return True

    def _shared(self, folder: Path) -> SharedParams:
        return SharedParams(shared_folder(folder), self._starts)

    def _start(
        self, fold: Fold, checkpoints: Checkpoints, *, say: Callable[[str], None]
    ) -> tuple[TrainState, int]:
        """Makes the state that a fold starts from, and counts the updates done."""
        state, start_step = start(
            self._task,
            self._optimizer,
            self._abstract,
            checkpoints=checkpoints,
            keep_last=self.config.checkpoint.keep_last,
            resume_from="",
            weights=self._weights,
            say=say,
        )
        if start_step == 0:
            state = self._fold_start(state, self._train_rows(fold), self._constants(fold), say=say)
        return state, start_step

    def _test(self, params: dict[str, Any], fold: Fold, folder: Path) -> None:
        """Writes the answers of a model on the validation and the test side; the fold is done."""
        answers = self._answer(params, rows=fold.test)
        validation = self._answer(params, rows=fold.validation)
        if self._targets.view.multi:
            answers = dataclasses.replace(answers, thresholds=best_thresholds(validation))
        if self._first:
            write_layer_weights(folder, params)
            if len(validation.rows):
                validation.save(folder / VALIDATION)
            answers.save(folder / ANSWERS)  # the last file

    def _answer(self, params: dict[str, Any], *, rows: np.ndarray) -> Answers:
        """Runs the model on utterances, each once, and with views.average on their copies."""
        return self._answerer(
            params,
            self._views.answered,
            rows,
            self._targets.view,
            truth=self._targets.truth,
            data=self.config.data,
            copies=self._views.answered_copies(rows),
        )

    def _batches(self, fold: Fold, start_step: int) -> Iterator[dict[str, np.ndarray]]:
        return training_batches(
            self._views.sources,
            self._plans[fold.name],
            self._targets.view,
            start_step=start_step,
            num_steps=self.config.train.num_steps - start_step,
            batch_rows=functools.partial(local_rows, self._mesh),
            data=self.config.data,
            dimensions=self._targets.dimensions,
            needs=self._task.needs,
            distorter=make_distorter(self.config, beside=()),
        )

    def _constants(self, fold: Fold) -> dict[str, jax.Array]:
        weights = self._targets.class_weights(self._targets.trainable(fold))
        if not self.config.heads.class_weighting:
            weights = np.ones_like(weights)
        tables = {"class_weights": weights, **self._tables(fold)}
        return placed(tables, self._mesh)

    def _tables(self, fold: Fold | None) -> dict[str, np.ndarray]:
        tables = self._other.constants(fold) | self._teacher.tables(fold)
        return {name: self._views.of_all(table) for name, table in tables.items()}

    def _train_rows(self, fold: Fold) -> np.ndarray:
        rows = self._targets.labelled(self._targets.trainable(fold))
        return self._teacher.rows(fold, self._other.rows(fold, rows))

    def _build(self, say: Callable[[str], None]) -> Program:
        num_categories, count = len(self._targets.view.names), len(self._targets.dimensions)
        layout = Layout(
            mesh=self._mesh,
            buckets=self._buckets,
            needs=self._task.needs,
            labels=LabelSizes(categories=num_categories, dimensions=count, turns=self._task.turns),
            outputs=None if self._store is None else self._store.shape,
            views=view_shapes(self._sources[0]),
            constants={
                "class_weights": np.ones(num_categories, np.float32),
                **self._tables(None),
            },
        )
        return build_program(
            self._task, self._optimizer, self._abstract, layout, train=self.config.train, say=say
        )
