"""A pretraining run, from its config to its last checkpoint: prepare, start, run."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError
from sersl.core.files import find_paths, write_json
from sersl.corpora.label_columns import all_words
from sersl.corpora.labels import LabelView, make_view
from sersl.corpora.words import CANONICAL, order_categories
from sersl.data.batch import CATEGORY, CODES, distorted_names
from sersl.data.batch_plan import BatchPlan, make_plan
from sersl.data.buckets import MAX_EVALUATION_SAMPLES
from sersl.data.distortion import make_distorter
from sersl.data.pipeline import damage, training_batches
from sersl.data.sources import CorpusSource, view_shapes
from sersl.data.speed_view import Views
from sersl.eval.workdir_files import check_files
from sersl.parallel.distributed import is_first_process
from sersl.parallel.mesh import describe, make_mesh
from sersl.parallel.sharding import check_rows, local_rows
from sersl.pretraining.kept_teachers import attach_kept, check_kept
from sersl.pretraining.reduced_start import reduced_start, with_reduced_sizes
from sersl.pretraining.task import PretrainTask
from sersl.pretraining.terms.all_terms import TERMS
from sersl.pretraining.trained_weights import optimizer_of
from sersl.pretraining.utterance_length import check_lengths
from sersl.runs.checkpoint import Checkpoints
from sersl.runs.initial_weights import (
    InitialWeights,
    describe_dropout,
    describe_sizes,
    with_sizes,
)
from sersl.runs.inputs import cut_short, open_sources
from sersl.runs.lock import only_run
from sersl.runs.output import open_output
from sersl.runs.provenance import ORIGIN, gather_origin
from sersl.runs.record import describe_corpora, fingerprints, record_start
from sersl.runs.startup import open_workdir, sizes, start
from sersl.training.finite import BadUpdates
from sersl.training.loop import Guards, Intervals, Loop
from sersl.training.observe import Progress
from sersl.training.optimizer import Optimizer, table
from sersl.training.program import Program, build_program
from sersl.training.state import TrainState
from sersl.training.step import Layout, abstract_state

CHECKPOINTS = "checkpoints/[0-9]*"
SHOWN = ("loss", *TERMS, "code_perplexity", "masked_fraction")


def pretrain(
    config: PretrainConfig,
    workdir: str | Path,
    *,
    preempted: Callable[[int], bool],
    weights: InitialWeights | None = None,
    frozen: Sequence[InitialWeights] = (),
    kept: Sequence[InitialWeights] = (),
    devices: Sequence[jax.Device] | None = None,
) -> TrainState:
    """Runs pretraining, or resumes it.

    Args:
      config: the run.
      workdir: gets config.json, corpora.json, origin.json, metrics.jsonl, TensorBoard events,
        checkpoints/.
      preempted: given a step, whether to save and leave before it.
      weights: to start from when the workdir has no checkpoint yet.
      frozen: encoders of `config.frozen_teachers`, in their order.
      kept: encoders of `config.kept_teachers`, in their order.
      devices: for the mesh; None: all of them.

    Returns:
      The last state.

    Raises:
      UserError: a setting, a corpus, a sidecar or a checkpoint is wrong, or training collapsed.
      Preempted: the state was saved before the last step.
    """
    run = _prepare(config, weights=weights, frozen=frozen, kept=kept, devices=devices)
    config = run.config
    first = is_first_process()
    progress = Progress("pretrain", total=config.train.num_steps, enabled=first)
    with jax.set_mesh(run.mesh), contextlib.ExitStack() as held:
        optimizer, abstract = _lay_out(run, progress.say)
        # Only now, when the settings are known to make a run.
        held.enter_context(only_run(workdir, first=first))
        workdir = open_workdir(workdir, config, data=run.data, first=first)
        checkpoints = Checkpoints.of(workdir / "checkpoints", config.checkpoint)
        if run.reduces and weights is not None and not find_paths(workdir, CHECKPOINTS):
            corpora = run.sources[: len(config.data.corpora)]
            weights = reduced_start(config, weights, corpora, progress.say)
        state, start_step = start(
            run.task,
            optimizer,
            abstract,
            checkpoints=checkpoints,
            keep_last=config.checkpoint.keep_last,
            resume_from=config.resume_from,
            weights=weights,
            say=progress.say,
        )
        _tell_parameters(run, state, optimizer, progress.say)
        if first:
            _record(run, workdir, start_step)
        output = held.enter_context(
            open_output(
                workdir,
                config,
                start_step=start_step,
                checkpoints=checkpoints,
                progress=progress,
                shown=SHOWN,
                plan=run.plan.fingerprint,
                first=first,
            )
        )
        if start_step >= config.train.num_steps:
            done = f"{start_step} of {config.train.num_steps} steps are done"
            progress.say(f"nothing to do: {done}")
            return state
        attach_kept(run.sources, kept, say=progress.say, preempted=preempted)
        loop = Loop(
            program=_build(run, optimizer, abstract, progress.say),
            output=output,
            intervals=Intervals.of(config.train, config.checkpoint),
            guards=Guards(
                preempted=preempted,
                bad_updates=BadUpdates.of(config.train),
                check=run.task.diagnose,
            ),
        )
        state = loop.run(state, start_step=start_step, batches=run.batches(start_step))
        for line in damage(run.sources):
            progress.say(line)
        return state


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """What a run is made from, checked before anything is written."""

    config: PretrainConfig
    frozen: Sequence[InitialWeights]
    kept: Sequence[InitialWeights]
    task: PretrainTask
    mesh: Mesh
    sources: list[CorpusSource]
    origin: list[dict[str, Any]]
    data: dict[str, str]  # corpus to fingerprint
    plan: BatchPlan
    notes: list[str]  # for people

    @property
    def reduces(self) -> bool:
        """Whether it starts from a smaller copy of an encoder, and not from another run."""
        return self.config.reduction.seconds > 0 and not self.config.resume_from

    def batches(self, start_step: int) -> Iterator[dict[str, np.ndarray]]:
        """Reads this process's rows of the batches from a step on."""
        needs = self.task.needs
        return training_batches(
            self.sources,
            self.plan,
            _classes(self.sources) if CATEGORY in needs else make_view("none", ()),
            start_step=start_step,
            num_steps=self.config.train.num_steps - start_step,
            batch_rows=functools.partial(local_rows, self.mesh),
            data=self.config.data,
            distorter=make_distorter(self.config, beside=distorted_names(needs)),
        )


def _classes(sources: Sequence[CorpusSource]) -> LabelView:
    """Makes every category a class: the known ones, and behind them those of the corpora's own."""
    words = set().union(*(all_words(source.index) for source in sources))
    return LabelView((*CANONICAL, *order_categories(words - set(CANONICAL))))


def _prepare(
    config: PretrainConfig,
    *,
    weights: InitialWeights | None,
    frozen: Sequence[InitialWeights],
    kept: Sequence[InitialWeights],
    devices: Sequence[jax.Device] | None,
) -> _Run:
    """Checks the settings, opens the corpora and plans the batches."""
    notes = []
    if config.reduction.seconds:
        if weights is None:
            raise UserError(
                "reduction.seconds reduces the encoder of init_from, which is not given: add "
                "--config.init_from=DIR, or set it to 0"
            )
        weights = with_reduced_sizes(config, weights)
    if weights is not None:
        notes = [*describe_sizes(config, weights), *describe_dropout(config, weights)]
        config = with_sizes(config, weights)
    task = PretrainTask(config, frozen=frozen, kept=kept)
    mesh = make_mesh(config.mesh, devices)
    corpora = open_inputs(config, task.needs)
    origin = gather_origin(config, corpora, weights=weights, frozen=[*frozen, *kept])
    copies = Views(corpora, config.views, shortest=0)
    sources = copies.sources
    check_kept(config, sources)
    notes += cut_short(corpora)
    lengths = [source.num_samples for source in sources]
    data = dataclasses.replace(config.data, weights=copies.weights(config.data.weights))
    plan = make_plan(lengths, data=data, seed=config.train.seed)
    for bucket in plan.buckets:
        check_rows(bucket.rows, mesh)
    notes += check_lengths(
        config, task.terms.values(), lengths, most_samples=plan.buckets[-1].num_samples
    )
    return _Run(
        config=config,
        frozen=frozen,
        kept=kept,
        task=task,
        mesh=mesh,
        sources=sources,
        origin=origin,
        data=fingerprints(sources, origin),
        plan=plan,
        notes=notes,
    )


def open_inputs(config: PretrainConfig, needs: frozenset[str]) -> list[CorpusSource]:
    """Opens the prepared corpora of a pretraining run.

    Args:
      config: the run.
      needs: of its objectives.

    Returns:
      Sources in the order of `data.corpora`.

    Raises:
      UserError: see `open_sources`; or labels are needed and there are none.
    """
    clusters, books = config.objectives.clusters, {}
    if any(need.startswith(CODES) for need in needs):
        books = dict(zip(clusters.books, clusters.codes, strict=True))
    # Teachers whose outputs are kept answer no longer utterances.
    most = MAX_EVALUATION_SAMPLES if config.kept_teachers else None
    sources = open_sources(config.data, needs=needs, books=books, most_samples=most)
    if CATEGORY in needs and not any((s.index.column("category") != "").any() for s in sources):
        raise UserError(
            "objectives.supervised and objectives.language use categories, and the corpora "
            f"{list(config.data.corpora)} have none: prepare them with labels"
        )
    return sources


def _lay_out(run: _Run, say: Callable[[str], None]) -> tuple[Optimizer, TrainState]:
    """Makes the optimizer, and the state's shapes and shardings."""
    say(f"mesh: {describe(run.mesh)}, processes: {jax.process_count()}")
    for line in [*run.notes, run.plan.describe()]:
        say(line)
    optimizer = optimizer_of(run.config, run.task)
    abstract, notes = abstract_state(run.task, optimizer, run.mesh)
    for note in notes:
        say(f"not sharded: {note}")
    return optimizer, abstract


def _tell_parameters(
    run: _Run, state: TrainState, optimizer: Optimizer, say: Callable[[str], None]
) -> None:
    say(f"model: {sizes(state.params, run.mesh)}")
    say(table(state.params, optimizer))


def _record(run: _Run, workdir: Path, start_step: int) -> None:
    """Writes what the run is made from."""
    corpora = run.sources[: len(run.config.data.corpora)]  # without copies
    described = describe_corpora(corpora, labels_used=CATEGORY in run.task.needs)
    write_json(workdir / "corpora.json", described)
    if start_step and (workdir / ORIGIN).is_file():
        # Later starts add nothing, and what the first was made from may be gone by then.
        remedy = "restore it from a copy, or remove it to record what this start was made from"
        check_files(workdir, only=ORIGIN, remedy=remedy)
    else:
        write_json(workdir / ORIGIN, run.origin)
    record_start(workdir, start_step=start_step, mesh=run.mesh, data=run.data)


def _build(
    run: _Run, optimizer: Optimizer, abstract: TrainState, say: Callable[[str], None]
) -> Program:
    """Compiles the steps."""
    encoder = dataclasses.replace(run.config.encoder, remat="none")
    return build_program(
        run.task,
        optimizer,
        abstract,
        Layout(
            mesh=run.mesh,
            buckets=run.plan.buckets,
            needs=run.task.needs,
            views=view_shapes(run.sources[0]),
            constants=run.task.constants(run.mesh),
        ),
        train=run.config.train,
        say=say,
        plain=PretrainTask(
            dataclasses.replace(run.config, encoder=encoder), frozen=run.frozen, kept=run.kept
        ),
    )
