"""Reading of files from outside into memory, which may be devices, pipes, or larger than that."""

import errno
import os
import stat
from pathlib import Path

MOST_BYTES = 256 << 20
MOST_TABLE_BYTES = 4 << 30  # of predictions and logs


def read_bounded(path: str | Path, *, most: int = MOST_BYTES, regular: bool = True) -> bytes:
    """Reads a file that may come from outside.

    Args:
      path: of the file.
      most: bytes that it may have.
      regular: refuse pipes and devices, which may never end.

    Returns:
      Its content.

    Raises:
      OSError: it cannot be read, has more bytes, or is a pipe or a device; always with the path.
    """
    name = os.fspath(path)
    try:
        status = check_not_special(path) if regular else os.stat(path)
        if status.st_size > most:
            raise _too_large(name, most)
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # of the read itself
            error.filename = name
        raise
    if len(content) > most:
        raise _too_large(name, most)
    return content


def check_not_special(path: str | Path) -> os.stat_result:
    """Raises OSError where a path is a pipe, a socket or a device; follows links."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        reason = "it is a pipe, a socket or a device, not a file"
        raise OSError(errno.ENXIO, reason, os.fspath(path))
    return status


def _too_large(name: str, most: int) -> OSError:
    return OSError(errno.EOVERFLOW, f"it has more than {most >> 20} MiB", name)
