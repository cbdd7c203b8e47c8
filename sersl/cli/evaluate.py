"""`sersl evaluate`: scores and a report of a finished run, or of a released model on a corpus."""

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sersl.audio.flac import encode_flac
from sersl.cli.console.audio_files import progress
from sersl.core.display import one_line
from sersl.core.errors import UserError
from sersl.core.files import check_writable, write_json
from sersl.core.lengths import SAMPLE_RATE
from sersl.corpora.index import CorpusIndex, read_summary
from sersl.corpora.label_columns import applying, ratings, words
from sersl.corpora.labels import DIMENSIONS, VIEWS, LabelView, make_view, order_dimensions
from sersl.data.sources import CorpusSource
from sersl.eval.multi_label import joined
from sersl.eval.over_seeds import score_run
from sersl.eval.predictions import Predictions, write_predictions
from sersl.eval.report import Recording, write_report
from sersl.eval.report_tables import score_table
from sersl.eval.results import score
from sersl.eval.workdir_files import write_results
from sersl.release.predict.outputs import Answer
from sersl.release.predict.predictor import Model, load
from sersl.release.starting_weights import corpora_of_model
from sersl.runs.leaks import seen_of

LISTEN_SECONDS = 15  # of a recording in a report
FOLD = "all"  # a released model is tested on everything at once


def run(arguments: Namespace) -> int:
    """Scores, reports and prints the table.

    Args:
      arguments: `workdir`; or `model`, `corpus`, `data_dir`, `output` and `no_verify`; `listen`.

    Returns:
      The exit code, 0.

    Raises:
      UserError: wrong arguments, missing files, or nothing in common to score.
    """
    if arguments.listen and not arguments.data_dir:
        raise UserError(
            "--listen needs the recordings: give --data_dir DIR, the folder of the prepared corpora"
        )
    if arguments.workdir:
        if arguments.model:
            raise UserError("give either --workdir or --model, not both")
        workdir = Path(arguments.workdir)
        if workdir.is_dir():
            check_writable(workdir, option="--workdir")
        results = score_run(workdir)
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
    recording = _recordings(arguments.data_dir) if arguments.listen else None
    report = write_report(workdir, recording=recording)
    print(score_table(results))
    print(f"report: {report}")
    return 0


def _recordings(data_dir: str) -> Recording:
    """Gives a function that reads the start of a recording, given its corpus and utterance."""
    sources: dict[str, CorpusSource] = {}

    def read(corpus: str, utterance_id: str) -> bytes:
        if corpus not in sources:
            sources[corpus] = CorpusSource(data_dir, corpus)
        source = sources[corpus]
        rows = np.flatnonzero(source.index.column("utterance_id") == utterance_id)
        if not len(rows):
            raise UserError(
                f"--data_dir {data_dir} has no utterance {one_line(utterance_id)} of corpus "
                f"{one_line(corpus)}: give the folder of the corpora that were scored"
            )
        most = min(int(source.num_samples[rows[0]]), LISTEN_SECONDS * SAMPLE_RATE)
        return encode_flac(source.waveform(int(rows[0]), num_samples=most))

    return read


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
    view = view_of(model)
    truth = _truth(index, view)
    shared, only_corpus, merged = truth.shared, truth.only_corpus, truth.merged
    only_model = [name for name in view.names if name not in shared]
    rated = np.isfinite(ratings(index, model.dimensions)).any()
    if not shared and not (model.dimensions and rated):
        raise UserError(
            f"model {model_name} and corpus {index.corpus!r} share no category and no dimension: "
            f"the model knows {', '.join((*model.categories, *model.dimensions)) or 'nothing'}"
        )
    seen = seen_of(index, corpora_of_model(model.about))
    if seen.labels:
        _say(
            f"warning: LEAK: the model was trained with labels of {index.corpus!r}, so the scores "
            "do not hold for new speakers"
        )
    elif seen.audio:
        _say(f"note: the model was trained on recordings of {index.corpus!r}, without labels")
    if merged:
        listed = ", ".join(f"{text} {count}" for text, count in sorted(merged.items()))
        _say(f"merged as the model was trained: {listed} utterances")
    if only_corpus:
        listed = ", ".join(f"{name} {count}" for name, count in sorted(only_corpus.items()))
        _say(f"left out, as the model does not know them: {listed} utterances")
    if only_model:
        _say(f"not to be chosen, as the corpus does not have them: {', '.join(only_model)}")
    predictions, failed = _predict(model, source, truth)
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
            "trained_on_this_corpus": seen.audio,
            "labels_of_this_corpus_used": seen.labels,
            "merged": [f"{text}: {count}" for text, count in sorted(merged.items())],
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
    write_results(output, results)
    return results


def view_of(model: Model) -> LabelView:
    """Gives the classes of a model, and which categories it was trained to merge into them."""
    if model.labels.to_json():
        return model.labels.view(model.categories)
    results = model.about.get("results") or {}
    name = model.about.get("view") or results.get("protocol", {}).get("view", "")
    view = make_view(name, ()) if name in VIEWS else LabelView(())
    # An imported model, and one of an own set of categories, merges none.
    return view if view.names == model.categories else LabelView(model.categories)


@dataclass(frozen=True, kw_only=True)
class _Truth:
    """The labels of a corpus in the categories of a model.

    Attributes:
      classes: str [n]; where several may apply, joined by ";".
      shared: categories that both have, in the order of the model.
      only_corpus: words that are no category of the model, and their number.
      merged: words that the model was trained to take for another, and their number.
      labelled: bool [n], where several may apply: whether it is known which do; else None.
    """

    classes: np.ndarray
    shared: tuple[str, ...]
    only_corpus: Counter[str]
    merged: Counter[str]
    labelled: np.ndarray | None = None


def _truth(index: CorpusIndex, view: LabelView) -> _Truth:
    categories = words(index, raw=view.raw).astype(str)
    single = np.array([*view.names, ""])[view.indices(categories)]
    merged = Counter(
        f"{category} as {name}"
        for category, name in zip(categories.tolist(), single.tolist(), strict=True)
        if name and name != category
    )
    only_corpus = Counter(categories[(categories != "") & (single == "")].tolist())
    if not view.multi:
        shared = tuple(name for name in view.names if name in single)
        return _Truth(classes=single, shared=shared, only_corpus=only_corpus, merged=merged)
    table = applying(index, view)
    there = (table == 1).any(axis=0)
    shared = tuple(name for name, found in zip(view.names, there, strict=True) if found)
    return _Truth(
        classes=joined((table == 1)[:, there], shared),
        shared=shared,
        only_corpus=only_corpus,
        merged=merged,
        labelled=~np.isnan(table).any(axis=1),
    )


def _predict(model: Model, source: CorpusSource, truth: _Truth) -> tuple[Predictions, Counter]:
    shared = truth.shared
    index, kept, answers = source.index, [], []
    failed: Counter[str] = Counter()
    waveforms = (source.waveform(row) for row in range(len(index)))
    with progress(len(index), unit="utterance") as bar:
        for row, answer in enumerate(model.answers(waveforms, sample_rate=SAMPLE_RATE)):
            if answer.scored:
                kept.append(row)
                answers.append(answer)
            else:
                failed[answer.status] += 1
            bar.update()
    if not kept:
        raise UserError(f"no utterance of {index.corpus!r} could be scored: {dict(failed)}")
    scores = np.array([[answer.rows[0].category[name] for name in shared] for answer in answers])
    scores = scores.reshape(len(kept), len(shared))
    if truth.labelled is None:
        # Among the shared categories only, so that they sum to 1 again.
        scores = scores / np.maximum(scores.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return _table(model, index, np.array(kept), truth, scores=scores, answers=answers), failed


def _table(
    model: Model,
    index: CorpusIndex,
    rows: np.ndarray,
    truth: _Truth,
    *,
    scores: np.ndarray,
    answers: Sequence[Answer],
) -> Predictions:
    rated = order_dimensions((*DIMENSIONS, *model.dimensions))
    shared = truth.shared
    best = np.array(shared)[scores.argmax(axis=1)] if shared else np.full(len(rows), "")
    if truth.labelled is not None:
        least = np.array([model.labels.thresholds[name] for name in shared])
        best = joined(scores >= least, shared)
    predicted = None
    if model.dimensions:
        predicted = np.full((len(answers), len(rated)), np.nan)
        for name in model.dimensions:
            values = [answer.rows[0].dimensions[name] for answer in answers]
            predicted[:, rated.index(name)] = values
    return Predictions(
        text={
            "utterance_id": index.column("utterance_id")[rows].astype(str),
            "fold": np.full(len(rows), FOLD),
            "speaker": index.column("speaker")[rows].astype(str),
            "corpus": np.full(len(rows), index.corpus),
            "gender": index.column("gender")[rows].astype(str),
            "category": truth.classes[rows],
            "predicted": best,
        },
        names=shared,
        labelled=None if truth.labelled is None else truth.labelled[rows],
        scores=scores,
        rated=rated,
        truth=ratings(index, rated)[rows],
        predicted=predicted,
    )


def _say(text: str) -> None:
    print(f"sersl: {one_line(text)}", file=sys.stderr)
