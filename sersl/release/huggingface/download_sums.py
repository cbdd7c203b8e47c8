"""Compares a folder that was downloaded from a hub with the checksums that the download left."""

import hashlib
import re
from pathlib import Path

from sersl.core.bounded import read_bounded
from sersl.core.digests import file_digest
from sersl.core.errors import UserError

_SHA256 = re.compile(r"[0-9a-f]{64}")  # of a large file, and of no other
_SHA1 = re.compile(r"[0-9a-f]{40}")  # of a small one, as git names it; of some mirrors, of any
_METADATA = Path(".cache", "huggingface", "download")
_BLOCK = 4 << 20  # bytes
_LATER = 1.0  # seconds between the end of a download and its note


def check_downloads(folder: Path) -> None:
    """Checks the files of a folder that the hub named by their content.

    In the cache of huggingface_hub each file is a link to `blobs/CHECKSUM`; `hf download
    --local-dir` writes the checksum to `.cache/huggingface/download/NAME.metadata`. Other folders
    have no checksums, and a file that was edited since is not compared.

    Args:
      folder: with the files.

    Raises:
      UserError: a file has changed since it was downloaded.
    """
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            continue
        wanted = _published(path)
        if (_SHA256.fullmatch(wanted) and file_digest(path) != wanted) or (
            _SHA1.fullmatch(wanted) and wanted not in _short_names(path)
        ):
            raise UserError(
                f"{path} is damaged: its checksum is not that of the file that was downloaded; "
                "download it again"
            )


def _published(path: Path) -> str:
    """Gives the checksum that the hub named, or ""."""
    target = path.resolve()
    if target.parent.name == "blobs":
        return target.name
    note = path.parent / _METADATA / f"{path.name}.metadata"
    try:
        _, checksum, when, *_ = [*read_bounded(note).decode().splitlines(), "", "", ""]
        is_edited = path.stat().st_mtime > float(when) + _LATER
    except (OSError, ValueError):
        return ""
    return "" if is_edited else checksum.strip('"')


def _short_names(path: Path) -> tuple[str, str]:
    """Gives the SHA-1 of a file as git computes it, and the plain one."""
    size = path.stat().st_size
    named, plain = hashlib.sha1(b"blob %d\0" % size), hashlib.sha1()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            named.update(block)
            plain.update(block)
    return named.hexdigest(), plain.hexdigest()
