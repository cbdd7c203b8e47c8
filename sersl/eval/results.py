"""Scores of `predictions.csv`: the content of `results.json`, for reports and model cards."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sersl.config.baseline import BaselineConfig
from sersl.config.load import load_json
from sersl.config.schema import FinetuneConfig
from sersl.config.solver import SolverConfig
from sersl.core.errors import UserError
from sersl.core.files import parse_json
from sersl.core.version import versions
from sersl.eval import bootstrap, metrics
from sersl.eval.analysis.calibration import calibration_of
from sersl.eval.analysis.error_detection import uncertainty_of
from sersl.eval.analysis.fairness import by_group
from sersl.eval.answers import VALIDATION, Answers
from sersl.eval.multi_label import LABEL_SCORES
from sersl.eval.predictions import Predictions, read_predictions
from sersl.eval.scorer import Scorer, nested_scores, without_nan
from sersl.eval.workdir_files import (
    PREDICTIONS,
    SCHEMA,
    check_files,
    check_predictions,
    read_folds,
    read_trained,
    write_results,
)


def score(
    predictions: Predictions,
    *,
    folds: Sequence[Mapping[str, Any]],
    corpora: Sequence[Mapping[str, Any]],
    protocol: Mapping[str, Any],
    init_from: str,
    seed: int,
    validation: Mapping[str, Answers] | None = None,
) -> dict[str, Any]:
    """Scores predictions, over all folds together and in each.

    Args:
      predictions: of N utterances.
      folds: {"fold", "test_speakers", "validation_speakers", "num_train", "num_test", "checks"}.
      corpora: {"corpus", "version", "fingerprint", "num_utterances", "num_speakers", "licence"}.
      protocol: at least {"name"}; kept as it is.
      init_from: the weights that training started from; "" for scratch.
      seed: of the run, and of the bootstrap.
      validation: answers on the validation side of the folds that have one, for the temperature.

    Returns:
      The content of `results.json`. A score that is not defined is None, and "undefined" beside it
      has the reason.

    Raises:
      UserError: the folds of the predictions are not those of `folds`.
    """
    known = [fold["fold"] for fold in folds]
    _check_folds(predictions, folds)
    scorer = Scorer(predictions)
    everything = np.arange(len(predictions))
    of_fold = {name: np.flatnonzero(predictions.text["fold"] == name) for name in known}
    genders = sorted(set(predictions.text["gender"]) - {""})
    intervals = bootstrap.confidence_intervals(scorer, predictions.groups, seed=seed)
    fingerprints = [corpus["fingerprint"] for corpus in corpora]
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "protocol": dict(protocol),
        "corpus": {
            "name": "+".join(corpus["corpus"] for corpus in corpora),
            "num_utterances": len(predictions),
            "num_speakers": predictions.num_speakers,
            "fingerprint": fingerprints[0]
            if len(fingerprints) == 1
            else hashlib.sha256("\n".join(fingerprints).encode()).hexdigest(),
            "corpora": [dict(corpus) for corpus in corpora],
        },
        "categories": list(predictions.names),
        "dimensions": list(predictions.dimensions),
        "folds": [
            {**fold, "metrics": scorer.nested(of_fold[fold["fold"]])}
            for fold in folds
            if len(of_fold[fold["fold"]])
        ],
        "metrics": {**scorer.nested(everything), **scorer.per_category(everything)},
        "by_gender": {
            gender: {
                "num_utterances": int((predictions.text["gender"] == gender).sum()),
                **scorer.nested(np.flatnonzero(predictions.text["gender"] == gender)),
            }
            for gender in genders
        },
        "confidence": {
            "level": bootstrap.LEVEL,
            "method": "percentile bootstrap over speakers",
            "num_resamples": bootstrap.NUM_RESAMPLES,
            **nested_scores(intervals),
        },
        "baseline": scorer.baseline(),
        "calibration": calibration_of(predictions, validation or {}),
        "uncertainty": {"this model": uncertainty_of(predictions)},
        "groups": {
            name: by_group(scorer, groups, predictions.groups, seed=seed)
            for name, groups in _attributes(predictions).items()
        },
        "init_from": init_from,
        "seed": seed,
        "versions": versions(),
    }
    per_fold = [fold["metrics"] for fold in result["folds"]]
    result["mean_over_folds"] = mean_over_folds(per_fold)
    return parse_json(json.dumps(without_nan(result)))


def score_workdir(workdir: str | Path, *, predictions_are_new: bool = False) -> dict[str, Any]:
    """Scores a fine-tuning run and writes its `results.json`.

    Args:
      workdir: with config.json, corpora.json, folds.json and predictions.csv.
      predictions_are_new: whether predictions.csv was written since it was last scored.

    Returns:
      What was written, see `score`.

    Raises:
      UserError: a file is missing or damaged, or does not match the others.
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise UserError(f"workdir {workdir} does not exist: give the folder of a fine-tuning run")
    check_files(workdir)
    if not predictions_are_new:
        check_predictions(workdir)
    predictions = read_predictions(workdir / PREDICTIONS)
    config = load_json(FinetuneConfig, workdir / "config.json")
    folds = read_folds(workdir)
    trained = read_trained(workdir)
    result = score(
        predictions,
        folds=folds,
        corpora=trained.corpora,
        protocol={
            "name": config.protocol.name,
            "num_folds": len(set(predictions.text["fold"])),
            "validation_fraction": config.protocol.validation_fraction,
            "allow_speaker_overlap": config.protocol.allow_speaker_overlap,
            "view": config.labels.view,
            "sha256": trained.protocol_sha256,
            "warnings": sorted({w for fold in folds for w in fold["checks"].get("warnings", ())}),
        },
        init_from=config.init_from,
        seed=config.train.seed,
        validation={
            fold["fold"]: Answers.load(path)
            for fold in folds
            if (path := workdir / "folds" / fold["fold"] / VALIDATION).is_file()
        },
    )
    if trained.parameters:
        result["parameters"] = trained.parameters
    if config.solver.kind != SolverConfig().kind and config.baseline.kind == BaselineConfig().kind:
        result["solver"] = config.solver.kind
    return write_results(workdir, result)


def _attributes(predictions: Predictions) -> dict[str, np.ndarray]:
    """Gives the attributes of speakers that are scored by group, each with two values or more."""
    text = {**predictions.text, "speaker": predictions.groups}
    names = ("gender", "age_group", "language", "corpus", "speaker")
    return {name: text[name] for name in names if len(set(text.get(name, ())) - {""}) > 1}


def _check_folds(predictions: Predictions, folds: Sequence[Mapping[str, Any]]) -> None:
    """Compares the number of predictions of each fold with folds.json."""
    sizes = {fold["fold"]: fold["num_test"] for fold in folds}
    found = Counter(str(name) for name in predictions.text["fold"])
    for name in sorted(found.keys() - sizes.keys()):
        raise UserError(
            f"{PREDICTIONS} has fold {name!r}, which folds.json does not list "
            f"({', '.join(sizes) or 'none'}): rerun `sersl finetune`, which writes both"
        )
    for name, size in sizes.items():
        if size != found[name]:
            raise UserError(
                f"{PREDICTIONS} has {found[name]} predictions of fold {name!r}, and folds.json "
                f"lists {size} test utterances: rerun `sersl finetune`, which writes both"
            )


def mean_over_folds(per_fold: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Averages scores over the folds in which they are defined.

    The standard deviation is that of the population; of a single fold there is none.
    """
    summary = {}
    for name in dict.fromkeys((*metrics.CATEGORY_SCORES, *LABEL_SCORES)):
        found = [fold[name] for fold in per_fold if fold.get(name) is not None]
        values = [value for value in found if not math.isnan(value)]
        if values:
            summary[name] = {
                "mean": float(np.mean(values)),
                "std": float(np.std(values)) if len(values) > 1 else None,
                "std_kind": "population",
                "num_folds": len(values),
            }
    return summary
