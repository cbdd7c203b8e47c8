"""The runs of a comparison, read from their workdirs, with the same rows in the same order."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sersl.core.errors import UserError
from sersl.eval.over_seeds import seed_folders
from sersl.eval.predictions import Predictions, read_predictions
from sersl.eval.workdir_files import (
    PREDICTIONS,
    RESULTS,
    check_predictions,
    read_results,
)

_LISTED = 3  # names in a sentence


@dataclasses.dataclass(frozen=True)
class Run:
    """One scored run.

    Attributes:
      workdir: of the run.
      results: its results.json.
      predictions: of N utterances.
    """

    workdir: Path
    results: dict[str, Any]
    predictions: Predictions

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        return str(self.results["protocol"]["name"])

    @property
    def in_closed_form(self) -> bool:
        """Tells whether its heads were solved, without random numbers."""
        return "solver" in self.results


@dataclasses.dataclass(frozen=True)
class System:
    """One row of a comparison: a run, or the runs of several seeds.

    Attributes:
      name: for people, different for every system.
      workdir: as given.
      runs: one per seed.
    """

    name: str
    workdir: Path
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of its runs; () of one run that has none."""
        if len(self.runs) == 1 and self.runs[0].in_closed_form:
            return ()
        return tuple(int(run.results["seed"]) for run in self.runs)


def read_systems(words: Sequence[str]) -> list[System]:
    """Reads the workdirs of a comparison.

    Args:
      words: DIR or NAME=DIR each; DIR is a workdir, or has a folder `seeds` with one per seed.

    Returns:
      The systems in order, each run with its rows as they are in its file.

    Raises:
      UserError: a folder or a file is missing or damaged, or two systems have one name.
    """
    named = [_split(word) for word in words]
    twice = [text for text, count in Counter(str(path) for _, path in named).items() if count > 1]
    if twice:
        raise UserError(f"{twice[0]} is given twice: give every run once")
    short = Counter(path.name for _, path in named)
    systems = [
        System(name or (path.name if short[path.name] == 1 else str(path)), path, _read_runs(path))
        for name, path in named
    ]
    names = Counter(system.name for system in systems)
    name, count = names.most_common(1)[0]
    if count > 1:
        raise UserError(f"{count} runs are called {name!r}: give other names, as NAME=DIR")
    return systems


def align(systems: Sequence[System]) -> list[System]:
    """Brings the rows of all runs into the same order, after checking that they are comparable.

    Args:
      systems: at least one.

    Returns:
      The systems; row i of every run is the same utterance with the same truth.

    Raises:
      UserError: two runs differ in protocol, corpora, categories, tested utterances, folds or
        truth.
    """
    first = systems[0].runs[0]
    order = np.argsort(_keys(first.predictions))
    reference = dataclasses.replace(first, predictions=_take(first.predictions, order))
    aligned = []
    for system in systems:
        runs = []
        for run in system.runs:
            _check_same_setup(reference, run)
            order = np.argsort(_keys(run.predictions))
            run = dataclasses.replace(run, predictions=_take(run.predictions, order))
            _check_same_rows(reference, run)
            runs.append(run)
        aligned.append(dataclasses.replace(system, runs=tuple(runs)))
    return aligned


def ensemble(runs: Sequence[Run]) -> Predictions:
    """Averages the probabilities and the dimensions of aligned runs, e.g. of several seeds.

    Args:
      runs: with the same rows and categories; their order of categories may differ.

    Returns:
      Predictions of the mean.
    """
    first = runs[0].predictions
    columns = [[run.predictions.names.index(name) for name in first.names] for run in runs]
    scores = np.mean(
        [run.predictions.scores[:, at] for run, at in zip(runs, columns, strict=True)], axis=0
    )
    text = dict(first.text)
    if first.names:
        text["predicted"] = np.array(first.names)[scores.argmax(1)]
    predicted = [run.predictions.predicted for run in runs]
    known = [one for one in predicted if one is not None]
    mean = np.mean(known, axis=0) if len(known) == len(runs) else None
    return dataclasses.replace(first, text=text, scores=scores, predicted=mean)


def _split(word: str) -> tuple[str, Path]:
    name, equals, folder = word.partition("=")
    if equals and name and not Path(word).exists():
        return name, Path(folder)
    return "", Path(word)


def _read_runs(workdir: Path) -> tuple[Run, ...]:
    if not workdir.is_dir():
        raise UserError(f"workdir {workdir} does not exist: give the folder of a fine-tuning run")
    folders = seed_folders(workdir)
    return tuple(_read_run(folder) for folder in (folders.values() if folders else [workdir]))


def _read_run(workdir: Path) -> Run:
    for name in (RESULTS, PREDICTIONS):
        if not (workdir / name).is_file():
            raise UserError(
                f"{workdir} has no {name}: let `sersl finetune` finish, or score the run with "
                f"`sersl evaluate --workdir {workdir}`"
            )
    check_predictions(workdir)
    return Run(workdir, read_results(workdir), read_predictions(workdir / PREDICTIONS))


def _keys(predictions: Predictions) -> np.ndarray:
    """Names every row by corpus and utterance: str [N], all different."""
    text = predictions.text
    pairs = zip(text["corpus"], text["utterance_id"], strict=True)
    return np.array([f"{corpus}/{utterance}" for corpus, utterance in pairs])


def _take(predictions: Predictions, rows: np.ndarray) -> Predictions:
    """Gives some rows [n] of predictions, in this order."""
    predicted = predictions.predicted
    return dataclasses.replace(
        predictions,
        text={name: values[rows] for name, values in predictions.text.items()},
        scores=predictions.scores[rows],
        truth=predictions.truth[rows],
        predicted=None if predicted is None else predicted[rows],
        labelled=None if predictions.labelled is None else predictions.labelled[rows],
    )


def _check_same_setup(first: Run, run: Run) -> None:
    """Compares protocol, corpora and categories."""
    if first.protocol != run.protocol:
        raise UserError(
            f"{first.workdir} was tested under protocol {first.protocol!r} and {run.workdir} under "
            f"{run.protocol!r}: compare runs of one protocol"
        )
    prints = [
        {corpus["corpus"]: corpus["fingerprint"] for corpus in one.results["corpus"]["corpora"]}
        for one in (first, run)
    ]
    if prints[0] != prints[1]:
        names = [", ".join(found) for found in prints]
        what = (
            f"corpus {names[0]} in two preparations that differ"
            if names[0] == names[1]
            else f"different corpora ({names[0]} and {names[1]})"
        )
        raise UserError(
            f"{first.workdir} and {run.workdir} are runs on {what}: compare runs on the same "
            "prepared data"
        )
    known, other = (sorted(one.predictions.names) for one in (first, run))
    if known != other:
        raise UserError(
            f"{first.workdir} and {run.workdir} tell different categories apart "
            f"({', '.join(known) or 'none'} and {', '.join(other) or 'none'}): compare runs "
            "with the same labels.view"
        )


def _check_same_rows(first: Run, run: Run) -> None:
    """Compares the tested utterances of aligned predictions, their folds and their truth."""
    keys, found = _keys(first.predictions), _keys(run.predictions)
    if len(keys) != len(found) or (keys != found).any():
        only = sorted(set(keys.tolist()) ^ set(found.tolist()))
        raise UserError(
            f"{first.workdir} tested {len(keys)} utterances and {run.workdir} {len(found)}, of "
            f"which {len(only)} are in one of them only, e.g. {', '.join(only[:_LISTED])}: compare "
            "runs that tested the same utterances"
        )
    for column, what in (("fold", "fold"), ("category", "true category")):
        differs = first.predictions.text[column] != run.predictions.text[column]
        if differs.any():
            raise UserError(
                f"{first.workdir} and {run.workdir} disagree about the {what} of "
                f"{int(differs.sum())} utterances, e.g. {keys[differs.argmax()]}: compare runs "
                "with the same folds and labels"
            )
    same = first.predictions.rated == run.predictions.rated and np.array_equal(
        first.predictions.truth, run.predictions.truth, equal_nan=True
    )
    if not same:
        raise UserError(
            f"{first.workdir} and {run.workdir} have different ratings of the same utterances: "
            "compare runs on the same prepared data"
        )
