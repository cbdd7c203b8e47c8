"""`sersl finetune`: a config and a workdir in; a tested model of every fold and a report out."""

from pathlib import Path

import numpy as np

from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig
from sersl.corpora.index import load_index
from sersl.corpora.labels import make_view
from sersl.eval.evaluator import collect_predictions, validation_scores
from sersl.eval.report import score_table, score_workdir, write_report
from sersl.eval.results import read_json
from sersl.parallel import distributed
from sersl.release.initial import read_weights
from sersl.train.answers import Answers
from sersl.train.finetune import finetune
from sersl.train.loop import Preempted


def run(arguments) -> int:
    """Trains and tests all folds, or goes on; then scores and reports.

    Args:
      arguments: `config`, `workdir`, `overrides`.

    Returns:
      The exit code: 0, also when the machine was taken away and the state saved.
    """
    config = load_config(FinetuneConfig, arguments.config, arguments.overrides)
    distributed.initialize()
    weights = read_weights(config.init_from) if config.init_from else None
    workdir = Path(arguments.workdir)
    try:
        finetune(
            config,
            workdir,
            score=validation_scores,
            preempted=distributed.preempted,
            weights=weights,
        )
    except Preempted as stop:
        if distributed.is_first_process():
            print(
                f"stopped by SIGTERM, saved at step {stop.step} of a fold in {workdir}: "
                "start the same command again to go on"
            )
        return 0
    if distributed.is_first_process():
        report(config, workdir)
    return 0


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
    view = make_view(config.labels.view, sorted(set(categories)))
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
