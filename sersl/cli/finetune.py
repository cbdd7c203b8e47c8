"""`sersl finetune`: a config and a workdir in; a tested model of every fold and a report out."""

import dataclasses
from pathlib import Path

import numpy as np

from sersl.cli.prepare import table
from sersl.cli.stopping import say_next, stopped
from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig
from sersl.corpora.index import load_index
from sersl.corpora.prepare import prepare
from sersl.eval.answers import Answers
from sersl.eval.evaluator import collect_predictions, validation_scores
from sersl.eval.report import score_table, score_workdir, write_report
from sersl.eval.results import read_json
from sersl.finetuning.folds import choose_view
from sersl.finetuning.run import check_settings, finetune
from sersl.parallel import distributed
from sersl.parallel.watchdog import ends_together
from sersl.release.starting_weights import read_weights
from sersl.training.loop import Preempted


@ends_together
def run(arguments) -> int:
    """Trains and tests all folds, or goes on; then scores and reports.

    Args:
      arguments: `config`, `workdir`, `overrides` and `manifest`, a file of labelled audio that is
        prepared into `<workdir>/data` and takes the place of the config's corpora; or None.

    Returns:
      The exit code: 0, also when the machine was taken away and the state saved.
    """
    config = load_config(FinetuneConfig, arguments.config, arguments.overrides)
    workdir = Path(arguments.workdir)
    silence = config.train.host_timeout_seconds
    distributed.initialize(host_timeout_seconds=silence)
    distributed.watch(timeout_seconds=silence)
    check_settings(config)
    weights = read_weights(config.init_from) if config.init_from else None
    if arguments.manifest:
        config = use_manifest(config, arguments.manifest, data_dir=workdir / "data")
    try:
        finetune(
            config,
            workdir,
            score=validation_scores,
            preempted=distributed.preempted,
            weights=weights,
        )
    except Preempted as stop:
        return stopped(stop, workdir)
    if distributed.is_first_process():
        report(config, workdir)
    say_next("sersl", "export", "--workdir", workdir, "--output", "DIR")
    return 0


def use_manifest(config: FinetuneConfig, manifest: str, *, data_dir: Path) -> FinetuneConfig:
    """Prepares a manifest, if that is not done yet, and makes it the corpus of a config.

    Args:
      config: of the run.
      manifest: CSV or JSONL with a path and a label in every row.
      data_dir: where the records go.

    Returns:
      The config with this corpus alone.
    """
    # One after the other: the first process prepares, the others find it done.
    prepared = distributed.in_turn(lambda: prepare(data_dir=data_dir, manifest=manifest))
    if distributed.is_first_process():
        print(table(prepared))
    data = dataclasses.replace(
        config.data, data_dir=str(data_dir), corpora=(prepared.summary["corpus"],), weights=()
    )
    return dataclasses.replace(config, data=data)


def report(config: FinetuneConfig, workdir: Path) -> None:
    """Gathers the answers of the tested folds, scores them and writes the report.

    Args:
      config: of the run.
      workdir: with folds.json and `folds/<fold>/answers.npz`.
    """
    folds = [fold["fold"] for fold in read_json(workdir / "folds.json") if fold["num_test"]]
    if not folds:
        print(f"finetuned: {workdir} (no fold with a test side was asked for, so no scores)")
        return
    indexes = [load_index(config.data.data_dir, name) for name in config.data.corpora]
    categories = np.concatenate([index.column("category") for index in indexes])
    view = choose_view(config.labels.view, indexes)
    classes = np.array([*view.names, ""], dtype=object)[view.indices(categories)]
    collect_predictions(
        workdir,
        [(name, Answers.load(workdir / "folds" / name / "answers.npz")) for name in folds],
        indexes=indexes,
        names=view.names,
        classes=classes,
    )
    results = score_workdir(workdir)
    page = write_report(workdir)
    print(score_table(results))
    print(f"report: {page}")
