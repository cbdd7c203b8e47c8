"""SHA-256 digests of the files of a folder, written beside them and compared when they are read."""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sersl.core.bounded import read_bounded
from sersl.core.errors import UserError
from sersl.core.files import parse_json, write_json

DIGESTS_FILE = "digests.json"
_SCHEMA = 1
_BLOCK = 4 << 20  # bytes
_LARGE = 64 << 20  # bytes


def file_digest(path: str | Path, *, progress: Callable[[int], None] | None = None) -> str:
    """Computes the SHA-256 of a file's bytes.

    Args:
      path: of the file.
      progress: called with the number of bytes of each block.

    Returns:
      64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()


def write_digests(folder: Path, *, known: Mapping[str, str] | None = None) -> None:
    """Writes `digests.json` for all files of a finished folder; subfolders are left out.

    Args:
      folder: with the files.
      known: {name of a file: digest} of large files that were hashed as they were written.
    """
    known = known or {}
    names = sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_file() and entry.name != DIGESTS_FILE and not entry.name.startswith(".")
    )
    files = {n: known[n] if n in known else file_digest(folder / n) for n in names}
    write_json(folder / DIGESTS_FILE, {"schema": _SCHEMA, "files": files, "sha256": _sum(files)})


def has_digests(folder: Path) -> bool:
    """Tells whether a folder has digests; those written by older versions have none."""
    return os.path.lexists(folder / DIGESTS_FILE)


def find_faults(
    folder: Path,
    *,
    hashed: Callable[[str], bool] = lambda name: True,
    expected: Callable[[str], bool] = lambda name: True,
    progress: Callable[[int], None] | None = None,
) -> Iterator[str]:
    """Compares the files of a folder with its digests.

    Args:
      folder: that has digests.
      hashed: takes the name of a file; True to compare its bytes.
      expected: takes the name of a file; True if it must exist.
      progress: called with the number of bytes of each block that is read.

    Yields:
      A clause for each fault, such as "index.parquet is missing".
    """
    try:
        files = _read(folder / DIGESTS_FILE)
    except OSError as error:
        yield f"{DIGESTS_FILE} cannot be read ({error.strerror or error})"
        return
    except ValueError as error:
        yield f"{DIGESTS_FILE} is damaged ({error})"
        return
    for name, wanted in files.items():
        path = folder / name
        if not hashed(name) and not expected(name):
            continue
        if not os.path.lexists(path):
            yield f"{name} is missing"
        elif not path.is_file():
            yield f"{name} is not a file"
        elif hashed(name):
            try:
                found = (
                    _remembered_digest(path)
                    if progress is None
                    else file_digest(path, progress=progress)
                )
            except OSError as error:
                yield f"{name} cannot be read ({error.strerror or error})"
                continue
            if found != wanted:
                yield f"{name} is damaged: its bytes are not those that were written"


def check_digests(
    folder: Path,
    *,
    what: str,
    remedy: str,
    hashed: Callable[[str], bool] = lambda name: True,
    expected: Callable[[str], bool] = lambda name: True,
) -> bool:
    """Compares the files of a folder with its digests, if it has any.

    Args:
      folder: with the files.
      what: it holds, for the sentence, e.g. "corpus 'ravdess'".
      remedy: what to do about damage.
      hashed: see `find_faults`.
      expected: see `find_faults`.

    Returns:
      Whether the folder has digests.

    Raises:
      UserError: a file is missing or damaged.
    """
    if not has_digests(folder):
        return False
    for fault in find_faults(folder, hashed=hashed, expected=expected):
        raise UserError(f"{what} in {folder}: {fault}; {remedy}")
    return True


def _read(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise ValueError("it is not a file")
    content = parse_json(read_bounded(path))
    files = content.get("files")
    if content.get("schema") != _SCHEMA or not isinstance(files, dict):
        raise ValueError("it has another layout")
    if content.get("sha256") != _sum(files):
        raise ValueError("its own sum differs")
    for name in files:
        if Path(name).name != name:
            raise ValueError(f"{name!r} is not the name of a file")
    return files


def _sum(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _remembered_digest(path: Path) -> str:
    """Computes the digest of a large file once in this process, unless the file changes."""
    status = path.stat()
    # The clock of a file system is coarse: two changes of a small file may have one time.
    if status.st_size < _LARGE:
        return file_digest(path)
    return _digest_of_state(path, status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _digest_of_state(path: Path, *_: int) -> str:
    return file_digest(path)
