"""A finished fine-tuning run, made up: the files that scoring and reporting read."""

import json

import numpy as np

from sersl.config import load, schema
from sersl.corpora.labels import DIMENSIONS
from sersl.eval.predictions import Predictions, write_predictions

NAMES = ("angry", "happy", "sad", "neutral", "fear")

SIDES = ("train/validation", "train/test", "validation/test")


def make_predictions(*, num_speakers=12, rows=240, names=NAMES, dimensions=True, seed=0):
    random = np.random.default_rng(seed)
    num = len(names)
    truth = random.choice(num, rows, p=np.linspace(2, 1, num) / np.linspace(2, 1, num).sum())
    logits = 1.6 * np.eye(num)[truth] + random.normal(size=(rows, num))
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    speaker = np.arange(rows) % num_speakers
    ratings = random.random((rows, 3))
    guesses = np.clip(0.6 * ratings + 0.2 + 0.12 * random.normal(size=(rows, 3)), 0, 1)
    ratings[::7] = np.nan
    return Predictions(
        text={
            "utterance_id": np.array([f"utterance-{i:04d}" for i in range(rows)]),
            "fold": np.array([str(1 + s * 4 // num_speakers) for s in speaker]),
            "speaker": np.array([f"{s + 1:02d}" for s in speaker]),
            "corpus": np.full(rows, "synthetic"),
            "gender": np.where(speaker % 2, "female", "male"),
            "category": np.array(names)[truth],
            "predicted": np.array(names)[scores.argmax(axis=1)],
        },
        names=tuple(names),
        scores=scores,
        truth=ratings,
        predicted=guesses if dimensions else None,
    )


def make_folds(predictions):
    folds = []
    for name in sorted(set(predictions.text["fold"])):
        test = predictions.text["fold"] == name
        train = sorted(set(predictions.text["speaker"][~test]))
        folds.append(
            {
                "fold": name,
                "test_speakers": sorted(set(predictions.text["speaker"][test])),
                "validation_speakers": train[:1],
                "num_train": int((~test).sum()),
                "num_test": int(test.sum()),
                "checks": {
                    "warnings": [],
                    "notes": [],
                    "sizes": {"train": int((~test).sum()), "validation": 0, "test": 20},
                    "allowed": False,
                    "speakers": dict.fromkeys(SIDES, 0),
                    "audio": dict.fromkeys(SIDES, 0),
                    "texts": dict.fromkeys(SIDES, 8),
                },
            }
        )
    return folds


def make_corpora(predictions, fingerprint="ab" * 32):
    return [
        {
            "corpus": "synthetic",
            "version": "1.0.0",
            "fingerprint": fingerprint,
            "num_utterances": len(predictions),
            "num_speakers": len(set(predictions.groups)),
            "licence": "Apache-2.0",
        }
    ]


def write_run(workdir, predictions=None, *, curves=True):
    """Writes the workdir and gives its predictions."""
    predictions = make_predictions() if predictions is None else predictions
    workdir.mkdir(parents=True, exist_ok=True)
    config = schema.FinetuneConfig(
        labels=schema.LabelsConfig(dimensions=predictions.predicted is not None),
        init_from="runs/pretrain",
        name="synthetic-tiny",
    )
    load.save_json(config, workdir / "config.json")
    folds = make_folds(predictions)
    (workdir / "folds.json").write_text(json.dumps(folds))
    (workdir / "corpora.json").write_text(
        json.dumps(
            {
                "corpora": make_corpora(predictions),
                "categories": list(predictions.names),
                "protocol_sha256": "cd" * 32,
            }
        )
    )
    write_predictions(workdir / "predictions.csv", predictions)
    random = np.random.default_rng(1)
    for fold in folds if curves else ():
        folder = workdir / "folds" / fold["fold"]
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for step in range(10, 410, 10):
            noise = random.normal(scale=0.03)
            record = {"step": step, "loss": 1.1 + 1.2 * np.exp(-step / 120) + noise}
            if step % 50 == 0:
                record["validation_uar"] = 0.7 - 0.5 * np.exp(-step / 90) + noise
                for name in DIMENSIONS:
                    record[f"validation_ccc_{name}"] = 0.6 - 0.5 * np.exp(-step / 70) + noise
            lines.append(json.dumps(record))
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return predictions
