"""Lists the kept outputs of frozen encoders beside a corpus, and which of them no run can use."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from sersl.core.digests import find_faults, has_digests
from sersl.core.errors import UserError
from sersl.core.files import find_paths
from sersl.corpora.index import read_summary
from sersl.corpora.sidecar import SUMMARY_FILE, read_sidecar


@dataclass(frozen=True, kw_only=True)
class KeptStore:
    """The kept outputs of one encoder for one corpus.

    Attributes:
      folder: `<corpus>/<version>/outputs/<fingerprint>`, or what an interrupted run left beside it.
      num_bytes: of its files.
      reason: why no run can use it; "" if a run with its encoder and settings can.
    """

    folder: Path
    num_bytes: int
    reason: str

    @property
    def remove(self) -> str:
        """The command that deletes it."""
        return f"rm -r {shlex.quote(str(self.folder))}"


def kept_stores(folder: Path) -> list[KeptStore]:
    """Lists the kept outputs beside the records of a corpus.

    Args:
      folder: `data_dir/<corpus>/<version>`.

    Returns:
      One for each encoder, sorted by folder; parts of interrupted runs included.
    """
    found = [path for path in find_paths(folder, "outputs/*") if path.is_dir()]
    return [
        KeptStore(folder=path, num_bytes=_num_bytes(path), reason=_reason(path, folder))
        for path in found
    ]


def _num_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _reason(store: Path, folder: Path) -> str:
    if store.name.startswith("."):
        return "unfinished; the command that was interrupted resumes it"
    if not (store / SUMMARY_FILE).is_file():
        return f"it has no {SUMMARY_FILE}"
    faults = list(find_faults(store)) if has_digests(store) else []
    if faults:
        return faults[0]
    try:
        summary = read_sidecar(store, what="encoder outputs", remedy="delete them")
        fingerprint = read_summary(folder).get("fingerprint")
    except UserError as error:
        return str(error)
    if summary.get("corpus_fingerprint") != fingerprint:
        return "made for other records"
    return ""
