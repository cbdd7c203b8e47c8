"""The answers of a finished run for the training side of each fold, as tables of the step.

A teacher of a fold must not have been trained on anything but that fold's training side: its
answers would carry labels of test speakers into the student.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from sersl.config.auxiliary import TasksConfig
from sersl.config.load import load_json
from sersl.config.schema import FinetuneConfig
from sersl.config.training_ideas import CoTeachingConfig, DistillConfig
from sersl.core.errors import UserError
from sersl.corpora.label_columns import words
from sersl.corpora.protocols.protocol import Fold
from sersl.data.buckets import evaluation_buckets
from sersl.data.sources import CorpusSource
from sersl.data.speed_view import SpeedView
from sersl.eval.answers import ANSWERS, Answerer
from sersl.eval.workdir_files import check_files, read_folds, read_trained
from sersl.finetuning.baselines.baseline_trainer import NONE
from sersl.finetuning.folds import choose_folds
from sersl.finetuning.from_outputs import choose_store, standardize_groups
from sersl.finetuning.frozen import is_frozen
from sersl.finetuning.targets import Targets
from sersl.finetuning.task import FinetuneTask
from sersl.finetuning.trained_parts import starts_of
from sersl.models.heads.training_heads import shared_width
from sersl.models.transformer import unstack_layers
from sersl.parallel.sharding import logical_axes, param_shardings, place
from sersl.runs.checkpoint import load_params
from sersl.runs.initial_weights import InitialWeights
from sersl.runs.provenance import read_origin
from sersl.training.step import param_shapes


class Ancestry(NamedTuple):
    """What a teacher was trained on, for `sersl.runs.provenance.gather_origin`."""

    source: str
    corpora: tuple[Mapping[str, Any], ...]


def ancestry(config: DistillConfig) -> list[Ancestry]:
    """Lists the teacher of a run and its corpora; empty without one."""
    if not config.teacher:
        return []
    workdir = Path(config.teacher)
    own = tuple({"labels_used": True, **corpus} for corpus in read_trained(workdir).corpora)
    return [Ancestry(config.teacher, (*own, *read_origin(workdir)))]


def with_teacher(
    config: FinetuneConfig,
    sources: Sequence[CorpusSource],
    targets: Targets,
    folds: Sequence[Fold],
) -> list[Fold]:
    """Checks that the teacher of each fold was trained on that fold's training side alone.

    Args:
      config: of the run.
      sources: corpora in order.
      targets: of the run.
      folds: of the protocol.

    Returns:
      The folds; their warnings have those of the teacher's.

    Raises:
      UserError: the teacher is not a finished run of the same corpora, labels and folds, or saw
        labels of another side.
    """
    if not config.distill.teacher:
        return list(folds)
    workdir, where = Path(config.distill.teacher), f"distill.teacher={config.distill.teacher!r}"
    if not (workdir / "folds.json").is_file() or not (workdir / "config.json").is_file():
        raise UserError(f"{where} is not the workdir of a `sersl finetune` run: give one")
    check_files(workdir)
    if not targets.view.names:
        raise UserError("distill.teacher teaches categories, and this run has none: leave it out")
    own, trained = load_json(FinetuneConfig, workdir / "config.json"), read_trained(workdir)
    if own.baseline.kind != NONE:
        raise UserError(
            f"{where} is a baseline ({own.baseline.kind}), which has no network: give a run with "
            "baseline.kind='none'"
        )
    for name, kind in (
        ("fusion.kind", own.fusion.kind),
        ("conversation.kind", own.conversation.kind),
    ):
        if kind != "none":
            raise UserError(
                f"{where} has {name}={kind!r}, and a teacher answers from single utterances of its "
                f"main encoder: give a run with {name}='none'"
            )
    given = [corpus["fingerprint"] for corpus in trained.corpora]
    if given != [source.index.fingerprint for source in sources]:
        raise UserError(
            f"{where} was trained on other corpora than this run: give a run of the same "
            "data.corpora, in the same order, prepared once"
        )
    if trained.categories != targets.view.names or trained.labels.get("multi", False):
        raise UserError(
            f"{where} predicts {', '.join(trained.categories) or 'no categories'}, this run "
            f"{', '.join(targets.view.names) or 'none'}: give a run of the same labels"
        )
    theirs = {fold.name: fold for fold in choose_folds(own, sources, targets.view)}
    warned = {fold["fold"]: fold["checks"]["warnings"] for fold in read_folds(workdir)}
    return [
        _checked(fold, theirs.get(fold.name), warned.get(fold.name, []), workdir, config)
        for fold in folds
    ]


def _checked(
    fold: Fold, theirs: Fold | None, warned: list[str], workdir: Path, config: FinetuneConfig
) -> Fold:
    where = f"distill.teacher={config.distill.teacher!r}: fold {fold.name!r}"
    if theirs is None or not (workdir / "folds" / fold.name / ANSWERS).is_file():
        raise UserError(
            f"{where} is not a finished fold there: finish that run, or name the folds that it has "
            "in protocol.folds"
        )
    if (
        np.setdiff1d(theirs.train, fold.train).size
        or np.intersect1d(theirs.validation, fold.test).size
    ):
        raise UserError(
            f"{where} was trained on utterances that are not on the training side here, so its "
            "answers carry labels of other speakers: give a run of the same protocol, "
            "protocol.validation_fraction and train.seed"
        )
    leaks = [line for line in warned if line.startswith("LEAK")]
    if leaks and not config.protocol.allow_speaker_overlap:
        raise UserError(f"{where} has a leak there ({leaks[0]}): give another teacher")
    added = [line for line in warned if line not in fold.checks["warnings"]]
    warnings = [*fold.checks["warnings"], *(f"its teacher: {line}" for line in added)]
    return dataclasses.replace(fold, checks={**fold.checks, "warnings": warnings})


class FoldTeacher:
    """Answers for the training side of one fold after the other, with the teacher's own model.

    A run without a teacher has no tables.

    Attributes:
      preempted: given 0, whether to leave while outputs of the teacher's encoder are computed.
    """

    preempted: Callable[[int], bool] = staticmethod(lambda step: False)

    def __init__(
        self,
        config: FinetuneConfig,
        sources: Sequence[CorpusSource],
        targets: Targets,
        *,
        mesh: Mesh,
        say: Callable[[str], None],
    ):
        """Lays out the model of the teacher, if there is one; computes nothing yet.

        Args:
          config: of the student's run.
          sources: corpora in order.
          targets: of the student's run.
          mesh: the mesh.
          say: called with lines for people.
        """
        self._workdir, self._data = Path(config.distill.teacher), config.data
        self._targets, self._mesh, self._say = targets, mesh, say
        self._shapes: dict[str, int] = {}
        self._adds = config.distill.labels != "given"
        if not config.distill.teacher:
            return
        own = load_json(FinetuneConfig, self._workdir / "config.json")
        # Heads that only training needs are not loaded.
        self._config = dataclasses.replace(
            own,
            tasks=TasksConfig(),
            distill=DistillConfig(),
            co_teaching=CoTeachingConfig(),
            data=config.data,
        )
        self._dimensions = read_trained(self._workdir).dimensions or ()
        self._sources: list[CorpusSource] = [SpeedView(source, 1.0) for source in sources]
        self._lengths = np.concatenate([source.num_samples for source in sources])
        # A category that is left out is not a missing label.
        given = [words(source.index, raw=targets.view.raw) for source in sources]
        worded = np.concatenate(given) != ""
        self._left_out = worded & (targets.category < 0)
        self._unlabelled = ~worded & targets.long_enough
        self._opened: _Opened | None = None
        self._fold: tuple[str, dict[str, np.ndarray]] | None = None
        self._shapes["teacher_scores"] = len(targets.view.names)
        if targets.dimensions and self._dimensions:
            self._shapes["teacher_dimensions"] = len(targets.dimensions)
        if config.distill.kind == "cubic":
            task = _task(self._config, targets, self._dimensions, stored=False)
            self._shapes["teacher_shared"] = task.width

    def rows(self, fold: Fold, labelled: np.ndarray) -> np.ndarray:
        """Joins int64 [m] labelled rows of a fold with those that the teacher may label."""
        if not self._adds:
            return labelled
        return np.union1d(labelled, fold.train[self._unlabelled[fold.train]])

    def tables(self, fold: Fold | None) -> dict[str, np.ndarray]:
        """Gives the tables of a fold, or empty ones for shapes.

        Args:
          fold: of the run; None: any.

        Returns:
          Name to float32 [n, ...], rows of all corpora: teacher_scores, logarithms of
          probabilities [n, C]; teacher_dimensions [n, D]; teacher_shared [n, U]. NaN outside of
          the training side.
        """
        if fold is None or not self._shapes:
            return {name: self._empty(width) for name, width in self._shapes.items()}
        if self._fold is None or self._fold[0] != fold.name:
            self._say(f"fold {fold.name}: answers of the teacher {self._workdir}")
            self._fold = fold.name, self._answers(fold)
        return self._fold[1]

    def _empty(self, width: int) -> np.ndarray:
        return np.full((len(self._lengths), width), np.nan, np.float32)

    def _answers(self, fold: Fold) -> dict[str, np.ndarray]:
        params = load_params(self._workdir / "folds" / fold.name)
        params = {name: part for name, part in params.items() if name != "training_heads"}
        if self._opened is None:
            self._opened = self._open(params)
        shardings, _ = param_shardings(
            param_shapes(self._opened.task), logical_axes(self._opened.task.abstract), self._mesh
        )
        found = self._opened.answerer(
            jax.tree.map(place, params, shardings),
            self._sources,
            fold.train,
            self._targets.view,
            truth=self._targets.truth,
            data=self._data,
        )
        num = len(self._targets.view.names)
        tables = {name: self._empty(width) for name, width in self._shapes.items()}
        tables["teacher_scores"][fold.train] = found.scores[:, :num]
        tables["teacher_scores"][self._left_out] = np.nan
        if "teacher_shared" in tables:
            tables["teacher_shared"][fold.train] = found.scores[:, num:]
        if "teacher_dimensions" in tables:
            for column, name in enumerate(self._targets.dimensions):
                if name in self._dimensions:
                    values = found.dimensions[:, self._dimensions.index(name)]
                    tables["teacher_dimensions"][fold.train, column] = values
        return tables

    def _open(self, params: dict[str, Any]) -> "_Opened":
        """Compiles nothing yet; opens kept outputs where the teacher's encoder is frozen."""
        config = self._config
        plain = _task(config, self._targets, self._dimensions, stored=False)
        starts = starts_of(config, param_shapes(plain))
        stored = False
        if is_frozen(starts):
            weights = InitialWeights(
                params=unstack_layers({"encoder": params["encoder"]}),
                frontend=config.frontend,
                encoder=config.encoder,
                source=str(self._workdir),
            )
            store = choose_store(config, starts, self._sources, weights, self._say)
            stored = store is not None
            if store is not None:
                for source in self._sources:
                    source.outputs = store.open(source, self._say, preempted=self.preempted)
                standardize_groups(self._sources, config)
        task = _task(config, self._targets, self._dimensions, stored=stored)
        buckets = evaluation_buckets(
            self._lengths,
            num_buckets=config.data.num_buckets,
            seconds_per_batch=2 * config.data.seconds_per_batch,
            row_multiple=config.data.row_multiple,
        )
        answerer = Answerer(task, buckets=buckets, mesh=self._mesh, dimensions=self._dimensions)
        return _Opened(task, answerer)


class _TeacherTask(FinetuneTask):
    """A task whose scores are logarithms of probabilities, followed by the shared vector."""

    @property
    def width(self) -> int:
        """Numbers of the shared vector."""
        model = nnx.eval_shape(self.make_model)
        return shared_width(model.category, model.pooling.num_outputs)

    def answer(self, params: dict[str, Any], batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Answers a batch without dropout: scores [B, C + U], dimensions [B, D]."""
        output = self._run(nnx.merge(self.graph, nnx.State(params)), batch)
        assert output.shared is not None
        logs = jax.nn.log_softmax(output.category)
        return {
            "scores": jnp.concatenate([logs, output.shared], axis=1),
            "dimensions": output.dimensions,
            "utterance_index": batch["utterance_index"],
        }


class _Opened(NamedTuple):
    task: _TeacherTask
    answerer: Answerer


def _task(
    config: FinetuneConfig, targets: Targets, dimensions: Sequence[str], *, stored: bool
) -> _TeacherTask:
    return _TeacherTask(
        config, num_categories=len(targets.view.names), dimensions=dimensions, stored=stored
    )
