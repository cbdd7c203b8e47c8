"""`sersl annotate`: writes frame intensity and prosody of a prepared corpus beside its records.

With --fit it fits an annotator; with --check it compares one with the corpus's own intensities.
"""

import sys
import time
from pathlib import Path

from sersl.annotation.annotate import annotate_corpus, find_sidecar
from sersl.annotation.annotator_folder import is_annotator
from sersl.annotation.annotators import RULES, Annotator
from sersl.annotation.fit import Portion, fit_annotator
from sersl.annotation.fitted import open_fitted
from sersl.annotation.sidecar_parts import clear_partials
from sersl.cli.console.progress import Progress
from sersl.config.annotation import FitConfig
from sersl.config.load import from_overrides
from sersl.core.errors import UserError, unknown_name
from sersl.core.files import check_writable
from sersl.core.lengths import SAMPLE_RATE
from sersl.core.share import read_share
from sersl.corpora.index import load_index
from sersl.corpora.sidecar import annotation_folder
from sersl.data.sources import CorpusSource
from sersl.eval import intensity_agreement
from sersl.release.model_annotator import MEASURES, ModelAnnotator, is_model

_LINE_SECONDS = 10.0  # between progress lines where there is no terminal


def run(arguments) -> int:
    """Annotates one corpus, fits an annotator, or checks one.

    Args:
      arguments: `annotator`, `corpus`, `data_dir`, `processes`, `shard`, `measure`, `check`, `fit`,
        `output` and `overrides`.

    Returns:
      The exit code, 0.
    """
    if arguments.fit is not None:
        return _fit(arguments)
    if arguments.overrides:
        raise UserError("--config.KEY=VALUE are settings of --fit: add --fit ranker or strength")
    if arguments.output is not None and not arguments.check:
        raise UserError("--output belongs to --fit or --check: add one of them, or leave it out")
    if arguments.output is not None:
        check_writable(arguments.output, option="--output")
    annotator = open_annotator(arguments.annotator, measure=arguments.measure)
    finished = _annotate(annotator, arguments)
    if arguments.check and finished:
        source = CorpusSource(arguments.data_dir, arguments.corpus, annotator=annotator.name)
        check = intensity_agreement.check(source)
        print(intensity_agreement.as_text(check))
        if arguments.output is not None:
            for path in intensity_agreement.write(check, source, Path(arguments.output)):
                print(f"wrote {path}")
    return 0


def open_annotator(name: str, *, measure: str | None = None) -> Annotator:
    """Opens an annotator by name or folder.

    Args:
      name: of a rule, or the folder of a fitted annotator or of a released model.
      measure: of a released model, one of `MEASURES`; None: the first, or not a model.

    Returns:
      The annotator.

    Raises:
      UserError: it is none of these, or `measure` is given for something that is not a model.
    """
    if measure is not None and measure not in MEASURES:
        raise unknown_name("measure", measure, MEASURES)
    if name not in RULES and is_model(name):
        return ModelAnnotator(name, measure=measure or MEASURES[0])
    if measure is not None:
        raise UserError(f"--measure is for released models, and {name!r} is not one: leave it out")
    if name in RULES:
        return RULES[name]
    if is_annotator(name):
        return open_fitted(name)
    raise UserError(
        f"{unknown_name('annotator', name, RULES)}; or give a folder of `sersl annotate --fit` or "
        "of `sersl export`"
    )


def _annotate(annotator: Annotator, arguments) -> bool:
    """Writes the sidecar; returns whether it is complete."""
    index = load_index(arguments.data_dir, arguments.corpus)
    shard = read_share(arguments.shard, option="--shard")
    if find_sidecar(annotator, index) is not None:
        folder = annotation_folder(index, annotator.name)
        clear_partials(folder)
        print(f"corpus {index.corpus} was already annotated by {annotator.name}: {folder}")
        return True
    started = time.monotonic()
    with Progress("annotate") as progress:
        written = annotate_corpus(
            annotator,
            arguments.corpus,
            data_dir=arguments.data_dir,
            processes=arguments.processes,
            shard=shard,
            progress=progress,
        )
    seconds = time.monotonic() - started
    if written is None:
        print(
            f"shard {arguments.shard} of corpus {index.corpus} is done in {seconds:.1f} s; the "
            "last of the others to end makes the sidecar"
        )
        return False
    samples = index.column("num_samples").sum() if progress.done == len(index) else 0
    hours = samples / SAMPLE_RATE / 3600
    speed = f", {hours:.2f} h" if samples else ""
    rate = f" ({3600 * hours / max(seconds, 1e-3):.0f} x real time)" if progress.fresh else ""
    print(
        f"corpus {index.corpus} is annotated by {annotator.name}: {len(index)} utterances{speed} "
        f"in {seconds:.1f} s{rate}: {written}"
    )
    return True


def _fit(arguments) -> int:
    if arguments.output is None:
        raise UserError("--fit needs --output FOLDER: its last part is the annotator's name")
    config = from_overrides(FitConfig, arguments.overrides)
    names = [name for name in arguments.corpus.split(",") if name]
    portions = [Portion(CorpusSource(arguments.data_dir, name)) for name in names]
    started = time.monotonic()
    last = [started]

    def progress(step: int, steps: int, terms: dict[str, float]) -> None:
        if step == steps or time.monotonic() - last[0] >= _LINE_SECONDS:
            last[0] = time.monotonic()
            words = ", ".join(f"{name} {value:.3f}" for name, value in terms.items())
            print(f"fit: step {step} of {steps}: {words}", file=sys.stderr, flush=True)

    folder = fit_annotator(arguments.fit, portions, arguments.output, config, progress=progress)
    count = sum(len(portion.rows) for portion in portions)
    print(
        f"{arguments.fit} fitted on {count} utterances of {', '.join(names)} in "
        f"{time.monotonic() - started:.1f} s: use it with `sersl annotate --annotator {folder}`"
    )
    return 0
