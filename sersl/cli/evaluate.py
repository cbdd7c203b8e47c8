"""`sersl evaluate`: scores and a report of a finished run, or of a released model on a corpus."""

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sersl.cli.audio_files import progress
from sersl.core.display import one_line
from sersl.core.errors import UserError
from sersl.core.files import check_writable, write_json
from sersl.core.lengths import SAMPLE_RATE
from sersl.corpora.index import CorpusIndex, read_summary
from sersl.corpora.labels import DIMENSIONS
from sersl.data.sources import CorpusSource
from sersl.eval.predictions import Predictions, write_predictions
from sersl.eval.report import score_table, score_workdir, write_report
from sersl.eval.results import score
from sersl.release.predict.outputs import OK, Answer
from sersl.release.predict.predictor import Model, load

FOLD = "all"  # a released model is tested on everything at once


def run(arguments: Namespace) -> int:
    """Scores, reports and prints the table.

    Args:
      arguments: `workdir`; or `model`, `corpus`, `data_dir`, `output` and `no_verify`.

    Returns:
      The exit code, 0.

    Raises:
      UserError: wrong arguments, missing files, or nothing in common to score.
    """
    if arguments.workdir:
        if arguments.model:
            raise UserError("give either --workdir or --model, not both")
        workdir = Path(arguments.workdir)
        if workdir.is_dir():
            check_writable(workdir, option="--workdir")
        results = score_workdir(workdir)
    else:
        needed = ("model", "corpus", "data_dir", "output")
        missing = [f"--{name}" for name in needed if not getattr(arguments, name)]
        if missing:
            raise UserError(
                f"{', '.join(missing)} is missing: give --workdir DIR, or --model DIR --corpus "
                "NAME --data_dir DIR --output DIR"
            )
        workdir = Path(arguments.output)
        _check_output(workdir)
        source = CorpusSource(arguments.data_dir, arguments.corpus)
        model = load(arguments.model, verify_weights=not getattr(arguments, "no_verify", False))
        results = _score_released(model, source, workdir, model_name=arguments.model)
    report = write_report(workdir)
    print(score_table(results))
    print(f"report: {report}")
    return 0


def _check_output(folder: Path) -> None:
    """Checks, before any work, that a report can be written and replaces nothing else."""
    for name in ("sersl.json", "checkpoints", "folds"):
        if (folder / name).exists():
            raise UserError(
                f"--output {folder} is a model folder or the workdir of a run, whose config.json "
                "would be replaced: give another folder"
            )
    check_writable(folder, option="--output")


def _score_released(model: Model, source: CorpusSource, output: Path, *, model_name: str) -> dict:
    index = source.index
    categories = [str(name) for name in index.column("category")]
    shared = tuple(name for name in model.categories if name in categories)
    only_corpus = Counter(name for name in categories if name and name not in shared)
    only_model = [name for name in model.categories if name not in shared]
    rated = any(np.isfinite(index.column(name)).any() for name in DIMENSIONS)
    if not shared and not (model.dimensions and rated):
        raise UserError(
            f"model {model_name} and corpus {index.corpus!r} share no category and no dimension: "
            f"the model knows {', '.join((*model.categories, *model.dimensions)) or 'nothing'}"
        )
    known = [*model.about["corpora"], *model.about["origin"]]
    trained_on = index.fingerprint in [corpus["fingerprint"] for corpus in known]
    if trained_on:
        _say(
            f"warning: the model was trained on these very recordings of {index.corpus!r}, so the "
            "scores say nothing about new speakers"
        )
    if only_corpus:
        listed = ", ".join(f"{name} {count}" for name, count in sorted(only_corpus.items()))
        _say(f"left out, as the model does not know them: {listed} utterances")
    if only_model:
        _say(f"not to be chosen, as the corpus does not have them: {', '.join(only_model)}")
    predictions, failed = _predict(model, source, shared)
    if failed:
        _say(f"{sum(failed.values())} utterances were not scored: {dict(failed)}")
    corpus = {
        "corpus": index.corpus,
        "version": index.version,
        "fingerprint": index.fingerprint,
        "num_utterances": len(index),
        "num_speakers": len(set(index.column("speaker")) - {""}),
        "licence": read_summary(index.folder)["licence"],
    }
    fold = {
        "fold": FOLD,
        "test_speakers": sorted(set(predictions.text["speaker"])),
        "validation_speakers": [],
        "num_train": 0,
        "num_test": len(predictions),
        "checks": {},
    }
    results = score(
        predictions,
        folds=[fold],
        corpora=[corpus],
        protocol={
            "name": "released-model",
            "trained_on_this_corpus": trained_on,
            "categories_only_in_corpus": [f"{n}: {c}" for n, c in sorted(only_corpus.items())],
            "categories_only_in_model": only_model,
            "not_scored": [f"{status}: {count}" for status, count in sorted(failed.items())],
        },
        init_from=model_name,
        seed=0,
    )
    settings = {"name": f"{Path(model_name).name} on {index.corpus}", "model": dict(model.about)}
    output.mkdir(parents=True, exist_ok=True)
    write_predictions(output / "predictions.csv", predictions)
    write_json(output / "config.json", settings)
    write_json(output / "results.json", results)
    return results


def _predict(
    model: Model, source: CorpusSource, shared: Sequence[str]
) -> tuple[Predictions, Counter]:
    index, kept, answers = source.index, [], []
    failed: Counter[str] = Counter()
    waveforms = (source.waveform(row) for row in range(len(index)))
    with progress(len(index), unit="utterance") as bar:
        for row, answer in enumerate(model.answers(waveforms, sample_rate=SAMPLE_RATE)):
            if answer.status == OK:
                kept.append(row)
                answers.append(answer)
            else:
                failed[answer.status.partition(":")[0]] += 1
            bar.update()
    if not kept:
        raise UserError(f"no utterance of {index.corpus!r} could be scored: {dict(failed)}")
    scores = np.array([[answer.rows[0].category[name] for name in shared] for answer in answers])
    scores = scores.reshape(len(kept), len(shared))
    # Among the shared categories only, so that they sum to 1 again.
    scores = scores / np.maximum(scores.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return _table(
        model, index, np.array(kept), scores=scores, shared=shared, answers=answers
    ), failed


def _table(
    model: Model,
    index: CorpusIndex,
    rows: np.ndarray,
    *,
    scores: np.ndarray,
    shared: Sequence[str],
    answers: Sequence[Answer],
) -> Predictions:
    truth = index.column("category")[rows].astype(str)
    best = np.array(shared)[scores.argmax(axis=1)] if shared else np.full(len(rows), "")
    predicted = None
    if model.dimensions:
        predicted = np.array([[a.rows[0].dimensions[name] for name in DIMENSIONS] for a in answers])
    return Predictions(
        text={
            "utterance_id": index.column("utterance_id")[rows].astype(str),
            "fold": np.full(len(rows), FOLD),
            "speaker": index.column("speaker")[rows].astype(str),
            "corpus": np.full(len(rows), index.corpus),
            "gender": index.column("gender")[rows].astype(str),
            "category": np.where(np.isin(truth, list(shared)), truth, ""),
            "predicted": best,
        },
        names=tuple(shared),
        scores=scores,
        truth=np.stack([index.column(name)[rows] for name in DIMENSIONS], axis=1),
        predicted=predicted,
    )


def _say(text: str) -> None:
    print(f"sersl: {one_line(text)}", file=sys.stderr)
