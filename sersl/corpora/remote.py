"""Prepared corpora in a bucket: small files are copied to a cache, records are streamed.

A `data_dir` with a protocol (gs://, s3://, file://...) is read through fsspec. The output of
`sersl prepare` is copied there with the bucket's own tools; sersl writes only
the results of `sersl predict` and `sersl embed` to a bucket.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from sersl.core.bounded import read_bounded
from sersl.core.errors import UserError
from sersl.core.extras import install_hint
from sersl.core.files import check_name, parse_json, whole_path, write_json

Answer = TypeVar("Answer")

_EXTRAS = {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3"}  # protocol -> our extra
_TRIES = 4
_PAUSE = 1.0  # seconds before the second try; doubled for each further one
_BLOCK = 4 << 20  # bytes
# Loggers that write a traceback for every try; sersl reports the last one in a sentence.
_TALKATIVE = ("gcsfs", "fsspec.prefetcher")
# By name, since usually only one of these libraries is installed.
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError")
_KEYS = ".keys.json"  # state of each copied file in the bucket
_RECORDS = ".array_record"  # in the name of each file of records
# Properties of a file in a bucket that change with it; the first that exists is used. Times come
# last, because S3 gives them in milliseconds for a list and in seconds for a file.
_STATE = (
    *("etag", "ETag", "md5Hash", "generation", "mtime", "updated", "LastModified"),
    *("last_modified", "created"),
)


class UnreachableError(UserError):
    """A bucket or its cache cannot be used; the record that was asked for may be undamaged."""


def is_records(name: str) -> bool:
    """Tells by its name whether a file holds records."""
    return _RECORDS in name


def is_remote(data_dir: str | Path) -> bool:
    """Tells whether a folder is behind a protocol, as gs://bucket/data."""
    return "://" in str(data_dir)


def refuse_remote(data_dir: str | Path, verb: str) -> None:
    """Refuses a remote folder for a verb that writes beside the records.

    Args:
      data_dir: as given.
      verb: for the sentence.

    Raises:
      UserError: the folder is remote.
    """
    if is_remote(data_dir):
        raise UserError(
            f"`sersl {verb}` writes into --data_dir, which must be a local folder, not {data_dir}: "
            "give one, and copy what it holds to the bucket with the bucket's own tools"
        )


def local_folder(data_dir: str | Path) -> tuple[str, str]:
    """Names the folder to give to a command that writes beside the records, for messages.

    Args:
      data_dir: as given.

    Returns:
      The value for --data_dir, and what to do after the command; "" for a local folder.
    """
    if not is_remote(data_dir):
        return str(data_dir), ""
    return "DIR", f" with DIR the local folder, and copy it to {data_dir} again"


def cache_folder() -> Path:
    """Gives the folder of all copies: $XDG_CACHE_HOME/sersl or ~/.cache/sersl."""
    root = os.environ["XDG_CACHE_HOME"] if os.environ.get("XDG_CACHE_HOME") else "~/.cache"
    return Path(root).expanduser() / "sersl"


class Bucket:
    """One remote folder."""

    def __init__(self, url: str):
        """Finds the protocol; sends no request.

        Args:
          url: protocol://path of a folder.

        Raises:
          UserError: the protocol is unknown or needs an extra.
        """
        self.url = url.rstrip("/")
        for name in _TALKATIVE:
            if logging.getLogger(name).level == logging.NOTSET:
                logging.getLogger(name).setLevel(logging.CRITICAL)
        protocol = self.url.split("://")[0]
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            what = f"install what it needs ({error})"
            if protocol in _EXTRAS:
                what = install_hint(_EXTRAS[protocol])
            raise UserError(f"{url} is read through fsspec: {what}") from error
        except ValueError as error:
            raise UserError(f"{url}: {error}; known are gs://, s3:// and local folders") from error

    def glob(self, pattern: str) -> dict[str, str]:
        """Lists files below the folder, relative to it and sorted, each with its `key`."""

        def find() -> dict:
            try:
                return self._files.glob(f"{self._root}/{pattern}", detail=True, refresh=True)
            except FileNotFoundError:  # of gcsfs for a missing bucket; s3fs returns nothing
                return {}

        found = self._ask(find, pattern)
        prefix = len(self._root.rstrip("/")) + 1
        files = {path[prefix:]: info for path, info in found.items() if info["type"] == "file"}
        return {file: _key(files[file]) for file in sorted(files)}

    def key(self, file: str) -> str:
        """Hashes the state of a file, which changes when the file does: 16 hex digits."""
        return _key(self._ask(lambda: self._files.info(f"{self._root}/{file}"), file))

    def size(self, file: str) -> int:
        """Gives the size of a file in bytes."""
        return int(self._ask(lambda: self._files.size(f"{self._root}/{file}"), file))

    def fetch(self, file: str, target: Path) -> None:
        """Copies a file, which appears under its name when it is complete.

        Args:
          file: relative to the folder.
          target: local path.

        Raises:
          UnreachableError: it cannot be read, after several tries, or not be written.
        """

        def copy() -> None:
            expected, there = self._files.size(f"{self._root}/{file}"), 0
            with self._files.open(f"{self._root}/{file}", "rb") as source, part.open("wb") as out:
                while block := source.read(_BLOCK):
                    there += out.write(block)
            if expected is not None and there != expected:
                raise OSError(f"{there} of {expected} bytes")

        try:
            with whole_path(target) as part:
                part.touch()
                self._ask(copy, file)
        except OSError as error:
            raise _no_cache(target.parent, error) from error

    def store(self, source: Path, file: str) -> None:
        """Copies a local file into the folder, in place of one that is there.

        Args:
          source: local path.
          file: relative to the folder.

        Raises:
          UnreachableError: it cannot be written, after several tries.
        """

        def copy() -> None:
            self._files.makedirs(self._root, exist_ok=True)
            self._files.put_file(str(source), f"{self._root}/{file}")

        self._ask(copy, file, doing="written")

    def _ask(self, question: Callable[[], Answer], what: str, *, doing: str = "read") -> Answer:
        attempt = 0
        while True:
            attempt += 1
            try:
                return question()
            except FileNotFoundError as error:
                raise UnreachableError(f"{self.url} has no {what}: copy it there again") from error
            except Exception as error:  # each protocol has its own errors
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    raise _no_cache(cache_folder(), error) from error
                if _is_refused(error):
                    raise UnreachableError(
                        f"{self.url}/{what} may not be {doing} ({type(error).__name__}: {error}): "
                        "set credentials with access in the environment, as for the bucket's own "
                        "tools"
                    ) from error
                if attempt == _TRIES:
                    raise UnreachableError(
                        f"{self.url}/{what} cannot be {doing} ({type(error).__name__}: {error}): "
                        "check the network and the access to the bucket"
                    ) from error
                time.sleep(_PAUSE * 2 ** (attempt - 1))


def mirror(data_dir: str, corpus: str) -> Path:
    """Copies all files of one corpus but records into the cache.

    Args:
      data_dir: remote.
      corpus: name.

    Returns:
      A local folder with the structure of `data_dir`; without the corpus where it is not there.

    Raises:
      UserError: the bucket or the cache cannot be used.
    """
    check_name(corpus, what="corpus")
    bucket = Bucket(data_dir)
    name = hashlib.sha256(bucket.url.encode()).hexdigest()[:16]
    local = cache_folder() / "corpora" / name
    # The names of other corpora are for the error message if this one is not there.
    patterns = (f"{corpus}/*/*", f"{corpus}/*/*/*/*.json", "*/*/prepare.json")
    wanted = {file: key for pattern in patterns for file, key in bucket.glob(pattern).items()}
    copy_files(bucket, {f: key for f, key in wanted.items() if not is_records(f)}, local)
    return local


def copy_beside(remote: str, local: Path, folders: Sequence[Path]) -> None:
    """Copies folders beside the records of a corpus, such as sidecars, with all their files.

    Args:
      remote: URL of the corpus's folder.
      local: its local copy.
      folders: wanted, below `local`.

    Raises:
      UserError: the bucket or the cache cannot be used.
    """
    bucket = Bucket(remote)
    for folder in folders:
        copy_files(bucket, bucket.glob(f"{folder.relative_to(local).as_posix()}/*"), local)


def copy_files(bucket: Bucket, files: Mapping[str, str], local: Path) -> None:
    """Copies files that are not there yet, or have changed in the bucket.

    Args:
      bucket: with the files.
      files: relative to it, each with its key, as `Bucket.glob` gives them.
      local: where they go, under the same relative names.

    Raises:
      UserError: the bucket or the cache cannot be used, or a name would leave `local`.
    """
    with _alone(local):
        keys = _read_keys(local / _KEYS)
        for file, key in files.items():
            if {"", ".", ".."} & set(file.split("/")):
                raise UserError(
                    f"{bucket.url} has a file {file!r}, which leaves its folder: rename it"
                )
            if (local / file).is_file() and keys.get(file) == key:
                continue
            bucket.fetch(file, local / file)
            keys[file] = key
            try:
                write_json(local / _KEYS, keys)
            except OSError as error:
                raise _no_cache(local, error) from error


def forget(folder: Path) -> None:
    """Removes the cached copies of a folder's files, so that they are copied again."""
    for path in folder.iterdir():
        if path.is_file():
            path.unlink(missing_ok=True)


def _read_keys(path: Path) -> dict[str, Any]:
    try:
        return parse_json(read_bounded(path))
    except (OSError, ValueError):  # none yet, or damaged: everything is copied again
        return {}


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise _no_cache(folder, error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_refused(error: Exception) -> bool:
    """Tells whether another try would be refused too, because of the credentials."""
    return (
        isinstance(error, PermissionError)
        or type(error).__name__ in _NO_CREDENTIALS
        or str(getattr(error, "code", "")) in ("401", "403")
    )


def _key(info: Mapping) -> str:
    state = [str(info["size"]), *(str(info[name]) for name in _STATE if name in info)][:2]
    return hashlib.sha256(str(state).encode()).hexdigest()[:16]


def _no_cache(folder: Path, error: OSError) -> UnreachableError:
    return UnreachableError(
        f"the cache {folder} cannot be written ({error.strerror or error}): set XDG_CACHE_HOME to "
        "a folder with room"
    )
