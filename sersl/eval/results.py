"""From `predictions.csv` to `results.json`: every number that a report or a model card shows."""

import hashlib
import importlib.metadata
import json
import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sersl.config.load import load_json
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.core.files import write_json
from sersl.core.version import __version__
from sersl.corpora.labels import DIMENSIONS
from sersl.eval import compare, metrics
from sersl.eval.predictions import Predictions, read_predictions
from sersl.eval.workdir_files import check_files, read_json, read_trained

SCHEMA = 1


def score(
    predictions: Predictions,
    *,
    folds: Sequence[Mapping],
    corpora: Sequence[Mapping],
    protocol: Mapping,
    init_from: str,
    seed: int,
) -> dict:
    """Scores predictions, over all folds together and in each.

    Args:
      predictions: N utterances.
      folds: {"fold", "test_speakers", "validation_speakers", "num_train", "num_test", "checks"}.
      corpora: {"corpus", "version", "fingerprint", "num_utterances", "num_speakers", "licence"}.
      protocol: at least {"name"}; kept as it is.
      init_from: the weights that training started from; "" for scratch.
      seed: of the run, and of the bootstrap.

    Returns:
      The content of `results.json`, JSON-able; an undefined score is None.

    Raises:
      UserError: a fold or a category of the predictions is not known.
    """
    known = [fold["fold"] for fold in folds]
    for name in sorted(set(predictions.text["fold"]) - set(known)):
        raise UserError(
            f"predictions.csv has fold {str(name)!r}, which folds.json does not list: "
            f"{', '.join(known) or 'none'}"
        )
    scorer = _Scorer(predictions)
    everything = np.arange(len(predictions))
    of_fold = {name: np.flatnonzero(predictions.text["fold"] == name) for name in known}
    genders = sorted(set(predictions.text["gender"]) - {""})
    overall = scorer(everything)
    intervals = compare.confidence_intervals(scorer, predictions.groups, seed=seed)
    fingerprints = [corpus["fingerprint"] for corpus in corpora]
    result = {
        "schema": SCHEMA,
        "protocol": dict(protocol),
        "corpus": {
            "name": "+".join(corpus["corpus"] for corpus in corpora),
            "num_utterances": len(predictions),
            "num_speakers": len(set(predictions.groups)),
            "fingerprint": fingerprints[0]
            if len(fingerprints) == 1
            else hashlib.sha256("\n".join(fingerprints).encode()).hexdigest(),
            "corpora": [dict(corpus) for corpus in corpora],
        },
        "categories": list(predictions.names),
        "dimensions": list(predictions.dimensions),
        "folds": [
            {**fold, "metrics": _nested(scorer(of_fold[fold["fold"]]))}
            for fold in folds
            if len(of_fold[fold["fold"]])
        ],
        "metrics": {**_nested(overall), **scorer.per_category(everything)},
        "by_gender": {
            gender: {
                "num_utterances": int((predictions.text["gender"] == gender).sum()),
                **_nested(scorer(np.flatnonzero(predictions.text["gender"] == gender))),
            }
            for gender in genders
        },
        "confidence": {
            "level": compare.LEVEL,
            "method": "percentile bootstrap over speakers",
            "num_resamples": compare.NUM_RESAMPLES,
            **_nested(intervals),
        },
        "baseline": scorer.baseline(),
        "init_from": init_from,
        "seed": seed,
        "versions": versions(),
    }
    per_fold = [fold["metrics"] for fold in result["folds"]]
    result["mean_over_folds"] = _mean_over_folds(per_fold)
    return json.loads(json.dumps(_without_nan(result)))


def score_workdir(workdir: str | Path) -> dict:
    """Scores a fine-tuning run and writes its `results.json`.

    Args:
      workdir: with config.json, corpora.json, folds.json and predictions.csv.

    Returns:
      What was written, see `score`.

    Raises:
      UserError: a file is missing or does not fit the others.
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise UserError(f"workdir {workdir} does not exist: give the folder of a fine-tuning run")
    check_files(workdir)
    predictions = read_predictions(workdir / "predictions.csv")
    config = load_json(FinetuneConfig, workdir / "config.json")
    folds = read_json(workdir / "folds.json")
    result = score(
        predictions,
        folds=folds,
        corpora=read_trained(workdir).corpora,
        protocol={
            "name": config.protocol.name,
            "num_folds": len(set(predictions.text["fold"])),
            "validation_fraction": config.protocol.validation_fraction,
            "allow_speaker_overlap": config.protocol.allow_speaker_overlap,
            "view": config.labels.view,
            "sha256": read_json(workdir / "corpora.json")["protocol_sha256"],
            "warnings": sorted({w for fold in folds for w in fold["checks"]["warnings"]}),
        },
        init_from=config.init_from,
        seed=config.train.seed,
    )
    write_json(workdir / "results.json", result)
    return result


def versions() -> dict[str, str]:
    """Names the versions that made a result: python, jax, flax, numpy and sersl."""
    packages = {name: importlib.metadata.version(name) for name in ("jax", "flax", "numpy")}
    return {"python": platform.python_version(), **packages, "sersl": __version__}


class _Scorer:
    """Row numbers to flat scores; what needs doing once is done once."""

    def __init__(self, predictions: Predictions):
        self._names = predictions.names
        self._dimensions = predictions
        self._columns = [(name, DIMENSIONS.index(name)) for name in predictions.dimensions]
        text = predictions.text
        self._labelled = (text["category"] != "") & bool(self._names)
        self._truth = np.zeros(len(predictions), np.int64)
        self._predicted = np.zeros(len(predictions), np.int64)
        where = self._labelled
        self._truth[where] = metrics.indices(text["category"][where], self._names)
        self._predicted[where] = metrics.indices(text["predicted"][where], self._names)

    def _pairs(self, rows):
        rows = rows[self._labelled[rows]]
        return self._truth[rows], self._predicted[rows]

    def __call__(self, rows: np.ndarray) -> dict[str, float]:
        scores = {}
        if self._labelled.any():
            scores.update(metrics.category_scores(*self._pairs(rows), len(self._names)))
        predicted, truth = self._dimensions.predicted, self._dimensions.truth
        if predicted is not None:
            for name, i in self._columns:
                scores[f"ccc.{name}"] = metrics.ccc(truth[rows, i], predicted[rows, i])
        return scores

    def per_category(self, rows: np.ndarray) -> dict:
        known = ~np.isnan(self._dimensions.truth).all(axis=1)
        counts = {
            "num_with_category": int(self._labelled[rows].sum()),
            "num_with_dimensions": int(known[rows].sum()),
        }
        if not self._labelled.any():
            return counts
        confusion = metrics.confusion_matrix(*self._pairs(rows), len(self._names))
        recall = metrics.recalls(confusion).tolist()
        return {
            **counts,
            "recall": dict(zip(self._names, recall, strict=True)),
            "confusion": {"names": list(self._names), "counts": confusion.tolist()},
        }

    def baseline(self) -> dict:
        if not self._labelled.any():
            return {}
        truth = self._truth[self._labelled]
        return {
            "majority": metrics.majority_baseline(truth, self._names),
            "chance": metrics.chance_baseline(truth, len(self._names)),
        }


def _nested(scores: Mapping) -> dict:
    flat = {name: value for name, value in scores.items() if not name.startswith("ccc.")}
    return {
        **flat,
        "ccc": {name[4:]: value for name, value in scores.items() if name.startswith("ccc.")},
    }


def _mean_over_folds(per_fold: list[dict]) -> dict:
    summary = {}
    for name in ("uar", "accuracy", "macro_f1"):
        values = [fold[name] for fold in per_fold if name in fold and not math.isnan(fold[name])]
        if values:
            summary[name] = {"mean": float(np.mean(values)), "std": float(np.std(values))}
    return summary


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
