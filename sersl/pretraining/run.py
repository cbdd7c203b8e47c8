"""A pretraining run, from its config to its last checkpoint."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from sersl.annotation.annotate import load_sidecar_info
from sersl.audio.prosody import PROSODY_NAMES
from sersl.config.load import to_dict
from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.corpora.labels import CANONICAL, LabelView, make_view
from sersl.data.batch_plan import BatchPlan, make_plan
from sersl.data.buckets import Bucket
from sersl.data.codes import NEED
from sersl.data.distortion import DISTORTED, SECOND, make_distorter
from sersl.data.pipeline import training_batches
from sersl.data.sources import CorpusSource
from sersl.parallel.distributed import is_first_process
from sersl.parallel.mesh import describe, make_mesh
from sersl.parallel.sharding import check_rows, local_rows
from sersl.pretraining.task import PretrainTask
from sersl.pretraining.terms.all_terms import TERMS
from sersl.runs.checkpoint import Checkpoints, write_json
from sersl.runs.heard import ORIGIN, gather_origin
from sersl.runs.initial_weights import InitialWeights
from sersl.runs.lock import only_run
from sersl.runs.record import describe_corpora, fingerprints, record_start
from sersl.runs.startup import open_workdir, sizes, start
from sersl.training.boards import open_board
from sersl.training.finite import BadUpdates, skips, without_bad_updates
from sersl.training.loop import Loop
from sersl.training.observe import Metrics, Progress
from sersl.training.optimizer import by_pattern, make_optimizer, table
from sersl.training.profile import Profile
from sersl.training.state import TrainState
from sersl.training.step import abstract_state, compile_steps, make_step, param_shapes
from sersl.training.utilization import flops_per_step, peak_flops

SHOWN = ("loss", *TERMS, "code_perplexity", "masked_fraction")


def pretrain(
    config: PretrainConfig,
    workdir: str | Path,
    *,
    preempted: Callable[[int], bool],
    weights: InitialWeights | None = None,
    frozen: Sequence[InitialWeights] = (),
    devices=None,
) -> TrainState:
    """Runs pretraining, or goes on with it.

    Args:
      config: the run.
      workdir: gets config.json, corpora.json, origin.json, metrics.jsonl, TensorBoard events,
        checkpoints/.
      preempted: says before each step whether to save and leave.
      weights: to start from when the workdir has no checkpoint yet.
      frozen: encoders of `config.frozen_teachers`, in their order.
      devices: for the mesh; all of them when None.

    Returns:
      The last state.

    Raises:
      UserError: a setting, a corpus, a sidecar or a checkpoint is wrong, or training collapsed.
      Preempted: the state was saved before the last step.
    """
    task = PretrainTask(config, frozen=frozen)
    mesh = make_mesh(config.mesh, devices)
    sources = open_sources(config, needs=task.needs)
    origin = gather_origin(config, sources, weights=weights, frozen=frozen)
    data = fingerprints(sources, origin)
    plan = make_plan(
        [source.num_samples for source in sources], data=config.data, seed=config.train.seed
    )
    for bucket in plan.buckets:
        check_rows(bucket.rows, mesh)
    first = is_first_process()
    with jax.set_mesh(mesh), contextlib.ExitStack() as held:
        progress = Progress("pretrain", total=config.train.num_steps, enabled=first)
        say = progress.say
        say(f"mesh: {describe(mesh)}, processes: {jax.process_count()}")
        say(plan.describe())
        optimizer = make_optimizer(
            config.optimizer, param_shapes(task), num_steps=config.train.num_steps
        )
        abstract, notes = abstract_state(task, optimizer, mesh)
        for note in notes:
            say(f"not sharded: {note}")
        # Only now, when the settings are known to make a run.
        skip = skips(config.train.on_nan)
        held.enter_context(only_run(workdir, first=first))
        workdir = open_workdir(workdir, config, data=data, first=first)
        checkpoints = Checkpoints.of(workdir / "checkpoints", config.checkpoint)
        state, start_step = start(
            task,
            optimizer,
            abstract,
            checkpoints=checkpoints,
            keep_last=config.checkpoint.keep_last,
            resume_from=config.resume_from,
            weights=weights,
            say=say,
        )
        say(f"model: {sizes(state.params, mesh)}")
        decay = by_pattern(config.optimizer.decay, state.params, setting="optimizer.decay")
        say(table(state.params, decay, jax.tree.map(lambda _: 0, state.params)))
        if first:
            corpora = describe_corpora(sources, labels_used="category" in task.needs)
            write_json(workdir / "corpora.json", corpora)
            if not (start_step and (workdir / ORIGIN).is_file()):
                # Later starts add nothing, and what the first was made from may be gone by then.
                write_json(workdir / ORIGIN, origin)
            record_start(workdir, start_step=start_step, mesh=mesh, data=data)
        board = open_board(config.train.wandb, workdir, config=to_dict(config), enabled=first)
        metrics = Metrics(workdir, start_step=start_step, enabled=first, board=board)
        try:
            if start_step >= config.train.num_steps:
                say(f"nothing to do: {start_step} of {config.train.num_steps} steps are done")
                return state
            constants = task.constants(mesh)
            step = _step(task, optimizer, config)
            layout = {
                "buckets": plan.buckets,
                "example": functools.partial(example_batch, needs=task.needs),
                "constants": constants,
                "mesh": mesh,
            }
            peak = peak_flops(mesh.devices.flat)
            # Utilisation counts what the model asks for, nothing that is computed twice.
            encoder = dataclasses.replace(config.encoder, remat="none")
            plain = _step(
                PretrainTask(dataclasses.replace(config, encoder=encoder), frozen=frozen),
                optimizer,
                config,
            )
            loop = Loop(
                compiled=compile_steps(
                    without_bad_updates(step) if skip else step, abstract, report=say, **layout
                ),
                rows={bucket.num_samples: bucket.rows for bucket in plan.buckets},
                constants=constants,
                mesh=mesh,
                checkpoints=checkpoints,
                metrics=metrics,
                progress=progress,
                save_config=lambda: {"config": to_dict(config), "plan": plan.fingerprint},
                preempted=preempted,
                diagnose=task.diagnose,
                evaluate=None,
                shown=SHOWN,
                num_steps=config.train.num_steps,
                log_every_steps=config.train.log_every_steps,
                save_every_steps=config.checkpoint.every_steps,
                evaluate_every_steps=config.train.num_steps,
                bad_updates=BadUpdates(skip=skip, max_in_a_row=config.train.max_skipped),
                profile=Profile.of(workdir / "profile", config.train),
                flops=flops_per_step(plain, abstract, **layout) if peak else {},
                peak_flops=peak,
            )
            state = loop.run(
                state,
                start_step=start_step,
                batches=read_batches(
                    sources, plan, config, mesh=mesh, start_step=start_step, needs=task.needs
                ),
            )
            for line in damage(sources):
                say(line)
            return state
        finally:
            metrics.close()
            progress.close()
            checkpoints.close()


def _step(task: PretrainTask, optimizer, config: PretrainConfig) -> Callable:
    return make_step(
        task,
        optimizer,
        seed=config.train.seed,
        accumulate_steps=config.train.accumulate_steps,
    )


def open_sources(config, *, needs: frozenset[str] = frozenset()) -> list[CorpusSource]:
    """Opens the prepared corpora of a config.

    Args:
      config: with a `data` group.
      needs: what is read beside audio and labels: "annotation", of the sidecars of
        `data.annotator`, and "codes/<name>" of a code book.

    Returns:
      Sources in the order of `data.corpora`.

    Raises:
      UserError: a corpus or its sidecar is missing or out of date.
    """
    names = config.data.corpora
    if not names or len(set(names)) < len(names):
        raise UserError(
            f"data.corpora={list(names)} must name one or more corpora, each once: give "
            "--config.data.corpora=NAME,NAME"
        )
    if not config.data.data_dir:
        raise UserError(
            "data.data_dir is not given: add --config.data.data_dir=DIR, the folder that "
            "`sersl prepare` wrote into"
        )
    annotated = "annotation" in needs
    annotator = config.data.annotator if annotated else None
    if annotated:
        for name in config.data.corpora:
            # The sidecar must also be of today's algorithm, which only `knowledge` can tell.
            load_sidecar_info(annotator, name, data_dir=config.data.data_dir)
    books = {}
    if any(need.startswith(NEED) for need in needs):
        clusters = config.objectives.clusters
        books = dict(zip(clusters.books, clusters.codes, strict=True))
    sources = [
        CorpusSource(
            config.data.data_dir,
            name,
            annotator=annotator,
            books=books,
            cache_gigabytes=config.data.cache_gigabytes,
        )
        for name in config.data.corpora
    ]
    if "category" in needs and not any((s.index.column("category") != "").any() for s in sources):
        raise UserError(
            "objectives.supervised and objectives.language go by categories, and the corpora "
            f"{list(names)} have none: prepare them with labels"
        )
    for readers in zip(*(source.books for source in sources), strict=True):
        if len({reader.fingerprint for reader in readers}) > 1:
            raise UserError(
                f"the codes {readers[0].book!r} of the corpora {list(names)} are of different code "
                "books: give all of them to one `sersl cluster --corpus`"
            )
    return sources


def damage(sources) -> list[str]:
    """Counts the records that were damaged and replaced by others while training, per corpus."""
    return [
        f"{len(source.damaged)} damaged records of corpus {source.index.corpus} were replaced by "
        f"the plan's next: prepare it again ({'; '.join(source.damaged.values())})"
        for source in sources
        if source.damaged
    ]


def read_batches(
    sources,
    plan: BatchPlan,
    config: PretrainConfig,
    *,
    mesh,
    start_step: int,
    needs: frozenset[str] = frozenset(),
):
    """Reads this process's rows of the batches from a step on.

    Args:
      sources: corpora in order.
      plan: of the batches.
      config: the run.
      mesh: says which rows are this process's.
      start_step: updates done.
      needs: what batches must hold beside audio, see `Term.needs`.

    Returns:
      Iterator of batch dicts of numpy arrays.
    """
    return training_batches(
        sources,
        plan,
        LabelView(CANONICAL) if "category" in needs else make_view("none", ()),
        start_step=start_step,
        num_steps=config.train.num_steps - start_step,
        batch_rows=functools.partial(local_rows, mesh),
        data=config.data,
        distorter=make_distorter(config, beside=beside(needs)),
    )


def beside(needs: frozenset[str]) -> tuple[str, ...]:
    """Names the distorted waveforms among the needs of a run, in a fixed order."""
    return tuple(name for name in (DISTORTED, SECOND) if name in needs)


def example_batch(bucket: Bucket, *, needs: frozenset[str]) -> dict[str, jax.ShapeDtypeStruct]:
    """Gives the shapes of a global batch of one bucket.

    Args:
      bucket: rows and samples.
      needs: what is in it beside audio and labels: "annotation", intensity and prosody.

    Returns:
      Name to shape and dtype, as `sersl.data.transforms` makes them.
    """
    B, N, T = bucket.rows, bucket.num_samples, num_frames(bucket.num_samples)
    shapes = {
        "waveform": ((B, N), np.float32),
        "valid": ((B, N), np.bool_),
        "category": ((B,), np.int32),
        "dimensions": ((B, 3), np.float32),
        "speaker": ((B,), np.int32),
        "utterance_index": ((B,), np.int32),
    }
    if "annotation" in needs:
        shapes["intensity"] = ((B, T), np.float32)
        shapes["prosody"] = ((B, T, len(PROSODY_NAMES)), np.float32)
    shapes |= {need: ((B, T), np.int32) for need in sorted(needs) if need.startswith(NEED)}
    shapes |= dict.fromkeys(beside(needs), ((B, N), np.float32))
    return {name: jax.ShapeDtypeStruct(*shape) for name, shape in shapes.items()}
