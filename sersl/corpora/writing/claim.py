"""Locks for writing a corpus: one process alone, or several that share the work.

The system frees the locks when a process ends, however it ends. Between hosts they hold on NFS 4,
on NFS 3 with lockd and on Lustre mounted with `flock`.
"""

import contextlib
import fcntl
import importlib.metadata
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import soundfile

from sersl.core.bounded import read_bounded
from sersl.core.errors import UserError
from sersl.core.files import parse_json, write_json
from sersl.core.version import __version__

STAGING = ".preparing"  # folder of `data_dir` for what is not finished
_WORK_FILE = "work.json"
_LOCK = ".lock"  # ending of the locks in it
_PARTS = ".parts"  # ending of the folders in it with parts, from which a later run resumes


@contextlib.contextmanager
def alone(data_dir: Path, corpus: str, *, wait: bool = False) -> Iterator[Path]:
    """Gives a folder to write into, to one process at a time.

    What killed processes left is removed, of this corpus and of others.

    Args:
      data_dir: where the corpus will be.
      corpus: its name.
      wait: for others to end, rather than stop.

    Yields:
      An empty folder; it is removed at the end.

    Raises:
      UserError: `data_dir` cannot be written, or another process is writing the corpus.
    """
    with _open_lock(data_dir, corpus) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another process is preparing {corpus!r} in {data_dir}: wait until it is done"
            ) from error
        _clear_stale(data_dir, corpus)
        staging = data_dir / STAGING / corpus
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def together(data_dir: Path, corpus: str, work: Mapping[str, Any]) -> Iterator[None]:
    """Lets processes share work on a corpus, while none has it alone.

    Args:
      data_dir: where the corpus will be.
      corpus: its name.
      work: what is being made, see `describe_work`; what was left of other work is removed.

    Yields:
      Nothing; the corpus's folder of parts exists, and is of this work.

    Raises:
      UserError: `data_dir` cannot be written, or others work on something else.
    """
    # Runs start one after the other, and all work then under a shared lock.
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
    """Names the folder of a corpus's parts, which need not exist."""
    return data_dir / STAGING / f"{corpus}{_PARTS}"


def begin_work(data_dir: Path, corpus: str, work: Mapping[str, Any]) -> None:
    """Makes the folder of parts for some work; one of other work is removed.

    Args:
      data_dir: where the corpus will be.
      corpus: its name; no other process may work on it.
      work: what is being made, see `describe_work`.
    """
    if _read_work(data_dir, corpus) == work:
        return
    folder = parts_folder(data_dir, corpus)
    shutil.rmtree(folder, ignore_errors=True)
    write_json(folder / _WORK_FILE, work)


def end_work(data_dir: Path, corpus: str) -> None:
    """Removes the folder of parts of a corpus that no other process works on, if there is one."""
    shutil.rmtree(parts_folder(data_dir, corpus), ignore_errors=True)


def describe_work(version: str, source_fingerprint: str, total: int) -> dict[str, Any]:
    """Lists all that the parts of a corpus depend on: parts of other work are never used.

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


def _clear_stale(data_dir: Path, corpus: str) -> None:
    """Removes unfinished corpora of killed processes, whose locks are free."""
    for folder in (data_dir / STAGING).iterdir():
        name = folder.name
        if name == corpus or name.endswith((_LOCK, _PARTS)) or not folder.is_dir():
            continue
        with (
            contextlib.suppress(BlockingIOError, UserError),
            _open_lock(data_dir, name) as lock,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _claim(
    lock: IO[str],
    data_dir: Path,
    corpus: str,
    there: Mapping[str, Any] | None,
    work: Mapping[str, Any],
) -> None:
    """Takes the lock of a corpus; no process that does other work may hold it."""
    if there is None:
        # Without parts, a process that holds the lock prepares the corpus alone and will end.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        key = next(key for key in work if there.get(key) != work[key])
        raise UserError(
            f"other processes are preparing {corpus!r} in {data_dir} with another {key} "
            f"({there.get(key)} there, {work[key]} here): run all shards on the same source with "
            "the same versions, or wait until they are done"
        ) from error


def _read_work(data_dir: Path, corpus: str) -> dict[str, Any] | None:
    """Reads the description of the parts; {}, which equals no work, if the file is damaged."""
    try:
        return parse_json(read_bounded(parts_folder(data_dir, corpus) / _WORK_FILE))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}


@contextlib.contextmanager
def _open_lock(data_dir: Path, name: str) -> Iterator[IO[str]]:
    folder = data_dir / STAGING
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # NFS requires a file open for reading for a shared lock, for writing for an exclusive one.
        file = os.fdopen(os.open(folder / f"{name}{_LOCK}", os.O_RDWR | os.O_CREAT, 0o666), "r+")
    except OSError as error:
        raise UserError(
            f"data_dir {data_dir} cannot be written: {error.strerror or error}; give another "
            "--data_dir"
        ) from error
    with file:
        yield file
