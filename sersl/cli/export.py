"""`sersl export`: a finished run to a model folder that others can use."""

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sersl.config.load import load_json
from sersl.config.schema import FinetuneConfig, PretrainConfig
from sersl.core.display import one_line
from sersl.core.errors import UserError
from sersl.core.fields import Fields
from sersl.core.files import check_name
from sersl.corpora.labels import DIMENSIONS
from sersl.eval.analysis.calibration import temperature_of_fold
from sersl.eval.answers import Answers
from sersl.eval.over_seeds import refuse_seeds
from sersl.eval.workdir_files import (
    Trained,
    check_files,
    read_json,
    read_results,
    read_trained,
)
from sersl.finetuning.baselines.baseline_trainer import NONE
from sersl.finetuning.fusion.workdir_views import read_views
from sersl.release.check import check_folder
from sersl.release.copying import copy_model
from sersl.release.file_names import ABOUT, ONNX_FOLDER, STABLEHLO_FOLDER, TRITON_FOLDER
from sersl.release.folder import Finish, write_encoder, write_model
from sersl.release.formats.other_formats import Formats
from sersl.release.label_facts import LabelFacts, read_facts
from sersl.release.layout import check_destination
from sersl.release.licences import check_release
from sersl.release.rewriting import read_notes
from sersl.runs.checkpoint import has_item, load_params
from sersl.runs.provenance import read_origin

FORMATS = ("onnx", "int8", "triton", "stablehlo")  # options that add one
_REMEDY = "run `sersl finetune` again, which writes the file"


def run(arguments: Namespace) -> int:
    """Writes a model folder.

    Args:
      arguments: `check`, a folder to compare with its checksums instead; `workdir` of `sersl
        finetune` or `sersl pretrain`, or a model folder; `output`,
        `fold` ("final" is the model trained on all speakers), `licence`, and `onnx`, `int8`,
        `triton` and `stablehlo`, whether to write the model in these formats too, `weights`,
        "float32" or "int8", and `notes`, a Markdown file or None.

    Returns:
      The exit code, 0.

    Raises:
      UserError: the run is not finished, there is no licence, the output holds something else or
        cannot be written, or a package that a format needs is missing.
    """
    if arguments.check:
        return _check(arguments)
    if not arguments.workdir or not arguments.output:
        raise UserError("export needs --workdir and --output, or --check: give them")
    workdir, output = Path(arguments.workdir), Path(arguments.output)
    if not workdir.is_dir():
        raise UserError(f"workdir {workdir} does not exist: give the folder of a run")
    check_destination(output)
    formats = Formats(
        name=output.name,
        int8_weights=arguments.weights == "int8",
        notes=read_notes(Path(arguments.notes)) if arguments.notes else "",
        **{name: getattr(arguments, name) for name in FORMATS},
    )
    formats.check()
    _export(workdir, output, arguments, formats.add if formats.any else None)
    print(f"model written to {one_line(str(output))}")
    for name in (ONNX_FOLDER, TRITON_FOLDER, STABLEHLO_FOLDER):
        if formats.any and (output / name).is_dir():
            print(f"{name} written to {one_line(str(output / name))}")
    return 0


def _check(arguments: Namespace) -> int:
    """Prints what a folder holds and each difference; raises UserError where one is a fault."""
    others = ("workdir", "output", "licence", "notes", *FORMATS)
    if arguments.weights != "float32" or any(getattr(arguments, name) for name in others):
        raise UserError("--check compares a folder and writes none: leave out the other options")
    found = check_folder(arguments.check)
    folder = one_line(str(arguments.check))
    print(f"{found.kind} {folder}: compared {one_line(', '.join(found.parts))}")
    for kind, lines in (("note", found.notes), ("fault", found.faults)):
        for line in lines:
            print(f"{kind:<6} {one_line(line)}")
    if found.faults:
        more = f", and {len(found.faults) - 1} more" if len(found.faults) > 1 else ""
        raise UserError(
            f"{folder} is not as it was written ({found.faults[0]}{more}): copy it again, or write "
            "it again with the command that wrote it"
        )
    print("nothing is wrong")
    return 0


def _is_baseline(settings: Mapping[str, Any]) -> bool:
    baseline = settings.get("baseline")  # earlier versions had none
    return isinstance(baseline, dict) and baseline.get("kind", NONE) != NONE


def _export(workdir: Path, output: Path, arguments: Namespace, finish: Finish | None) -> None:
    if (workdir / ABOUT).is_file():
        copy_model(workdir, output, licence=arguments.licence, finish=finish)
        return
    settings = read_json(workdir / "config.json")
    if not isinstance(settings, dict):
        settings = {}
    if "objectives" in settings:
        _export_encoder(workdir, output, licence=arguments.licence, finish=finish)
    elif _is_baseline(settings):
        raise UserError(
            f"{workdir} is the run of a baseline, which has no model to export: give the workdir "
            "of a network"
        )
    elif "protocol" in settings:
        _export_model(
            workdir, output, fold=arguments.fold, licence=arguments.licence, finish=finish
        )
    else:
        raise UserError(
            f"{workdir / 'config.json'} is neither of `sersl finetune` nor of `sersl pretrain`: "
            "give the workdir of a run"
        )


def _export_model(
    workdir: Path, output: Path, *, fold: str, licence: str, finish: Finish | None
) -> None:
    refuse_seeds(workdir)
    config = load_json(FinetuneConfig, workdir / "config.json")
    check_files(workdir)
    if config.domain.normalize != "none":
        raise UserError(
            f"{workdir} standardizes outputs per {config.domain.normalize} "
            f"(domain.normalize={config.domain.normalize!r}), for which a model of single "
            "recordings has no numbers: train with domain.normalize='none' to export"
        )
    if config.enrolment.utterances:
        raise UserError(
            f"{workdir} centres outputs by utterances of each speaker (enrolment.utterances="
            f"{config.enrolment.utterances}), which a model of single recordings does not have: "
            "train with enrolment.utterances=0 to export"
        )
    trained = read_trained(workdir)
    origin = read_origin(workdir)
    check_release(licence, [*trained.corpora, *origin])
    folder = workdir / "folds" / check_name(fold, what="--fold")
    if not folder.is_dir():
        known = sorted(path.name for path in folder.parent.glob("*") if path.is_dir())
        raise UserError(
            f"{workdir} has no fold {fold!r} ({_listed(known)}): wait until `sersl finetune` has "
            "trained it, or give another --fold"
        )
    scored = (workdir / "results.json").is_file()
    if not scored:
        _say(
            f"{workdir} is not scored, so the model card has no scores: run "
            f"`sersl evaluate --workdir {workdir}` and export again"
        )
    write_model(
        output,
        params=load_params(folder),
        config=config,
        categories=trained.categories,
        dimensions=predicted_dimensions(trained, config),
        results=read_results(workdir) if scored else None,
        corpora=trained.corpora,
        origin=origin,
        licence=licence,
        views=read_views(workdir),
        labels=_label_facts(folder, trained, ridge=config.solver.kind == "ridge"),
        finish=finish,
    )


def _label_facts(fold: Path, trained: Trained, *, ridge: bool) -> LabelFacts:
    """Gathers what the labels of a model mean, with its thresholds or its temperature."""
    content = {name: value for name, value in trained.labels.items() if value}
    if content.get("multi"):
        thresholds = Answers.load(fold / "answers.npz").thresholds.tolist()
        content["thresholds"] = dict(zip(trained.categories, thresholds, strict=True))
    elif trained.categories and ridge:
        content["temperature"] = 1.0  # its scale was fitted on training speakers left out in turn
    elif trained.categories:
        temperature = temperature_of_fold(fold.parents[1], fold.name)
        if temperature is None:
            _say("the run has no validation answers, so the probabilities are not calibrated")
        else:
            content["temperature"] = temperature
    fields = Fields(content, where=str(fold.parents[1] / "corpora.json"), remedy=_REMEDY)
    return read_facts(fields, trained.categories)


def _say(text: str) -> None:
    print(one_line(f"sersl: {text}"), file=sys.stderr)


def predicted_dimensions(trained: Trained, config: FinetuneConfig) -> tuple[str, ...]:
    """Names the dimensions that a fine-tuned model predicts."""
    if trained.dimensions is not None:
        return trained.dimensions
    return DIMENSIONS if config.labels.dimensions else ()


def _export_encoder(workdir: Path, output: Path, *, licence: str, finish: Finish | None) -> None:
    config = load_json(PretrainConfig, workdir / "config.json")
    check_files(workdir)
    corpora, origin = read_trained(workdir).corpora, read_origin(workdir)
    check_release(licence, [*corpora, *origin])
    # The teacher is the average over many steps, and what such methods release (data2vec, sec. 3).
    teacher = (workdir / "checkpoints").is_dir() and has_item(workdir, "teacher")
    params = load_params(workdir, "teacher" if teacher else "params")
    write_encoder(
        output,
        params=params,
        config=config,
        corpora=corpora,
        origin=origin,
        licence=licence,
        finish=finish,
    )


def _listed(names: Sequence[str]) -> str:
    return f"there are: {', '.join(names)}" if names else "there is none"
