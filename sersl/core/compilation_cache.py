"""The folder in which JAX keeps compiled programs, so that a program is compiled once per machine.

Set before jax is imported, by JAX's own variables, which a user may set instead:
`JAX_COMPILATION_CACHE_DIR` moves the folder, `JAX_ENABLE_COMPILATION_CACHE=false` turns it off.
"""

import contextlib
import hashlib
import os
import platform
import time
import zlib
from collections.abc import MutableMapping
from pathlib import Path

FOLDER, SWITCH = "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"
MOST_BYTES = 2 << 30
_KEPT_BYTES = 1 << 30  # of the programs used last, once there are more than MOST_BYTES
CHECKED = "checked"  # a file as old as the last check
_ENDING = "-cache"  # of a program; JAX compresses it with zlib where zstandard is not installed
_ZLIB = b"\x78"
_PIECE = 1 << 20  # bytes that are read at once


def use_compilation_cache(environment: MutableMapping[str, str]) -> Path | None:
    """Chooses the folder, unless the user has; deletes damaged programs and those not used longest.

    Args:
      environment: variables of this process, which gets the folder.

    Returns:
      The folder; None where the user chose, or it cannot be written.
    """
    if FOLDER in environment or SWITCH in environment:
        return None
    base = environment.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(base) / "sersl" / "jax" / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_damaged(folder)
        prune(folder, most=MOST_BYTES, kept=_KEPT_BYTES)
    except OSError:
        return None  # a read-only home: compile every time
    if not os.access(folder, os.W_OK):
        return None
    environment[FOLDER] = str(folder)
    return folder


def prune(folder: Path, *, most: int, kept: int) -> None:
    """Deletes the files that were not used for longest.

    Args:
      folder: of the cache.
      most: bytes of all files up to which nothing is deleted.
      kept: bytes to keep otherwise.
    """
    files = []
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):  # another process prunes as well
            if entry.is_file(follow_symlinks=False):
                status = entry.stat()
                files.append((max(status.st_atime, status.st_mtime), status.st_size, entry.path))
    total = sum(size for _, size, _ in files)
    if total <= most:
        return
    for _, size, path in sorted(files):
        if total <= kept:
            break
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        total -= size


def remove_damaged(folder: Path) -> None:
    """Deletes programs that were cut off by a full disk or a kill since the last check.

    JAX writes a program in its place at once, and never over one that is there: it would warn and
    compile again in every later process.

    Args:
      folder: of the cache.

    Raises:
      OSError: a file cannot be written.
    """
    checked, started = folder / CHECKED, time.time()
    before = checked.stat().st_mtime if checked.exists() else 0.0
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):  # another process checks as well
            if not entry.name.endswith(_ENDING) or not entry.is_file(follow_symlinks=False):
                continue
            status = entry.stat()
            is_new = status.st_mtime >= before
            if not status.st_size or (is_new and not _is_whole(Path(entry.path))):
                os.unlink(entry.path)
    checked.touch()
    os.utime(checked, (started, started))


def _is_whole(path: Path) -> bool:
    """Tells whether a compressed program ends where it should, with the right checksum."""
    decoder, begins = zlib.decompressobj(), True
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            if begins and not piece.startswith(_ZLIB):
                return True  # compressed in another way
            begins = False
            try:
                decoder.decompress(piece)
            except zlib.error:
                return False
    return decoder.eof and not decoder.unused_data


def _processor() -> str:
    """Names the kind of processor: a program compiled for one may not run on another."""
    kind = platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features", "model name")):
                kind += line
            elif not line:
                break  # of the first core
    return hashlib.sha256(kind.encode()).hexdigest()[:12]
