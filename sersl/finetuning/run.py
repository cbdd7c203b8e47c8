"""A fine-tuning run: every fold of a protocol, then one model for release."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax

from sersl.audio.augment import check_distortion
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.core.files import write_json
from sersl.corpora.protocols.protocol import Fold
from sersl.data.buckets import MAX_EVALUATION_SAMPLES
from sersl.data.sources import CorpusSource
from sersl.finetuning.baselines.baseline_trainer import NONE, BaselineTrainer
from sersl.finetuning.best import Score
from sersl.finetuning.context.conversation_trainer import ConversationTrainer, whole_dialogues
from sersl.finetuning.folds import (
    choose_folds,
    describe_labels,
    differences,
    warnings,
    write_folds,
)
from sersl.finetuning.fusion.run_views import NO_WEIGHTS
from sersl.finetuning.fusion.view_sources import check_fusion, view_sources
from sersl.finetuning.fusion.workdir_views import check_views, write_views
from sersl.finetuning.ideas.enrolment import without_enrolled
from sersl.finetuning.ideas.fold_teacher import ancestry, with_teacher
from sersl.finetuning.ideas.idea_checks import check_baseline
from sersl.finetuning.label_choice import choose_view, of_protocol, unused_words, with_pairs
from sersl.finetuning.loss_checks import marked, settle
from sersl.finetuning.ridge.ridge_checks import RIDGE
from sersl.finetuning.ridge.ridge_trainer import RidgeTrainer
from sersl.finetuning.seed_runs import SeedRun
from sersl.finetuning.targets import Targets, choose_targets, describe_targets
from sersl.finetuning.trainer import Trainer
from sersl.parallel.distributed import is_first_process
from sersl.parallel.mesh import describe, make_mesh
from sersl.runs.initial_weights import InitialWeights, describe_sizes, with_sizes
from sersl.runs.inputs import cut_short, open_sources
from sersl.runs.leaks import check_leaks
from sersl.runs.lock import only_run
from sersl.runs.provenance import ORIGIN, gather_origin
from sersl.runs.record import fingerprints, record_start
from sersl.runs.startup import open_workdir
from sersl.training.observe import Progress


def finetune(
    config: FinetuneConfig,
    workdir: str | Path,
    *,
    score: Score,
    preempted: Callable[[int], bool],
    weights: InitialWeights | None = None,
    view_weights: Mapping[str, InitialWeights] = NO_WEIGHTS,
    devices: Sequence[jax.Device] | None = None,
) -> None:
    """Trains and tests every fold of the protocol; resumes where it stopped.

    Args:
      config: the run.
      workdir: gets config.json, corpora.json, folds.json and, per fold, `folds/<fold>/` with
        metrics.jsonl, checkpoints/, best/ (parameters of the step best on validation speakers)
        and answers.npz (answers of the best step on the test side). What no fold changes is saved
        once, in `shared/`.
      score: of validation answers.
      preempted: given a step, whether to save and leave before it.
      weights: to start every fold from; None starts from scratch.
      view_weights: of the views of `fusion.views` that are encoders, by name.
      devices: for the mesh; None: all of them.

    Raises:
      UserError: a setting, a corpus or a checkpoint is wrong, or training diverged.
      Preempted: the state was saved before the last step.
    """
    mesh = make_mesh(config.mesh, devices)
    run = _prepare(config, weights, view_weights)
    first = is_first_process()
    workdir = Path(workdir).absolute()
    progress = Progress("finetune", total=len(run.folds), enabled=first)
    progress.say(f"mesh: {describe(mesh)}, processes: {jax.process_count()}")
    for line in [*run.notes, *describe_targets(run.targets, run.folds)]:
        progress.say(line)
    with jax.set_mesh(mesh), contextlib.ExitStack() as held:
        trainer: Trainer | BaselineTrainer
        if run.config.baseline.kind == NONE:
            kind = RidgeTrainer if run.config.solver.kind == RIDGE else Trainer
            if run.config.conversation.kind != "none":
                kind = ConversationTrainer
            trainer = kind(
                run.config,
                run.sources,
                run.targets,
                run.folds,
                mesh=mesh,
                weights=weights,
                view_weights=view_weights,
                say=progress.say,
            )
        else:
            check_fusion(run.config, view_sources(run.config.fusion))
            trainer = BaselineTrainer(
                run.config, run.sources, run.targets, workdir, say=progress.say
            )
        # Only now, when the settings are known to make a run.
        held.enter_context(only_run(workdir, first=first))
        origin = gather_origin(
            trainer.config,
            run.sources,
            weights=weights,
            views=view_weights,
            frozen=ancestry(config.distill),
        )
        data = fingerprints(run.sources, origin)
        views = () if isinstance(trainer, BaselineTrainer) else trainer.views.configs
        check_views(workdir, views)
        open_workdir(workdir, trainer.config, data=data, first=first)
        if first:
            write_folds(
                workdir,
                run.folds,
                trainer.config,
                run.sources,
                run.targets,
                counts=trainer.counts,
            )
            write_json(workdir / ORIGIN, origin)
            write_views(workdir, views)
            record_start(workdir, start_step=0, mesh=mesh, data=data)
        for line in describe_labels(run.sources, run.targets.view) + warnings(run.folds):
            progress.say(line)
        trainer.open_store(preempted=preempted)
        for number, fold in enumerate(run.folds, start=1):
            trainer.train(
                fold,
                workdir / "folds" / fold.name,
                title=f"fold {fold.name} ({number}/{len(run.folds)})",
                score=score,
                preempted=preempted,
            )


def finetune_seeds(
    runs: Sequence[SeedRun],
    *,
    score: Score,
    preempted: Callable[[int], bool],
    weights: InitialWeights | None = None,
    view_weights: Mapping[str, InitialWeights] = NO_WEIGHTS,
) -> None:
    """Trains and tests runs of several seeds one after the other, see `finetune`.

    Raises:
      UserError: also where every seed would give the same result.
    """
    _check_seeds([one.config for one in runs], weights, view_weights)
    for one in runs:
        finetune(
            one.config,
            one.workdir,
            score=score,
            preempted=preempted,
            weights=weights,
            view_weights=view_weights,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """What a run is made from, checked before anything is written."""

    config: FinetuneConfig
    sources: list[CorpusSource]
    folds: list[Fold]
    targets: Targets
    notes: list[str]  # for people


def _prepare(
    config: FinetuneConfig,
    weights: InitialWeights | None,
    view_weights: Mapping[str, InitialWeights],
) -> _Run:
    """Opens the corpora, makes the folds, and chooses what is learnt."""
    notes = []
    if weights is not None:
        notes = describe_sizes(config, weights)
        config = with_sizes(config, weights)
    check_baseline(config)
    config = settle(dataclasses.replace(config, labels=with_pairs(config.labels)))
    sources = open_sources(config.data, most_samples=MAX_EVALUATION_SAMPLES)
    indexes = [source.index for source in sources]
    view = choose_view(config.labels, indexes)
    notes = [*notes, *unused_words(config, indexes)]
    folds = whole_dialogues(config, sources, choose_folds(config, sources, view))
    lacks = [text for index in indexes for text in differences(index)]
    folds = marked(config, folds, differences=lacks, also=cut_short(sources))
    view = of_protocol(view, config, indexes, folds)
    for given in [*view_weights.values(), *([weights] if weights is not None else [])]:
        allow = config.protocol.allow_speaker_overlap
        folds = check_leaks(folds, sources, given, allow=allow)
    folds = without_enrolled(config, folds, indexes)
    targets = choose_targets(config, sources, view, folds)
    folds = with_teacher(config, sources, targets, folds)
    if not targets.dimensions:
        labels = dataclasses.replace(config.labels, dimensions=False)
        config = dataclasses.replace(config, labels=labels)
    return _Run(config=config, sources=sources, folds=folds, targets=targets, notes=notes)


def _check_seeds(
    configs: Sequence[FinetuneConfig],
    weights: InitialWeights | None,
    view_weights: Mapping[str, InitialWeights],
) -> None:
    """Refuses seeds that repeat one run: heads in closed form depend on the folds alone."""
    config = configs[0]
    if len(configs) == 1 or config.solver.kind != RIDGE or config.baseline.kind != NONE:
        return
    prepared = (_prepare(own, weights, view_weights) for own in configs)
    first, *others = ([_rows(fold) for fold in run.folds] for run in prepared)
    if all(own == first for own in others):
        raise UserError(
            "solver.kind='ridge' gives the same heads for every seed, and these train.seeds choose "
            "the same folds and validation speakers: give one train.seed, or set "
            "protocol.validation_fraction above 0"
        )


def _rows(fold: Fold) -> tuple[list[int], ...]:
    return tuple(part.tolist() for part in (fold.train, fold.validation, fold.test))


def check_settings(config: FinetuneConfig) -> None:
    """Checks what can be refused before any audio is read or weights are loaded.

    Raises:
      UserError: the mesh does not divide the devices, or the distortions make no sense.
    """
    make_mesh(config.mesh)
    check_distortion(config.distortion, keep_time=False)
