"""Compares a folder that sersl wrote with the checksums in it, and lists what is wrong."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sersl.core.digests import find_faults, has_digests
from sersl.core.errors import UserError
from sersl.core.files import find_paths
from sersl.corpora.index import INDEX_FILE
from sersl.data.inspection import inspect
from sersl.eval.workdir_files import STARTS, check_files, check_predictions
from sersl.release.about import compare_with_sums
from sersl.release.file_names import ABOUT
from sersl.release.folder import read_model
from sersl.release.layout import check_is_model
from sersl.runs.checkpoint import has_item, load_params

_ITEMS = ("params", "teacher")
_SAVED = ("best", "checkpoints")


@dataclass
class Checked:
    """What a check of a folder found.

    Attributes:
      kind: what the folder holds, e.g. "model".
      parts: names of what was compared.
      notes: a sentence for each difference that changes no answer.
      faults: a clause for each part that is missing, damaged or was changed.
    """

    kind: str
    parts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def check_folder(folder: str | Path) -> Checked:
    """Checks a model folder, a workdir, prepared data, an annotator or a code book.

    Args:
      folder: that a verb of sersl wrote.

    Returns:
      What was found.

    Raises:
      UserError: it is none of these, or has no checksums.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"--check {folder} is not a folder: give one that sersl wrote")
    if (folder / ABOUT).exists():
        return _check_model(folder)
    if (folder / INDEX_FILE).exists():
        found = inspect(folder)
        beside = ["records and index", *found.beside]
        return Checked("prepared data", parts=beside, faults=found.faults)
    if has_digests(folder):
        return Checked("folder with digests", ["all files"], faults=list(find_faults(folder)))
    if (folder / STARTS).exists():
        return _check_workdir(folder)
    check_is_model(folder)
    raise UserError(
        f"{folder} has no checksums: give a model folder, a workdir, an annotator, a code book, or "
        "one version of a prepared corpus, such as data/ravdess/1.0.0"
    )


def _check_model(folder: Path) -> Checked:
    found = Checked("model", parts=["tensors"])
    for name, fault, harmless in compare_with_sums(folder):
        found.parts.append(name)
        if fault:
            (found.notes if harmless else found.faults).append(f"{name} {fault}")
    if not found.faults:
        try:
            read_model(folder)
        except UserError as error:
            found.faults.append(str(error))
    return found


def _check_workdir(workdir: Path) -> Checked:
    found = Checked("workdir", parts=["settings", "predictions and results"])
    for check in (check_files, check_predictions):
        try:
            check(workdir)
        except UserError as error:
            found.faults.append(str(error))
    for run in _runs(workdir):
        items = ["params"] if (run / "best").is_dir() else [i for i in _ITEMS if has_item(run, i)]
        for item in items:
            found.parts.append(f"{item} of {run.relative_to(workdir) if run != workdir else 'run'}")
            try:
                load_params(run, item)
            except UserError as error:
                found.faults.append(str(error))
    return found


def _runs(workdir: Path) -> Iterator[Path]:
    for run in (workdir, *find_paths(workdir, "folds/[!.]*")):
        if any((run / name).is_dir() and any((run / name).iterdir()) for name in _SAVED):
            yield run
