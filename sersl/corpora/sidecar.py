"""Folders beside the records of a prepared corpus: annotation, codes and encoder outputs.

Each holds one file of records, record i for row i of the index, a summary of what it was made from,
and digests of both. `sidecars/<annotator>/` holds annotation, `codes/<code book>/` codes, and
`outputs/<fingerprint>/` what a frozen encoder gives for each utterance.
"""

from pathlib import Path
from typing import Any, Literal

from sersl.core.digests import check_digests
from sersl.core.errors import UserError
from sersl.core.files import check_name, find_paths, read_json
from sersl.corpora.index import CorpusIndex
from sersl.corpora.remote import is_records

RECORDS_FILE = "sidecar-00000-of-00001.array_record"
SUMMARY_FILE = "sidecar.json"
KINDS: dict[Literal["sidecars", "codes"], str] = {"sidecars": "annotator", "codes": "code book"}


def annotation_folder(index: CorpusIndex, annotator: str) -> Path:
    """Names the folder of an annotator's sidecar, which need not exist.

    Args:
      index: of the corpus.
      annotator: its name.

    Returns:
      A folder beside the corpus's records.

    Raises:
      UserError: the name cannot be that of a folder.
    """
    return index.folder / "sidecars" / check_name(annotator, what=KINDS["sidecars"])


def codes_folder(index: CorpusIndex, book: str) -> Path:
    """Names the folder of a code book's codes, which need not exist.

    Args:
      index: of the corpus.
      book: name of the code book.

    Returns:
      A folder beside the corpus's records.

    Raises:
      UserError: the name cannot be that of a folder.
    """
    return index.folder / "codes" / check_name(book, what=KINDS["codes"])


def outputs_folder(index: CorpusIndex, fingerprint: str) -> Path:
    """Names the folder of the outputs of a frozen encoder, which need not exist.

    Args:
      index: of the corpus.
      fingerprint: of the encoder and of what is kept.

    Returns:
      A folder beside the corpus's records.
    """
    return index.folder / "outputs" / fingerprint


def names_beside(folder: Path) -> list[str]:
    """Lists the finished folders beside one of `annotation_folder` or `codes_folder`, by name."""
    return sorted(path.parent.name for path in find_paths(folder.parent, f"[!.]*/{SUMMARY_FILE}"))


def read_sidecar(
    folder: Path, *, what: str, remedy: str, remote: bool = False, records: bool = False
) -> dict[str, Any]:
    """Reads the summary of a sidecar or of codes, after comparing it with its digest.

    Args:
      folder: of `annotation_folder` or `codes_folder`.
      what: it holds, for the sentence.
      remedy: what to do about damage.
      remote: its records may be in a bucket only.
      records: compare them with their digest as well.

    Returns:
      The content of `sidecar.json`.

    Raises:
      UserError: a file is missing or damaged.
    """
    check_digests(
        folder,
        what=what,
        remedy=remedy,
        hashed=lambda name: records or not is_records(name),
        expected=lambda name: not (remote and is_records(name)),
    )
    return read_json(folder / SUMMARY_FILE, what=what, remedy=remedy)


def is_finished(folder: Path, summary: dict[str, Any]) -> bool:
    """Tells whether a folder holds an undamaged sidecar, or codes, with this summary."""
    try:
        found = read_sidecar(folder, what="sidecar", remedy="make it again", records=True)
    except UserError:
        return False
    return (folder / RECORDS_FILE).is_file() and found == summary
