"""Scores of a run of several seeds: means and deviations over seeds, intervals over speakers.

Each seed is a run of its own in `<workdir>/seeds/<seed>/`. The `results.json` above them has the
layout of that of one run, with means over the seeds in "metrics", and beside it "seeds" and
"over_seeds".
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sersl.config.load import load_json
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.core.files import find_paths, write_json
from sersl.eval import bootstrap, metrics
from sersl.eval.analysis.error_detection import uncertainty_of
from sersl.eval.multi_label import LABEL_SCORES
from sersl.eval.predictions import Predictions, read_predictions
from sersl.eval.results import mean_over_folds, score_workdir
from sersl.eval.scorer import Scorer, nested_scores, without_nan
from sersl.eval.workdir_files import PREDICTIONS, RESULTS, read_results, sealed

SEEDS = "seeds"  # folder of a workdir
_REMEDY = "run the command of the run again"


def seed_folders(workdir: str | Path) -> dict[int, Path]:
    """Lists the runs of a workdir of several seeds, {seed: folder}; {} for a run of one seed."""
    found = [path for path in find_paths(workdir, f"{SEEDS}/*") if path.name.isdecimal()]
    return {int(path.name): path for path in sorted(found, key=lambda path: int(path.name))}


def refuse_seeds(workdir: Path) -> None:
    """Raises UserError where a verb needs the run of one seed and the workdir has several."""
    if folders := seed_folders(workdir):
        raise UserError(
            f"{workdir} has the runs of seeds {', '.join(map(str, folders))}: give the folder of "
            f"one of them, such as {next(iter(folders.values()))}"
        )


def score_run(workdir: str | Path) -> dict[str, Any]:
    """Scores a run, of one seed or of several, and writes its `results.json`, which it returns.

    Raises:
      UserError: a file is missing or damaged.
    """
    workdir = Path(workdir)
    if not seed_folders(workdir):
        return score_workdir(workdir)
    seeds = load_json(FinetuneConfig, workdir / "config.json").train.seeds
    for seed in seeds:
        score_workdir(workdir / SEEDS / str(seed))
    return score_seeds(workdir, seeds)


def score_seeds(workdir: str | Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Scores a run of several seeds and writes its `results.json`.

    Args:
      workdir: with `seeds/<seed>/`, each scored.
      seeds: in order, at least two.

    Returns:
      What was written: as `sersl.eval.results.score`, "metrics" and every other score the mean over
      the seeds, the confusion matrix their sum, and the intervals of the mean, with the same
      speakers drawn for all seeds. "over_seeds" has {score: {"mean", "std", "values"}}.

    Raises:
      UserError: a seed is not scored, or tests other utterances than the first.
    """
    workdir = Path(workdir)
    folders = [workdir / SEEDS / str(seed) for seed in seeds]
    results = [read_results(folder) for folder in folders]
    predictions = aligned_predictions(folders)
    scorers = [Scorer(one) for one in predictions]

    def statistic(rows: np.ndarray) -> dict[str, float]:
        scores = [scorer(rows) for scorer in scorers]
        return {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}

    first = results[0]
    intervals = bootstrap.confidence_intervals(statistic, predictions[0].groups, seed=seeds[0])
    folds = list(_folds(results, seeds))
    content = {
        **{key: value for key, value in first.items() if not key.endswith("sha256")},
        "folds": folds,
        "metrics": _metrics([result["metrics"] for result in results]),
        "by_gender": _mean([result["by_gender"] for result in results]),
        "confidence": {
            **first["confidence"],
            "method": f"percentile bootstrap over speakers of the mean over {len(seeds)} seeds",
            **nested_scores(intervals),
        },
        "mean_over_folds": mean_over_folds([fold["metrics"] for fold in folds]),
        "uncertainty": _uncertainty(seeds, predictions),
        "seed": seeds[0],
        "seeds": list(seeds),
        "over_seeds": _over_seeds([result["metrics"] for result in results]),
        "results_sha256": [result.get("sha256", "") for result in results],
    }
    whole = sealed(without_nan(content))
    write_json(workdir / RESULTS, whole)
    return whole


def aligned_predictions(folders: Sequence[Path]) -> list[Predictions]:
    """Reads the predictions of several seeds, rows in the order of the first.

    Raises:
      UserError: a file is missing or damaged, or has other utterances or classes.
    """
    found = [read_predictions(folder / PREDICTIONS) for folder in folders]
    first = found[0]
    names = list(_names(first))
    for number, (folder, one) in enumerate(zip(folders, found, strict=True)):
        place = {name: row for row, name in enumerate(_names(one))}
        if sorted(place) != sorted(names) or one.names != first.names:
            raise UserError(
                f"{folder / PREDICTIONS} has other utterances or categories than "
                f"{folders[0] / PREDICTIONS}: {_REMEDY}"
            )
        found[number] = one.take(np.array([place[name] for name in names]))
    return found


def pooled_predictions(predictions: Sequence[Predictions]) -> Predictions:
    """Puts predictions of the same utterances one after the other, for figures."""
    predicted = [one.predicted for one in predictions if one.predicted is not None]
    labelled = [one.labelled for one in predictions if one.labelled is not None]
    return dataclasses.replace(
        predictions[0],
        text={
            name: np.concatenate([one.text[name] for one in predictions])
            for name in predictions[0].text
        },
        scores=np.concatenate([one.scores for one in predictions]),
        truth=np.concatenate([one.truth for one in predictions]),
        predicted=np.concatenate(predicted) if predicted else None,
        labelled=np.concatenate(labelled) if labelled else None,
    )


def _names(predictions: Predictions) -> Iterator[tuple[str, str]]:
    text = predictions.text
    return zip(text["corpus"].tolist(), text["utterance_id"].tolist(), strict=True)


def _folds(results: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Averages the scores of each fold; folds of other test speakers are listed by seed."""
    sides = [[(f["fold"], f["test_speakers"]) for f in result["folds"]] for result in results]
    if all(side == sides[0] for side in sides):
        for folds in zip(*(result["folds"] for result in results), strict=True):
            yield {**folds[0], "metrics": _mean([fold["metrics"] for fold in folds])}
        return
    for seed, result in zip(seeds, results, strict=True):
        for fold in result["folds"]:
            yield {**fold, "fold": f"{fold['fold']}-seed{seed}"}


def _metrics(per_seed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    mean = _mean([{k: v for k, v in one.items() if k != "confusion"} for one in per_seed])
    if "confusion" in per_seed[0]:
        counts = np.sum([one["confusion"]["counts"] for one in per_seed], axis=0)
        mean["confusion"] = {**per_seed[0]["confusion"], "counts": counts.tolist()}
    for name in ("num_with_category", "num_with_dimensions"):
        mean[name] = per_seed[0][name]
    return mean


def _mean(values: Sequence[Any]) -> Any:
    """Averages numbers in nested dicts; None where one is None, other values of the first."""
    first = values[0]
    if isinstance(first, Mapping):
        return {key: _mean([value.get(key) for value in values]) for key in first}
    if any(value is None for value in values):
        return None
    if isinstance(first, int | float) and not isinstance(first, bool):
        whole = all(isinstance(value, int) and value == first for value in values)
        return first if whole else float(np.mean(values))
    return first


def _uncertainty(seeds: Sequence[int], predictions: Sequence[Predictions]) -> dict[str, Any]:
    """Judges the uncertainty of each seed, and that of their ensemble."""
    found = {
        f"seed {seed}": uncertainty_of(one) for seed, one in zip(seeds, predictions, strict=True)
    }
    members = np.stack([one.scores for one in predictions])
    own = uncertainty_of(predictions[0], members=members)
    return {**found, f"ensemble of {len(seeds)} seeds": own}


def _over_seeds(per_seed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Gives mean, sample standard deviation and values of each score that all seeds define."""
    flat = [
        {name: one[name] for name in (*metrics.CATEGORY_SCORES, *LABEL_SCORES) if name in one}
        | {
            f"{kind}.{name}": value
            for kind in metrics.DIMENSION_SCORES
            for name, value in one[kind].items()
        }
        for one in per_seed
    ]
    found = {}
    for name in flat[0]:
        values = [one[name] for one in flat]
        if all(value is not None for value in values):
            found[name] = {
                "mean": float(np.mean(values)),
                "std": float(np.std(values, ddof=1)),
                "std_kind": "sample",
                "values": values,
            }
    return nested_scores(found)
