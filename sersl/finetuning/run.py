"""A fine-tuning run: every fold of a protocol, then one model for release."""

import contextlib
import dataclasses
import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from sersl.audio.augment import check_distortion
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.core.files import write_json
from sersl.corpora.labels import DIMENSIONS, LabelView
from sersl.corpora.protocols.protocol import Fold
from sersl.data.batch_plan import BatchPlan, make_plan
from sersl.data.buckets import evaluation_buckets
from sersl.data.distortion import make_distorter
from sersl.data.pipeline import damage, training_batches
from sersl.data.references import split_rows
from sersl.data.sources import CorpusSource
from sersl.eval.answers import Answerer, Answers
from sersl.finetuning.best import BestKeeper, Score
from sersl.finetuning.folds import (
    choose_folds,
    choose_view,
    describe_labels,
    find_votes,
    has_dimensions,
    warnings,
    write_folds,
)
from sersl.finetuning.task import FinetuneTask
from sersl.parallel.agreement import of_first
from sersl.parallel.distributed import is_first_process
from sersl.parallel.mesh import describe, make_mesh
from sersl.parallel.sharding import local_rows
from sersl.runs.checkpoint import Checkpoints
from sersl.runs.heard import ORIGIN, gather_origin
from sersl.runs.initial_weights import InitialWeights, with_sizes
from sersl.runs.inputs import open_sources
from sersl.runs.lock import only_run
from sersl.runs.origin import check_origin
from sersl.runs.output import open_output
from sersl.runs.record import fingerprints, record_start
from sersl.runs.startup import open_workdir, sizes, start
from sersl.training.finite import BadUpdates
from sersl.training.loop import Evaluator, Guards, Intervals, Loop
from sersl.training.observe import Progress
from sersl.training.optimizer import by_pattern, make_optimizer, table
from sersl.training.program import Program, build_program
from sersl.training.step import Layout, abstract_state, param_shapes

SHOWN = ("loss", "category_loss", "dimensions_loss", "category_accuracy")


def finetune(
    config: FinetuneConfig,
    workdir: str | Path,
    *,
    score: Score,
    preempted: Callable[[int], bool],
    weights: InitialWeights | None = None,
    devices=None,
) -> None:
    """Trains and tests every fold of the protocol, or goes on where it stopped.

    Args:
      config: the run.
      workdir: gets config.json, corpora.json, folds.json and, per fold, `folds/<fold>/` with
        metrics.jsonl, checkpoints/, best/ (parameters of the step best on validation speakers)
        and answers.npz (what the best step says of the test side).
      score: of validation answers.
      preempted: says before each step whether to save and leave.
      weights: to start every fold from; None starts from scratch.
      devices: for the mesh; all of them when None.

    Raises:
      UserError: a setting, a corpus or a checkpoint is wrong, or training diverged.
      Preempted: the state was saved before the last step.
    """
    if weights is not None:
        config = with_sizes(config, weights)
    mesh = make_mesh(config.mesh, devices)
    sources = open_sources(config.data)
    view = choose_view(config.labels.view, [source.index for source in sources])
    if config.labels.dimensions and not has_dimensions(sources):
        config = dataclasses.replace(
            config, labels=dataclasses.replace(config.labels, dimensions=False)
        )
    folds = choose_folds(config, sources, view)
    if weights is not None:
        allow = config.protocol.allow_speaker_overlap
        folds = check_origin(folds, sources, weights, allow=allow)
    first = is_first_process()
    workdir = Path(workdir).absolute()
    progress = Progress("finetune", total=len(folds), enabled=first)
    progress.say(f"mesh: {describe(mesh)}, processes: {jax.process_count()}")
    progress.say(
        f"categories: {', '.join(view.names) or 'none'}; dimensions: "
        f"{', '.join(DIMENSIONS) if config.labels.dimensions else 'none'}"
    )
    with jax.set_mesh(mesh), contextlib.ExitStack() as held:
        run = _Run(config, workdir, sources, view, mesh, progress.say)
        # Only now, when the settings are known to make a run.
        held.enter_context(only_run(workdir, first=first))
        origin = gather_origin(config, sources, weights=weights)
        data = fingerprints(sources, origin)
        open_workdir(workdir, config, data=data, first=first)
        if first:
            write_folds(workdir, folds, config, sources, view)
            write_json(workdir / ORIGIN, origin)
            record_start(workdir, start_step=0, mesh=mesh, data=data)
        for line in describe_labels(sources, view) + warnings(folds):
            progress.say(line)
        for number, fold in enumerate(folds, start=1):
            run.train(fold, title=f"fold {fold.name} ({number}/{len(folds)})", weights=weights,
                      score=score, preempted=preempted)  # fmt: skip


def check_settings(config: FinetuneConfig) -> None:
    """Looks at what can be refused before any audio is read or weights are loaded.

    Args:
      config: of the run.

    Raises:
      UserError: the mesh does not divide the devices, or the distortions make no sense.
    """
    make_mesh(config.mesh)
    check_distortion(config.distortion, keep_time=False)


class _Run:
    """What all folds share: the model, its compiled steps, and where things are."""

    def __init__(
        self,
        config: FinetuneConfig,
        workdir: Path,
        sources: list[CorpusSource],
        view: LabelView,
        mesh: Mesh,
        say: Callable[[str], None],
    ):
        self.config, self.workdir, self.sources = config, workdir, sources
        self.view, self.mesh, self.say = view, mesh, say
        self.first = is_first_process()
        self.sizes = [len(source) for source in sources]
        self.category = np.concatenate(
            [view.indices(source.index.column("category")) for source in sources]
        )
        # Utterances without a category, but with votes, are trained on as well.
        self.voted = np.zeros(len(self.category), bool)
        if config.labels.soft:
            self.voted = find_votes(sources, view)
        self.dimensions = np.stack(
            [np.concatenate([s.index.column(name) for s in sources]) for name in DIMENSIONS], axis=1
        )
        self.task = FinetuneTask(config, num_categories=len(view.names))
        shapes = param_shapes(self.task)
        self.starts = by_pattern(config.unfreeze, shapes, setting="unfreeze")
        self.optimizer = make_optimizer(
            config.optimizer,
            shapes,
            num_steps=config.train.num_steps,
            starts=self.starts,
            scales=jax.tree_util.tree_map_with_path(
                lambda path, _: (
                    config.encoder_learning_rate_scale if path[0].key == "encoder" else 1.0
                ),
                shapes,
            ),
        )
        self.abstract, notes = abstract_state(self.task, self.optimizer, mesh)
        for note in notes:
            say(f"not sharded: {note}")
        lengths = np.concatenate([source.num_samples for source in sources])
        # One choice of buckets for all folds, so that one compiled step serves them all.
        self.buckets = make_plan(
            [source.num_samples for source in sources], data=config.data, seed=config.train.seed
        ).buckets
        self.answerer = Answerer(
            self.task,
            buckets=evaluation_buckets(
                lengths,
                num_buckets=config.data.num_buckets,
                seconds_per_batch=2 * config.data.seconds_per_batch,
                row_multiple=config.data.row_multiple,
            ),
            mesh=mesh,
        )
        self._program: Program | None = None
        decay = by_pattern(config.optimizer.decay, shapes, setting="optimizer.decay")
        say(table(shapes, decay, self.starts))

    def train(self, fold: Fold, *, title: str, weights, score: Score, preempted) -> None:
        """Trains one fold to its end and writes what its best step says of the test side."""
        folder = self.workdir / "folds" / fold.name
        # As the first process sees it: a file system may show a file to one host before the others.
        if of_first((folder / "answers.npz").exists()):
            self.say(f"{title}: done before")
            return
        progress = Progress(title, total=self.config.train.num_steps, enabled=self.first)
        checkpoints = Checkpoints.of(folder / "checkpoints", self.config.checkpoint)
        best = Checkpoints(folder / "best", keep_last=1)
        state, start_step = start(
            self.task,
            self.optimizer,
            self.abstract,
            checkpoints=checkpoints,
            keep_last=self.config.checkpoint.keep_last,
            resume_from="",
            weights=weights,
            say=progress.say,
        )
        if self._program is None:
            progress.say(f"model: {sizes(state.params, self.mesh)}")
            self._program = self._build(progress.say)
        keeper = BestKeeper(
            functools.partial(self.answer, rows=fold.validation),
            self.abstract.params,
            best,
            score,
            start_step=start_step,
        )
        with (
            contextlib.closing(best),
            open_output(
                folder,
                self.config,
                start_step=start_step,
                checkpoints=checkpoints,
                progress=progress,
                shown=SHOWN,
                first=self.first,
            ) as output,
        ):
            loop = Loop(
                program=dataclasses.replace(self._program, constants=self._constants(fold)),
                output=output,
                intervals=Intervals.of(self.config.train, self.config.checkpoint),
                guards=Guards(preempted=preempted, bad_updates=BadUpdates.of(self.config.train)),
                evaluators=[
                    Evaluator(
                        name="validation",
                        every_steps=self.config.evaluate_every_steps,
                        evaluate=keeper,
                    )
                ],
            )
            state = loop.run(state, start_step=start_step, batches=self._batches(fold, start_step))
            for line in damage(self.sources):
                progress.say(line)
            params = keeper.params(state)
            answers = self.answer(params, rows=fold.test)
            if self.first:
                answers.save(folder / "answers.npz")
        if self.first:
            # The best parameters are kept; the state to go on from is not needed any more.
            shutil.rmtree(folder / "checkpoints")

    def answer(self, params: dict, *, rows: np.ndarray) -> Answers:
        """Asks a model about utterances, each once."""
        return self.answerer(
            params,
            self.sources,
            rows,
            self.view,
            category=self.category,
            dimensions=self.dimensions,
            data=self.config.data,
        )

    def _batches(self, fold: Fold, start_step: int):
        plan = BatchPlan(
            [source.num_samples for source in self.sources],
            buckets=self.buckets,
            weights=self.config.data.weights,
            seed=self.config.train.seed,
            rows=split_rows(self._labelled(fold.train), self.sizes),
        )
        return training_batches(
            self.sources,
            plan,
            self.view,
            start_step=start_step,
            num_steps=self.config.train.num_steps - start_step,
            batch_rows=functools.partial(local_rows, self.mesh),
            data=self.config.data,
            soft_labels=self.config.labels.soft,
            distorter=make_distorter(self.config, beside=()),
        )

    def _labelled(self, rows: np.ndarray) -> np.ndarray:
        has_dimensions = ~np.isnan(self.dimensions[rows]).all(1) & self.config.labels.dimensions
        labelled = rows[(self.category[rows] >= 0) | self.voted[rows] | has_dimensions]
        if not len(labelled):
            raise UserError(
                f"no training utterance of {', '.join(self.config.data.corpora)} has a label for "
                f"labels.view={self.config.labels.view!r}"
            )
        return labelled

    def _constants(self, fold: Fold) -> dict:
        counts = np.bincount(
            self.category[fold.train][self.category[fold.train] >= 0],
            minlength=len(self.view.names),
        )
        weights = np.ones(len(counts), np.float32)
        if self.config.heads.class_weighting and len(counts):
            # n / (C n_c); a class that is not there has no rows to weigh.
            weights = (counts.sum() / (len(counts) * np.maximum(counts, 1))).astype(np.float32)
        return {"class_weights": weights}

    def _build(self, say: Callable[[str], None]) -> Program:
        layout = Layout(
            mesh=self.mesh,
            buckets=self.buckets,
            needs=self.task.needs,
            num_categories=len(self.view.names),
            constants={"class_weights": np.ones(len(self.view.names), np.float32)},
        )
        return build_program(
            self.task, self.optimizer, self.abstract, layout, train=self.config.train, say=say
        )
