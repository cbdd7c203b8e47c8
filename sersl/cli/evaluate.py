"""`sersl evaluate`: scores and a report of a finished run, or of a released model on a corpus."""

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sersl.audio.flac import encode_flac
from sersl.cli.console.audio_files import progress
from sersl.cli.console.model_arguments import tables_of
from sersl.core.display import one_line
from sersl.core.errors import UserError
from sersl.core.files import check_writable, write_json
from sersl.core.lengths import SAMPLE_RATE
from sersl.corpora.index import read_summary
from sersl.corpora.label_columns import ratings
from sersl.data.chosen_rows import of_speakers
from sersl.data.sources import CorpusSource
from sersl.eval.analysis.degradation import degradation_rows
from sersl.eval.analysis.embedding_map import save_embeddings
from sersl.eval.comparison.tables import as_text
from sersl.eval.over_seeds import score_run
from sersl.eval.predictions import read_predictions, write_predictions
from sersl.eval.report import Recording, write_report
from sersl.eval.report_tables import score_table
from sersl.eval.results import score
from sersl.eval.scorer import without_nan
from sersl.eval.workdir_files import write_results
from sersl.finetuning.folds import differences
from sersl.release.doubts import Doubts, check_ensemble, measure_doubts
from sersl.release.file_names import ABOUT
from sersl.release.predict.dropout import check_dropout
from sersl.release.predict.precision import check_precision
from sersl.release.predict.predictor import Model, load
from sersl.release.robustness import Robustness, check_setup, measure, write_tables
from sersl.release.scoring import FOLD, CorpusTruth, predict_corpus, truth_of, view_of
from sersl.release.starting_weights import corpora_of_model
from sersl.runs.leaks import seen_of

LISTEN_SECONDS = 15  # of a recording in a report


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
    options = vars(arguments)
    for name in ("conditions", "noise_corpora"):
        if options.get(name) and not options.get("robustness"):
            raise UserError(f"--{name} belongs to --robustness: give that too")
    speakers = [name for text in options.get("speakers") or () for name in text.split(",") if name]
    if arguments.workdir:
        if arguments.model:
            raise UserError("give either --workdir or --model, not both")
        for name in ("speakers", "precision", "table", "no_average"):
            if options.get(name):
                raise UserError(
                    f"--{name} belongs to --model: leave it out, a run is scored as it is"
                )
        for name in ("robustness", "dropout_passes", "ensemble"):
            if options.get(name):
                raise UserError(
                    f"--{name} needs a model to run: write one with `sersl export --workdir DIR "
                    "--fold NAME`, and give it as --model"
                )
        workdir = Path(arguments.workdir)
        if (workdir / ABOUT).is_file():
            raise UserError(
                f"{workdir} is a model folder, not the workdir of a run: give it as --model, with "
                "--corpus NAME --data_dir DIR --output DIR"
            )
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
        check_precision(options.get("precision"))
        source = CorpusSource(arguments.data_dir, arguments.corpus)
        if speakers:
            source = of_speakers(source, speakers)
        test = _robustness(options, source) if options.get("robustness") else None
        model = load(
            arguments.model,
            verify_weights=not options.get("no_verify"),
            precision=options.get("precision"),
            tables=tables_of(options.get("table") or ()),
            average=not options.get("no_average"),
        )
        model.network.tables.check(source.index)
        doubts = _doubts(options, model)
        results = _score_released(
            model,
            source,
            workdir,
            model_name=arguments.model,
            precision=options.get("precision") or "",
            test=test,
            doubts=doubts,
        )
    recording = _recordings(arguments.data_dir) if arguments.listen else None
    report = write_report(workdir, recording=recording, compared=options.get("compare") or ())
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


def _robustness(options: Mapping[str, Any], source: CorpusSource) -> Robustness:
    """Checks the options of --robustness before the model is loaded."""
    noise = [CorpusSource(options["data_dir"], name) for name in options["noise_corpora"] or ()]
    return Robustness(
        source,
        names=options["conditions"] or (),
        noise=noise,
        seed=options["seed"],
        say=_say,
    )


def _doubts(options: Mapping[str, Any], model: Model) -> Doubts:
    """Loads the models of --ensemble, and checks what uncertainty can be measured."""
    verify = not options.get("no_verify")
    tables = tables_of(options.get("table") or ())
    average = not options.get("no_average")
    others = [
        load(one, verify_weights=verify, tables=tables, average=average)
        for one in options.get("ensemble") or ()
    ]
    check_ensemble(model, others)
    passes = options.get("dropout_passes") or 0
    if passes:
        check_dropout(model)
    return Doubts(num_passes=passes, ensemble=others, seed=options.get("seed") or 0)


def _add_robustness(
    results: dict[str, Any], test: Robustness, model: Model, truth: CorpusTruth, output: Path
) -> dict[str, Any]:
    """Measures the conditions, and writes them into results.json and tables."""
    _say(f"{len(test.conditions)} conditions; rerun an interrupted command to resume it")

    def bar(title: str, total: int) -> Callable[[], object]:
        _say(f"condition {title}")
        return progress(total, unit="utterance").update

    clean = read_predictions(output / "predictions.csv")
    found = measure(test, model, truth, output, clean=clean, progress=bar)
    write_tables(output, found)
    header, rows = degradation_rows(found["conditions"])
    print(as_text(header, rows))
    return write_results(output, {**_unsealed(results), "robustness": found})


def _unsealed(results: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in results.items() if not key.endswith("sha256")}


def _score_released(
    model: Model,
    source: CorpusSource,
    output: Path,
    *,
    model_name: str,
    precision: str,
    test: Robustness | None,
    doubts: Doubts,
) -> dict[str, Any]:
    index, speeds = source.index, list(model.averaging.speeds)
    view = view_of(model)
    truth = truth_of(index, view)
    shared, only_corpus, merged = truth.shared, truth.only_corpus, truth.merged
    only_model = [name for name in view.names if name not in shared]
    rated = np.isfinite(ratings(index, model.dimensions)).any()
    if not shared and not (model.dimensions and rated):
        raise UserError(
            f"model {model_name} and corpus {index.corpus!r} share no category and no dimension: "
            f"the model predicts {', '.join((*model.categories, *model.dimensions)) or 'nothing'}"
        )
    if test is not None:
        asked = {
            "precision": precision,
            "tables": model.network.tables.identities(),
            "average_speeds": speeds,
        }
        given = {name: value for name, value in asked.items() if value}
        check_setup(output, test.setup(model) | given)
    if len(shared) == 1 and not view.multi and not (model.dimensions and rated):
        raise UserError(
            f"model {model_name} and corpus {index.corpus!r} share one category, {shared[0]}, so "
            f"every answer would be right: the model predicts {', '.join(model.categories)}; give "
            "a corpus that has two of them"
        )
    for text in differences(index):
        _say(f"note: {text}: do not compare the scores with published ones")
    seen = seen_of(index, corpora_of_model(model.about))
    if seen.labels:
        trained = f"the model was trained with labels of {index.corpus!r}"
        if index.part_of is None:
            _say(f"warning: LEAK: {trained}, so the scores do not hold for new speakers")
        else:
            _say(
                f"note: {trained}: the scores hold for new speakers only if it was not trained on "
                "these, as that of `sersl export --fold` on the test speakers of its fold"
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
    with progress(len(index), unit="utterance") as bar:
        answers = predict_corpus(model, source, truth, after_each=bar.update)
    predictions, failed = answers.predictions, answers.failed
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
            "temperature": model.labels.temperature,
            "precision": precision,
            "tables": model.network.tables.identities(),
            **({"average_speeds": speeds} if speeds else {}),
            "merged": [f"{text}: {count}" for text, count in sorted(merged.items())],
            "categories_only_in_corpus": [f"{n}: {c}" for n, c in sorted(only_corpus.items())],
            "categories_only_in_model": only_model,
            "speakers": [] if index.part_of is None else sorted(set(index.column("speaker"))),
            "not_scored": [f"{status}: {count}" for status, count in sorted(failed.items())],
        },
        init_from=model_name,
        seed=0,
    )
    if model.categories and shared:
        more = len(answers.rows) * (len(doubts.ensemble) + bool(doubts.num_passes))
        with progress(more, unit="utterance") as bar:
            results["uncertainty"] = measure_doubts(
                model,
                source,
                truth,
                answers,
                doubts=doubts,
                after_each=bar.update,
            )
    settings = {"name": f"{Path(model_name).name} on {index.corpus}", "model": dict(model.about)}
    output.mkdir(parents=True, exist_ok=True)
    write_predictions(output / "predictions.csv", predictions)
    write_json(output / "config.json", settings)
    save_embeddings(output, predictions.text["utterance_id"], answers.embeddings)
    results = write_results(output, without_nan(results))
    if test is not None:
        results = _add_robustness(results, test, model, truth, output)
    return results


def _say(text: str) -> None:
    print(f"sersl: {one_line(text)}", file=sys.stderr)
