"""The folder in which JAX keeps compiled programs, so that a program is compiled once per machine.

Set before jax is imported, by JAX's own variables, which a user may set instead:
`JAX_COMPILATION_CACHE_DIR` moves the folder, `JAX_ENABLE_COMPILATION_CACHE=false` turns it off.
"""

import contextlib
import hashlib
import os
import platform
from collections.abc import MutableMapping
from pathlib import Path

FOLDER, SWITCH = "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"
MOST_BYTES = 2 << 30
_KEPT_BYTES = 1 << 30  # of the programs used last, once there are more than MOST_BYTES


def use_compilation_cache(environment: MutableMapping[str, str]) -> Path | None:
    """Chooses the folder, unless the user has, and deletes what was not used for longest.

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
