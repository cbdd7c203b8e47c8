"""The lock on a workdir: two runs in one would overwrite each other's checkpoints.

The kernel ties it to the open file of the process, so it never outlives a crash. On NFS (version 3
with lockd, version 4 always) it works between hosts; Lustre needs the mount option `flock`; object
stores mounted as folders (gcsfuse) support it within one host only, or not at all.
"""

import contextlib
import errno
import fcntl
import logging
import os
import socket
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from sersl.core.bounded import read_bounded
from sersl.core.errors import UserError
from sersl.parallel.agreement import all_agree, of_first

logger = logging.getLogger(__name__)

NAME = "lock"
_TRIES, _PAUSE_SECONDS = 6, 10.0  # until every host must see what the first has written
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def only_run(workdir: str | Path, *, first: bool) -> Iterator[None]:
    """Locks a workdir for one run.

    Args:
      workdir: made if missing; gets the file `lock`, which names the run and stays there.
      first: whether this process locks it for all processes of its run.

    Raises:
      UserError: another run uses it, it cannot be written, it is not one folder for all processes,
        or it was removed while it was locked.
    """
    if not first:
        _check_shared(workdir)
        yield
        return
    path = Path(workdir) / NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise UserError(f"workdir {workdir} cannot be written: {error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown process"
            raise UserError(
                f"workdir {workdir} is in use by another run ({holder}): wait for it, stop it, or "
                "use another workdir"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            logger.warning(
                "the file system of %s has no locks (%s): make sure that no other run uses it",
                workdir,
                error.strerror,
            )
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        os.fsync(file.fileno())  # so that other hosts see it
        _check_shared(workdir)
        yield
        if not _is_at(file.fileno(), path):
            raise UserError(
                f"workdir {workdir} was removed or replaced while the run was using it, so its "
                "results are gone: run the same command again to start anew"
            )


def _is_at(descriptor: int, path: Path) -> bool:
    """Tells whether an open file is still the one of this path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _check_shared(workdir: str | Path) -> None:
    """Refuses a workdir that a process does not share, since each process saves only a part."""
    all_agree(True)  # waits until the first process has written its lock
    number, tries = _checksum(Path(workdir) / NAME), 0
    while not all_agree(seen := number == of_first(number)):
        if tries == _TRIES:
            sees = "sees" if seen else "does not see"
            raise UserError(
                f"workdir {workdir} is not one folder for all processes ({socket.gethostname()} "
                f"{sees} what process 0 has written there): use a folder that all hosts share"
            )
        # Network file systems may show a file late.
        time.sleep(_PAUSE_SECONDS)
        number, tries = _checksum(Path(workdir) / NAME), tries + 1


def _checksum(path: Path) -> int:
    """Computes a checksum of 31 bits of a file; a missing file counts as empty."""
    try:
        return zlib.crc32(read_bounded(path)) >> 1
    except OSError:
        return 0


def locks_hold(folder: Path) -> bool:
    """Tests whether the file system of a folder supports locks, with a temporary file in it."""
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
            raise
    return True
