"""What a run was made from besides the corpora that it trains on.

Weights to start from, annotators, code books, teachers and recorded noise bring what they were made
from into a run. `origin.json` lists it beside `corpora.json`, and goes with the weights.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from sersl.annotation.annotate import load_sidecar_info
from sersl.audio.augment import RECORDED
from sersl.config.schema import FinetuneConfig, PretrainConfig
from sersl.core.bounded import read_bounded
from sersl.core.errors import UserError
from sersl.core.files import parse_value
from sersl.corpora.index import read_summary
from sersl.data.recordings import NUISANCE, nuisance_sources, recording_sources
from sersl.data.sources import CorpusSource
from sersl.eval.workdir_files import check_files

ORIGIN = "origin.json"
READ = (*RECORDED, NUISANCE)  # `by` of corpora that the run itself reads
_KEPT = ("corpus", "version", "fingerprint", "licence")

Entry = dict[str, Any]


class Ancestor(Protocol):
    """Weights that a run is made from, see `sersl.runs.initial_weights.InitialWeights`."""

    @property
    def source(self) -> str:
        """Where the weights come from."""

    @property
    def corpora(self) -> tuple[Mapping, ...]:
        """Corpora that they were trained on."""


def gather_origin(
    config: FinetuneConfig | PretrainConfig,
    sources: Sequence[CorpusSource],
    *,
    weights: Ancestor | None,
    frozen: Sequence[Ancestor] = (),
    views: Mapping[str, Ancestor] = MappingProxyType({}),
) -> list[Entry]:
    """Lists what a run gets from elsewhere.

    Args:
      config: of the run.
      sources: corpora that it trains on.
      weights: that it starts from.
      frozen: its teachers.
      views: further encoders whose outputs it reads, by name.

    Returns:
      {"by", "corpus", "version", "fingerprint", "labels_used", "licence" where it is known}: `by`
      is "noise" or "reverb" for recordings, "nuisance" for `solver.nuisance_corpora`, else
      "annotator NAME", "codes NAME", "init_from FOLDER", "view NAME FOLDER", "teacher FOLDER" or
      "resume_from FOLDER".

    Raises:
      UserError: a file with the origin of one of them is damaged.
    """
    found: list[Entry] = []
    read = {**recording_sources(config), NUISANCE: nuisance_sources(config)}
    for name, own in read.items():
        for source in own:
            licence = read_summary(source.index.folder)["licence"]
            found += _brought(name, [source.index.names() | {"licence": licence}], labels=False)
    for source in sources:
        if source.annotator is not None:
            corpus, data_dir = source.index.corpus, config.data.data_dir
            info = load_sidecar_info(source.annotator, corpus, data_dir=data_dir)
            by = f"annotator {source.annotator}"
            found += _brought(by, info.get("labels_of", ()), labels=True)
        for reader in source.books:
            found += _brought(f"codes {reader.book}", reader.labels_of, labels=True)
    if weights is not None:
        found += _brought(f"init_from {weights.source}", weights.corpora)
    for name, view in views.items():
        found += _brought(f"view {name} {view.source}", view.corpora)
    for teacher in frozen:
        found += _brought(f"teacher {teacher.source}", teacher.corpora)
    resumed = getattr(config, "resume_from", "")
    # A missing run is an error of `startup.start`, if it still needs the run.
    if resumed and (Path(resumed) / "checkpoints").is_dir():
        found += _brought(f"resume_from {resumed}", corpora_of_run(Path(resumed)))
    return list({json.dumps(one, sort_keys=True): one for one in found}.values())


def read_origin(workdir: Path) -> list[Entry]:
    """Reads what a run got from elsewhere; `check_files` finds out whether it has changed.

    Args:
      workdir: of the run.

    Returns:
      As `gather_origin`; nothing where an earlier version wrote nothing.

    Raises:
      UserError: the file is damaged.
    """
    path = workdir / ORIGIN
    if not path.is_file():
        return []
    return _read(path)


def corpora_of_run(workdir: Path) -> tuple[Entry, ...]:
    """Lists what a pretraining run was trained on, and what it got from elsewhere.

    Args:
      workdir: of the run.

    Returns:
      {"corpus", "version", "fingerprint", "labels_used", ...} of each.

    Raises:
      UserError: a file is missing, damaged or has changed.
    """
    check_files(workdir)
    # Earlier versions did not write whether labels were used: none were.
    own = [{"labels_used": False, **corpus} for corpus in _read(workdir / "corpora.json")]
    return (*own, *read_origin(workdir))


def _brought(
    by: str, corpora: Iterable[Mapping[str, Any]], *, labels: bool | None = None
) -> list[Entry]:
    """Makes entries; `labels`: whether labels were used, None: as each entry says."""
    return [
        {
            "by": by,
            **{key: corpus[key] for key in _KEPT if key in corpus},
            "labels_used": corpus["labels_used"] if labels is None else labels,
        }
        for corpus in corpora
    ]


def _read(path: Path) -> list[Entry]:
    try:
        content = parse_value(read_bounded(path))
        for corpus in content:
            corpus["corpus"], corpus["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): it lists the corpora that the run was trained on, "
            "which a model made from it must record; restore it from a copy"
        ) from error
    return content
