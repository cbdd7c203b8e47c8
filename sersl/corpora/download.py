"""Downloads the corpora of `catalog.archives`: resumed, verified, unpacked whole or not at all."""

import contextlib
import errno
import fcntl
import gzip
import hashlib
import lzma
import os
import shutil
import struct
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from sersl.core.errors import UserError, unknown_name
from sersl.core.version import __version__
from sersl.corpora.catalog.archives import ARCHIVES, Archive

Progress = Callable[[str, int, int | None], None]  # (file, bytes there, bytes in all or None)

_FOLDER = ".downloads"  # in the corpus's folder; what is hidden is not listed as audio
_BLOCK = 1 << 20  # bytes
_TIMEOUT = 60.0  # seconds without a byte
_TRIES = 5  # in a row that bring no byte
_PAUSE = 1.0  # seconds before the second try; doubled for each further one
# What zipfile, tarfile and the libraries below them raise for archives that are damaged,
# encrypted, compressed in another way, or have impossible names.
_BROKEN_ARCHIVE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error),
    *(lzma.LZMAError, EOFError, RuntimeError, NotImplementedError, ValueError, KeyError),
    *(IndexError, OverflowError, struct.error),
)
_LATER = (HTTPStatus.TOO_MANY_REQUESTS, 500, 502, 503, 504)  # answers that may change


def choose_parts(corpus: str, parts: Sequence[str]) -> dict[str, Archive]:
    """Finds the archives of some parts, by part.

    Args:
      corpus: a key of `ARCHIVES`.
      parts: of the corpus; none: its only one.

    Raises:
      UserError: the corpus cannot be downloaded, has several parts to choose from, or does not
        have a part of that name.
    """
    if corpus not in ARCHIVES:
        raise UserError(
            f"corpus {corpus!r} cannot be downloaded, only {', '.join(sorted(ARCHIVES))}: leave "
            "--download out to read how to get it"
        )
    known = ARCHIVES[corpus]
    for part in parts:
        if part not in known:
            raise unknown_name(f"part of {corpus}", part, known)
    if not parts and len(known) > 1:
        raise UserError(f"corpus {corpus!r} has several parts: add --parts with {', '.join(known)}")
    return {part: known[part] for part in parts or known}


def download(
    corpus: str,
    audio_dir: str | Path,
    *,
    parts: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[Path]:
    """Downloads and unpacks a corpus, without the parts that exist.

    An interrupted download is resumed. A part appears as `audio_dir/<part>` once it is complete
    and checked.

    Args:
      corpus: a key of `ARCHIVES`.
      audio_dir: folder to unpack into; made if missing.
      parts: of the corpus; none: its only one.
      progress: called often.

    Returns:
      The folders of the parts.

    Raises:
      UserError: see `choose_parts`; no network, the file is missing or differs from the published
        one, the disk is full, or another process is downloading into the folder.
    """
    chosen = choose_parts(corpus, parts)
    audio_dir = Path(audio_dir)
    with _alone(audio_dir) as folder:
        for part, archive in chosen.items():
            if (audio_dir / part).is_dir():
                continue
            try:
                file = _fetch(archive, folder, progress)
                _unpack(file, folder / "unpacking", audio_dir / part)
            except OSError as error:
                reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
                raise UserError(
                    f"{archive.name} cannot be kept in {audio_dir} ({reason}): make room or give "
                    "another --audio_dir, and run the command again"
                ) from error
            file.unlink()
    return [audio_dir / part for part in chosen]


@contextlib.contextmanager
def _alone(audio_dir: Path) -> Iterator[Path]:
    folder = audio_dir / _FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise UserError(
            f"audio_dir {audio_dir} cannot be written: {error.strerror or error}; give another"
        ) from error
    with lock:  # the system frees it however the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another process is downloading into {audio_dir}: wait until it is done"
            ) from error
        yield folder


def _fetch(archive: Archive, folder: Path, progress: Progress | None) -> Path:
    """Gives the complete and verified file."""
    whole = folder / archive.name
    if whole.is_file():  # verified before it got this name
        return whole
    file = folder / f"{archive.name}.part"
    failures = 0
    while not _is_complete(file, archive):
        before = _size(file)
        try:
            if _receive(archive, file, progress):
                break
            error = None
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as problem:
            error = problem
            _stop_if_final(error, archive, folder.parent, started=before > 0 or failures > 0)
        failures = 0 if _size(file) > before else failures + 1
        if failures >= _TRIES:
            raise UserError(
                f"{_host(archive)} stopped sending {archive.name} after {_size(file)} bytes "
                f"({error or 'the connection was closed'}): run the command again later to "
                "resume"
            ) from error
        if failures:
            time.sleep(_PAUSE * 2 ** (failures - 1))
    _check(file, archive)
    os.replace(file, whole)
    return whole


def _receive(archive: Archive, file: Path, progress: Progress | None) -> bool:
    """Receives one response; True where the file is complete."""
    there = _size(file)
    headers = {"User-Agent": f"sersl/{__version__}"} | (
        {"Range": f"bytes={there}-"} if there else {}
    )
    request = urllib.request.Request(archive.url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and there:
            return True  # nothing follows; the checksum tells whether the file is right
        raise
    with answer:
        resumed = answer.status == HTTPStatus.PARTIAL_CONTENT
        if not resumed:  # the server does not resume: from the start
            there = 0
        # None also where the header is not a number.
        total = archive.num_bytes if answer.length is None else there + answer.length
        if archive.num_bytes not in (None, total):
            raise UserError(
                f"{archive.url} has {total} bytes, {archive.num_bytes} are published: the owner "
                "has replaced it or a proxy answers instead; get the corpus by hand"
            )
        room = shutil.disk_usage(file.parent).free
        if total is not None and total - there > room:
            raise UserError(
                f"{archive.name} needs {total - there} bytes and {file.parent} has {room} free: "
                "make room or give another --audio_dir"
            )
        with file.open("ab" if resumed else "wb") as out:
            while block := _read_block(answer):
                out.write(block)
                there += len(block)
                if progress is not None:
                    progress(archive.name, there, total)
    return total is None or there >= total


def _read_block(answer: HTTPResponse) -> bytes:
    """Reads from the network: its errors are not those of the disk."""
    try:
        return answer.read(_BLOCK)
    except OSError as error:
        raise ConnectionError(error.strerror or str(error)) from error


def _stop_if_final(error: Exception, archive: Archive, audio_dir: Path, *, started: bool) -> None:
    """Raises UserError where another try would not help."""
    by_hand = f"get {archive.url} in another way and unpack it into {audio_dir}"
    if isinstance(error, urllib.error.HTTPError):
        if error.code not in _LATER:
            raise UserError(
                f"{_host(archive)} answers {error.code} ({error.reason}) for {archive.name}: the "
                f"owner may have moved it; {by_hand}"
            ) from error
    elif not started:
        raise UserError(
            f"{_host(archive)} cannot be reached ({getattr(error, 'reason', None) or error}): "
            f"check the network, or {by_hand}"
        ) from error


def _is_complete(file: Path, archive: Archive) -> bool:
    """Whether the file has all published bytes; one that is too long is removed."""
    if archive.num_bytes is not None and _size(file) > archive.num_bytes:
        file.unlink()
    return archive.num_bytes is not None and _size(file) == archive.num_bytes


def _check(file: Path, archive: Archive) -> None:
    kind, _, expected = archive.checksum.partition(":")
    with file.open("rb") as content:
        found = hashlib.file_digest(content, kind).hexdigest()
    if found != expected:
        file.unlink()
        raise UserError(
            f"{archive.name} has the {kind} {found}, published is {expected}: the download was "
            "removed; run the command again, and get the corpus by hand if it happens again"
        )


def _unpack(file: Path, staging: Path, target: Path) -> None:
    """Unpacks beside the target and moves the complete folder there."""
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                archive.extractall(staging)  # leaves ".." and roots out of names
        else:
            with tarfile.open(file) as archive:
                archive.extractall(staging, filter="data")  # nothing outside, no devices
    except _BROKEN_ARCHIVE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{file} cannot be unpacked ({reason}): remove it and run the command again"
        ) from error
    inside = list(staging.iterdir())
    # One folder around everything is the part itself.
    alone = len(inside) == 1 and inside[0].is_dir()
    os.rename(inside[0] if alone else staging, target)
    shutil.rmtree(staging, ignore_errors=True)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _host(archive: Archive) -> str:
    return urlsplit(archive.url).hostname or archive.url
