"""`sersl finetune`: from a config to a tested model of every fold and a report."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sersl.cli.console.stopping import say_next, stopped
from sersl.cli.prepare import table
from sersl.cli.pretrain import pretrain_first
from sersl.config.load import load_config, load_json
from sersl.config.schema import FinetuneConfig, ProtocolConfig
from sersl.core.display import first_few, one_line
from sersl.core.errors import UserError
from sersl.corpora.index import load_index, read_summary
from sersl.corpora.prepare import prepare
from sersl.corpora.protocols.by_group import has_split, side_of_word
from sersl.eval.answers import Answers
from sersl.eval.evaluator import collect_predictions, validation_scores
from sersl.eval.over_seeds import SEEDS, score_seeds
from sersl.eval.report import write_report
from sersl.eval.report_tables import score_table
from sersl.eval.results import score_workdir
from sersl.eval.workdir_files import RESULTS, read_folds, read_trained
from sersl.finetuning.baselines.baseline_trainer import NONE
from sersl.finetuning.folds import FINAL
from sersl.finetuning.run import check_settings, finetune_seeds
from sersl.finetuning.seed_runs import seed_runs, write_command
from sersl.parallel import distributed
from sersl.parallel.watchdog import ends_together
from sersl.release.starting_weights import read_view_weights, read_weights
from sersl.training.loop import Preempted

_SHOWN = 5  # words of a column that are named
_OF_MANIFEST = ("name", "columns", "scale", "licence")  # options that describe one


@ends_together
def run(arguments) -> int:
    """Trains and tests all folds, or resumes; then scores them and writes the report.

    Args:
      arguments: `config`, `workdir`, `overrides`; `manifest`, a list of labelled audio that is
        prepared into `<workdir>/data` and takes the place of the config's corpora, or None; its
        `name`, `columns`, `scale` and `licence`, or None; `pretrain`, the config of a first stage
        without labels, and its `pretrain_steps`, or None.

    Returns:
      The exit code: 0, also after SIGTERM, when the state is saved.
    """
    config = load_config(FinetuneConfig, arguments.config, arguments.overrides)
    workdir = Path(arguments.workdir)
    silence = config.train.host_timeout_seconds
    distributed.initialize(host_timeout_seconds=silence)
    distributed.watch(timeout_seconds=silence)
    check_settings(config)
    weights = read_weights(config.init_from) if config.init_from else None
    view_weights = read_view_weights(config)
    if arguments.manifest:
        config = use_manifest(config, arguments, data_dir=workdir / "data")
    elif any(getattr(arguments, option) for option in _OF_MANIFEST):
        raise UserError(
            "--name, --columns, --scale and --licence are of a --manifest: leave them out, or add "
            "it"
        )
    config = use_own_split(config, workdir, arguments.overrides)
    if arguments.pretrain:
        try:
            config = pretrain_first(
                config,
                workdir.absolute(),
                spec=arguments.pretrain,
                num_steps=arguments.pretrain_steps,
            )
        except Preempted as stop:
            return stopped(stop, workdir)
        weights = read_weights(config.init_from)
    runs = seed_runs(config, workdir)
    try:
        finetune_seeds(
            runs,
            score=validation_scores,
            preempted=distributed.preempted,
            weights=weights,
            view_weights=view_weights,
        )
    except Preempted as stop:
        return stopped(stop, workdir)
    if distributed.is_first_process():
        for one in runs:
            report(one.config, one.workdir)
        if len(runs) > 1:
            report_seeds(config, workdir)
        first = runs[0].workdir
        if config.baseline.kind == NONE:
            output = f"{workdir}-model"
            say_next("sersl", "export", "--workdir", first, *exported(first), "--output", output)
    return 0


def report_seeds(config: FinetuneConfig, workdir: Path) -> None:
    """Scores a command of several seeds, each scored already, and writes the report over them."""
    write_command(config, workdir)
    seeds = config.train.seeds
    if not (workdir / SEEDS / str(seeds[0]) / RESULTS).is_file():
        return  # no fold with a test side was asked for
    results = score_seeds(workdir, seeds)
    page = write_report(workdir)
    print(f"\nover the seeds {', '.join(map(str, seeds))}")
    print(score_table(results))
    print(f"report: {page}")


def exported(workdir: Path) -> tuple[str, ...]:
    """Gives the arguments that choose a fold for `sersl export`: none for the final model."""
    names = [fold["fold"] for fold in read_folds(workdir)]
    return () if FINAL in names else ("--fold", names[0])


def use_manifest(
    config: FinetuneConfig, arguments: argparse.Namespace, *, data_dir: Path
) -> FinetuneConfig:
    """Prepares a manifest, if that is not done yet, and makes it the corpus of a config.

    Args:
      config: of the run.
      arguments: `manifest`, a list with a path and a label in every row, and its `name`,
        `columns`, `scale` and `licence`.
      data_dir: where the records go.

    Returns:
      The config with this corpus alone.
    """
    # One after the other: the first process prepares, the others find it done.
    prepared = distributed.in_turn(
        lambda: prepare(
            data_dir=data_dir,
            manifest=arguments.manifest,
            name=arguments.name or "",
            columns=arguments.columns or "",
            scale=arguments.scale or "",
            licence=arguments.licence or "",
        )
    )
    assert prepared is not None  # which only a share of the work may be
    if distributed.is_first_process():
        print(table(prepared))
    data = dataclasses.replace(
        config.data, data_dir=str(data_dir), corpora=(prepared.summary["corpus"],), weights=()
    )
    return dataclasses.replace(config, data=data)


def use_own_split(
    config: FinetuneConfig, workdir: Path, overrides: Sequence[str]
) -> FinetuneConfig:
    """Chooses the protocol "official" where a manifest has train and test words in `fold`.

    Not where the user names a protocol, nor where the run began with another one.

    Args:
      config: of the run.
      workdir: of the run.
      overrides: of the command line.
    """
    default = ProtocolConfig().name
    asked = any(override.startswith("protocol.name=") for override in overrides)
    data = config.data
    if asked or config.protocol.name != default or not (data.data_dir and data.corpora):
        return config
    if (workdir / "config.json").is_file():
        try:
            begun = load_json(FinetuneConfig, workdir / "config.json")
        except UserError:  # reported when the run starts
            return config
        if begun.protocol.name == default:
            return config
    for name in data.corpora:
        index = load_index(data.data_dir, name)
        if "manifest" not in read_summary(index.folder).get("source", {}):
            return config
        if not has_split(index.column("fold")):
            _print_unused(name, index.column("fold"))
            return config
    if distributed.is_first_process():
        print(
            f"protocol: official, the column fold of {', '.join(data.corpora)} has a train "
            "and a test side; add --config.protocol.name=NAME for another"
        )
    return dataclasses.replace(
        config, protocol=dataclasses.replace(config.protocol, name="official")
    )


def _print_unused(corpus: str, fold: np.ndarray) -> None:
    """Prints that the column fold, [N] str, is not used since it has no train and test words."""
    words = [one_line(word) for word in np.unique(fold.astype(str)) if word]
    if words and distributed.is_first_process():
        folds = len(words) > 1 and not any(side_of_word(word.strip().lower()) for word in words)
        official = ", or add --config.protocol.name=official to test each of them once"
        print(
            f"not used: the column fold of {corpus} ({first_few(words, _SHOWN)}), which has "
            f"no train and test sides: write train, validation and test{official if folds else ''}"
        )


def report(config: FinetuneConfig, workdir: Path) -> None:
    """Gathers the answers of the tested folds, scores them and writes the report.

    Args:
      config: of the run.
      workdir: with folds.json and `folds/<fold>/answers.npz`.
    """
    folds = [fold["fold"] for fold in read_folds(workdir) if fold["num_test"]]
    if not folds:
        print(f"finetuned: {workdir} (no fold with a test side was asked for, so no scores)")
        return
    indexes = [load_index(config.data.data_dir, name) for name in config.data.corpora]
    collect_predictions(
        workdir,
        [(name, Answers.load(workdir / "folds" / name / "answers.npz")) for name in folds],
        indexes=indexes,
        names=read_trained(workdir).categories,
    )
    results = score_workdir(workdir, predictions_are_new=True)
    page = write_report(workdir)
    print(score_table(results))
    print(f"report: {page}")
