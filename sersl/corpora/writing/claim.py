"""Who may write a corpus: one process alone, or several that share the work.

The system frees the locks when a process ends, however it ends. Between hosts they hold on NFS 4,
on NFS 3 with lockd and on Lustre mounted with `flock`.
"""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import soundfile

from sersl.core.errors import UserError
from sersl.core.version import __version__

STAGING = ".preparing"  # folder of `data_dir` for what is not finished
_WORK_FILE = "work.json"


@contextlib.contextmanager
def alone(data_dir: Path, corpus: str, *, wait: bool = False) -> Iterator[Path]:
    """Gives a folder to write into, to one process at a time; what a killed one left is removed.

    Args:
      data_dir: where the corpus will be.
      corpus: its name.
      wait: for others to end, rather than stop.

    Yields:
      An empty folder; it is removed at the end.

    Raises:
      UserError: `data_dir` cannot be written, or another process is at it.
    """
    with _open_lock(data_dir, corpus) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another process is preparing {corpus!r} in {data_dir}: wait until it is done"
            ) from error
        staging = data_dir / STAGING / corpus
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def together(data_dir: Path, corpus: str, work: Mapping) -> Iterator[None]:
    """Lets processes share work on a corpus, while none has it alone.

    Args:
      data_dir: where the corpus will be.
      corpus: its name.
      work: what is being made, see `describe_work`; what was left of other work is removed.

    Yields:
      Nothing; the corpus's folder of parts is there, and is of this work.

    Raises:
      UserError: `data_dir` cannot be written, or others are at work on something else.
    """
    # Whoever starts looks around one after the other, and all work then under a shared lock.
    with _open_lock(data_dir, corpus) as lock:
        with _open_lock(data_dir, f"{corpus}.start") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            there = _read_work(data_dir, corpus)
            if there != work:
                _claim(lock, data_dir, corpus, there, work)
                begin_work(data_dir, corpus, work)
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def parts_folder(data_dir: Path, corpus: str) -> Path:
    """Names the folder of a corpus's parts.

    Args:
      data_dir: where the corpus will be.
      corpus: its name.

    Returns:
      The folder, there or not.
    """
    return data_dir / STAGING / f"{corpus}.parts"


def begin_work(data_dir: Path, corpus: str, work: Mapping) -> None:
    """Makes the folder of parts for some work, and removes it where it is of other work.

    Args:
      data_dir: where the corpus will be.
      corpus: its name; no other process may be at it.
      work: what is being made, see `describe_work`.
    """
    if _read_work(data_dir, corpus) == work:
        return
    folder = parts_folder(data_dir, corpus)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    temporary = folder / f"{_WORK_FILE}.tmp"
    temporary.write_text(json.dumps(work, indent=1) + "\n", encoding="utf-8")
    temporary.replace(folder / _WORK_FILE)


def end_work(data_dir: Path, corpus: str) -> None:
    """Removes the folder of parts, if there is one.

    Args:
      data_dir: where the corpus is.
      corpus: its name; no other process may be at it.
    """
    shutil.rmtree(parts_folder(data_dir, corpus), ignore_errors=True)


def describe_work(version: str, source_fingerprint: str, total: int) -> dict:
    """Says all that the parts of a corpus depend on: parts of other work are never taken up.

    Args:
      version: of the corpus's builder.
      source_fingerprint: of its source.
      total: utterances listed.

    Returns:
      For JSON.
    """
    return {
        "version": version,
        "source": source_fingerprint,
        "utterances": total,
        "sersl": __version__,
        "libsndfile": soundfile.__libsndfile_version__,
        **{name: _version(name) for name in ("soundfile", "soxr", "av")},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _claim(lock: IO, data_dir: Path, corpus: str, there: Mapping | None, work: Mapping) -> None:
    """Takes a lock that nobody may hold who is at other work."""
    try:
        # Without any parts, whoever holds it has the corpus alone and will be done with it.
        fcntl.flock(lock, fcntl.LOCK_EX if there is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        key = next(key for key in work if there.get(key) != work[key])
        raise UserError(
            f"other processes are preparing {corpus!r} in {data_dir} with another {key} "
            f"({there.get(key)} there, {work[key]} here): run all shards on the same source with "
            "the same versions, or wait until they are done"
        ) from error


def _read_work(data_dir: Path, corpus: str) -> dict | None:
    try:
        text = (parts_folder(data_dir, corpus) / _WORK_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return json.loads(text)


@contextlib.contextmanager
def _open_lock(data_dir: Path, name: str) -> Iterator[IO]:
    folder = data_dir / STAGING
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # NFS wants a file open for reading for a shared lock, for writing for an exclusive one.
        file = os.fdopen(os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o666), "r+")
    except OSError as error:
        raise UserError(
            f"data_dir {data_dir} cannot be written: {error.strerror or error}; give another "
            "--data_dir"
        ) from error
    with file:
        yield file
