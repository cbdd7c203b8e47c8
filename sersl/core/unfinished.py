"""Unfinished forms of files and folders: their names, swapping them in, clearing and restoring.

While `model` is written, its new form is `.model.HOST-PID.partial` beside it.
"""

import ctypes
import hashlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

# Flag of renameat2(2): swap two names atomically.
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_LONGEST_KEPT = 120  # bytes of a name that is kept whole in the name of its unfinished form
_LONGEST_SUFFIX = 16
_STAGING = re.compile(
    r"\.(?P<name>.+?)(?P<old>\.old)?\.(?P<host>[A-Za-z0-9_-]+)-(?P<pid>\d+)\.partial.*", re.DOTALL
)


def staging_path(path: Path) -> Path:
    """Names the unfinished form of a file or folder: hidden, beside it, by host and process."""
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST_SUFFIX else ""
    return path.with_name(f".{short_name(path.name)}.{_host()}-{os.getpid()}.partial{suffix}")


def swap_in(new: Path, folder: Path) -> None:
    """Puts the folder `new` in the place of `folder`; afterwards `new` holds the old one, if any.

    Args:
      new: a complete folder on the same file system.
      folder: its place; may exist.
    """
    if not os.path.lexists(folder):
        os.rename(new, folder)
    elif not _exchange(new, folder):
        # Where names cannot be swapped at once, `restore` undoes half a swap.
        old = folder.with_name(f".{short_name(folder.name)}.old.{_host()}-{os.getpid()}.partial")
        os.rename(folder, old)
        os.rename(new, folder)
        os.rename(old, new)


def restore(folder: Path) -> None:
    """Puts a folder back that a process has set aside before it was killed, if there is one."""
    if os.path.lexists(folder):
        return
    for left, is_old in _stale(folder):
        if is_old:
            os.rename(left, folder)
            return


def clear_stale(path: Path) -> None:
    """Removes unfinished forms of `path` whose process on this machine has ended."""
    restore(path)
    for left, _ in _stale(path):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _stale(path: Path) -> Iterator[tuple[Path, bool]]:
    """Finds unfinished forms whose process has ended; True: the complete form before a swap."""
    name = short_name(path.name)
    if not path.parent.is_dir():
        return
    with os.scandir(path.parent) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(f".{name}.")]
    for left in names:
        found = _STAGING.fullmatch(left)
        if found is None or found["name"] != name or found["host"] != _host():
            continue
        if not _is_alive(int(found["pid"])):
            yield path.with_name(left), found["old"] is not None


def short_name(name: str) -> str:
    """Cuts a long name, so that the unfinished form has a name of at most 255 bytes."""
    if len(os.fsencode(name)) <= _LONGEST_KEPT:
        return name
    return f"{name[:30]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"


def _exchange(a: Path, b: Path) -> bool:
    """Swaps two names atomically where the system can; tells whether it did."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # no glibc
        return False
    return not renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:60] or "host"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
