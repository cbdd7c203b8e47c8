"""`sersl sweep`: several settings of a fine-tuning run, the best chosen by validation only."""

import csv
import io
import json
import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sersl.cli.console.stopping import stopped
from sersl.cli.finetune import report
from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.core.files import check_writable, read_json, whole_file, write_json
from sersl.core.share import read_share
from sersl.eval.answers import ANSWERS, VALIDATION, Answers
from sersl.eval.comparison.tables import as_markdown, as_text
from sersl.eval.evaluator import validation_scores
from sersl.eval.workdir_files import read_folds, read_results
from sersl.finetuning.baselines.baseline_trainer import NONE
from sersl.finetuning.best import SELECTION
from sersl.finetuning.run import check_settings, finetune
from sersl.finetuning.sweep_plan import read_trials
from sersl.parallel import distributed
from sersl.parallel.watchdog import ends_together
from sersl.release.starting_weights import read_view_weights, read_weights
from sersl.runs.startup import STOPPED
from sersl.training.loop import Preempted

_PLAN, _TABLE, _WINNER, _FAILED = "sweep.json", "sweep", "winner.json", "failed.json"
_REMEDY = "give another --workdir for another sweep"


@ends_together
def run(arguments: Namespace) -> int:
    """Runs the trials of a sweep, or those of one job; reports when all are done.

    Args:
      arguments: `config`, `workdir`, `jobs`, `overrides`.

    Returns:
      The exit code: 0, also after SIGTERM, when the state is saved.

    Raises:
      UserError: the sweep has no validation side, or differs from that of the workdir.
    """
    trials = read_trials(arguments.config)
    job, num_jobs = read_share(arguments.jobs or "0/1", option="--jobs")
    workdir = Path(arguments.workdir)
    check_writable(workdir, option="--workdir")
    configs = [
        load_config(FinetuneConfig, arguments.config, [*arguments.overrides, *_words(trial)])
        for trial in trials
    ]
    for config in configs:
        _check_validation(config)
    silence = configs[0].train.host_timeout_seconds
    distributed.initialize(host_timeout_seconds=silence)
    distributed.watch(timeout_seconds=silence)
    if distributed.is_first_process():
        (workdir / STOPPED).unlink(missing_ok=True)
        _write_plan(workdir, trials, arguments)
    for number in range(job, len(trials), num_jobs):
        try:
            _run_trial(configs[number], folder_of(workdir, number), title=_title(number, trials))
        except Preempted as stop:
            return stopped(stop, workdir)
    if distributed.is_first_process():
        _finish(workdir, trials, configs)
    return 0


def folder_of(workdir: Path, number: int) -> Path:
    """Gives the workdir of a trial."""
    return workdir / "trials" / f"{number:04d}"


def _words(trial: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in trial.items()]


def _title(number: int, trials: Sequence[Mapping[str, str]]) -> str:
    return f"trial {number} of 0 to {len(trials) - 1}: {', '.join(_words(trials[number]))}"


def _check_validation(config: FinetuneConfig) -> None:
    """Refuses what can be chosen on test utterances only; a baseline divides its training side."""
    if config.protocol.validation_fraction == 0 and config.baseline.kind == NONE:
        raise UserError(
            "a sweep chooses by validation speakers, and protocol.validation_fraction is 0: set it "
            "to a share of the training speakers, e.g. 0.15"
        )


def _write_plan(workdir: Path, trials: Sequence[Mapping[str, str]], arguments: Namespace) -> None:
    """Writes sweep.json, or compares it with that of an earlier start or another job."""
    plan = {
        "config": str(arguments.config),
        "overrides": list(arguments.overrides),
        "trials": [dict(trial) for trial in trials],
    }
    path = workdir / _PLAN
    if not path.exists():
        write_json(path, plan)
    elif read_json(path, what="plan of a sweep", remedy=_REMEDY) != plan:
        raise UserError(f"{path} is of a sweep with other trials or settings: {_REMEDY}")


def _run_trial(config: FinetuneConfig, folder: Path, *, title: str) -> None:
    """Trains one trial to its end, unless that is done; one that fails is recorded."""
    if (folder / _FAILED).exists():
        print(f"{title}: failed before; remove {folder} to try it again")
        return
    print(title, flush=True)
    check_settings(config)
    weights = read_weights(config.init_from) if config.init_from else None
    try:
        finetune(
            config,
            folder,
            score=validation_scores,
            preempted=distributed.preempted,
            weights=weights,
            view_weights=read_view_weights(config),
        )
    except UserError as error:
        # E.g. diverged. Where nothing was written, the settings or data of all trials are wrong.
        if not (folder / "config.json").exists():
            raise
        if distributed.is_first_process():
            write_json(folder / _FAILED, {"error": str(error)})
        print(f"{title}: failed: {error}")


def _selection(folder: Path) -> float | None:
    """Gives the mean over the tested folds of the selection score on their validation sides.

    None while a fold is missing; NaN of a failed trial.

    Raises:
      UserError: a fold has no validation side.
    """
    if (folder / _FAILED).exists():
        return math.nan
    if not (folder / "folds.json").exists():
        return None
    folds = [fold["fold"] for fold in read_folds(folder)]
    found = []
    for name in folds:
        if not (folder / "folds" / name / ANSWERS).exists():
            return None
        path = folder / "folds" / name / VALIDATION
        if not path.exists():
            raise UserError(
                f"fold {name!r} of {folder} has no validation side to choose by: use a protocol "
                "with one, or set protocol.validation_fraction"
            )
        found.append(validation_scores(Answers.load(path)).get(SELECTION, math.nan))
    return float(np.mean(found))


def _finish(
    workdir: Path, trials: Sequence[Mapping[str, str]], configs: Sequence[FinetuneConfig]
) -> None:
    """Writes the table of all trials; when they are done, tests the winner, once."""
    found = [_selection(folder_of(workdir, number)) for number in range(len(trials))]
    keys = list(dict.fromkeys(key for trial in trials for key in trial))
    header = ["trial", *keys, "validation"]
    order = sorted(range(len(trials)), key=lambda i: -_sortable(found[i]))
    rows = [[str(i), *(trials[i].get(key, "") for key in keys), _shown(found[i])] for i in order]
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([header, *rows])
    for suffix, text in ((".csv", table.getvalue()), (".md", as_markdown(header, rows))):
        with whole_file(workdir / f"{_TABLE}{suffix}") as file:
            file.write(text)
    print(as_text(header, rows))
    missing = sum(value is None for value in found)
    if missing:
        print(f"{missing} of {len(trials)} trials are not done: run their jobs, or this one again")
        return
    best = order[0]
    if not math.isfinite(_sortable(found[best])):
        raise UserError(
            "no trial has a validation score: see failed.json in the folders of "
            f"{workdir / 'trials'}"
        )
    folder = folder_of(workdir, best)
    print(f"best on validation: trial {best}, {', '.join(_words(trials[best]))}")
    if not (workdir / _WINNER).exists():
        report(configs[best], folder)
        results = read_results(folder)
        write_json(workdir / _WINNER, _winner(best, trials[best], found[best], folder, results))
    winner = read_json(workdir / _WINNER, what="winner of a sweep", remedy=f"remove {_WINNER}")
    print(f"its test scores, of {winner['workdir']}: {json.dumps(winner['test'])}")


def _winner(
    number: int,
    trial: Mapping[str, str],
    selection: float | None,
    folder: Path,
    results: Mapping[str, Any],
) -> dict[str, Any]:
    scores = results["metrics"]
    names = ("uar", "accuracy", "macro_f1", "weighted_f1", "micro_f1", "average_precision", "ccc")
    return {
        "trial": number,
        "settings": dict(trial),
        "validation": selection,
        "workdir": str(folder),
        "test": {name: scores[name] for name in names if scores.get(name)},
    }


def _sortable(value: float | None) -> float:
    return -math.inf if value is None or math.isnan(value) else value


def _shown(value: float | None) -> str:
    if value is None:
        return "not done"
    return "failed" if math.isnan(value) else f"{value:.4f}"
