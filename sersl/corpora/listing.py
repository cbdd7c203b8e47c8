"""Lists the files of a corpus folder, in the same order on every machine."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sersl.audio.source import existing_spelling, path_bytes, path_text
from sersl.core.display import first_few, one_line
from sersl.core.errors import UserError

# Of files found in a folder; a file that is given by its own name may have any extension.
AUDIO_EXTENSIONS = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd"),
    *(".mp2", ".w64", ".rf64", ".caf", ".sph"),
    # through PyAV
    *(".m4a", ".mp4", ".mov", ".3gp", ".webm", ".mkv", ".mka", ".wma", ".asf", ".amr", ".aac"),
    ".avi",
)
_NAMED = 3  # files with other endings
# A link to nothing with such a name was a link to a file.
_FILE_NAME = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")


def check_folder(folder: Path, what: str) -> None:
    """Checks that a folder exists and can be read.

    Args:
      folder: that is needed.
      what: it should hold, for the sentence.

    Raises:
      UserError: it does not exist, is not a folder, or cannot be read.
    """
    if not folder.exists():
        raise UserError(f"{what}: there is no folder {str(folder)!r}; check --audio_dir")
    if not folder.is_dir():
        raise UserError(f"{what}: {str(folder)!r} is a file, not a folder; check --audio_dir")
    problem = _entries(os.fspath(folder))[1]
    if problem:
        raise UserError(f"{what}: {str(folder)!r}: {problem}; change its permissions")


class Found(NamedTuple):
    """Something in a folder.

    Attributes:
      path: relative to the folder, with forward slashes.
      problem: why it cannot be looked into; "": it is a file with one of the extensions.
    """

    path: str
    problem: str = ""


def list_files(folder: Path, extensions: Iterable[str]) -> Iterator[str]:
    """Lists the files of a folder, see `walk`, without what cannot be looked into."""
    return (found.path for found in walk(folder, extensions) if not found.problem)


def local_path(path: str, folder: Path) -> str:
    """Writes a path of a list with slashes where it has backslashes, as on Windows.

    Args:
      path: as the list has it; with both, it stays where there is such a file.
      folder: that it starts from.
    """
    if "\\" in path and not ("/" in path and os.path.lexists(folder / path)):
        return path.replace("\\", "/")
    return path


def walk(
    folder: Path, extensions: Iterable[str], *, others: list[str] | None = None
) -> Iterator[Found]:
    """Walks a folder in sorted order; links to folders are followed, but no folder is walked twice.

    Hidden files and folders are left out: they hold downloads under way, checkouts, caches and the
    metadata of macOS. A link to a folder that is walked under its own name is left out as well.

    Args:
      folder: where to start.
      extensions: lower-case endings with their dot; a file's own ending may be in any case.
      others: gets the paths of the files with other endings, as the walk meets them.

    Yields:
      Files, links to files, also to missing ones, and with a problem: folders that cannot be read,
      and links to missing things that may have been folders.
    """
    extensions = tuple(extensions)
    top = os.path.realpath(folder)
    walked = {top}
    entries, problem = _entries(os.fspath(folder))
    if problem:
        yield Found(".", problem)
    waiting = [("", top, entries)]
    while waiting:
        prefix, place, entries = waiting[-1]
        entry = next(entries, None)
        if entry is None:
            waiting.pop()
            continue
        path = prefix + entry.name
        if entry.name.startswith("."):
            continue
        if os.path.isdir(entry.path):  # entry.is_dir raises for a link to itself
            # Only a link has another real path; resolving all of a deep path takes long.
            real = os.path.join(place, entry.name)
            if entry.is_symlink():
                real = os.path.realpath(entry.path)
            if real in walked or (entry.is_symlink() and _is_below(real, top)):
                continue
            walked.add(real)
            below, problem = _entries(entry.path)
            if problem:
                yield Found(path, problem)
            waiting.append((f"{path}/", real, below))
        elif entry.name.lower().endswith(extensions):
            yield Found(path)
        elif not os.path.exists(entry.path) and not _FILE_NAME.search(entry.name):
            yield Found(path, "link to a file or folder that does not exist")
        elif others is not None:
            others.append(path)


def describe_others(folder: Path, others: Sequence[str]) -> str:
    """Says that files of a folder are not read, since their endings are not those of audio."""
    named = first_few([one_line(path_text(path)) for path in others], _NAMED)
    count = "1 file" if len(others) == 1 else f"{len(others)} files"
    return f"{count} of {one_line(str(folder))} without an ending of audio: {named}"


def _entries(folder: str) -> tuple[Iterator[os.DirEntry[str]], str]:
    """Reads a folder: its entries in the order of their bytes, or why it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return iter(sorted(found, key=lambda entry: os.fsencode(entry.name))), ""
    except OSError as error:
        return iter(()), f"folder cannot be read: {error.strerror or error}"


def _is_below(real: str, top: str) -> bool:
    """Returns whether the walk of `top` reaches a folder under its own name."""
    if os.path.commonpath([real, top]) != top:
        return False
    return not any(part.startswith(".") for part in Path(os.path.relpath(real, top)).parts)


def printable(path: str) -> str:
    """Gives a path as text that every file format can hold, the same on every system.

    Args:
      path: as the operating system gave it.

    Returns:
      The path in NFC, with bytes that are not UTF-8 as `\\xNN`.
    """
    return unicodedata.normalize("NFC", path_text(path))


def listing_fingerprint(folder: Path, files: Iterable[str]) -> str:
    """Hashes names and sizes, to tell whether a source has changed since it was prepared.

    Args:
      folder: that `files` are relative to.
      files: relative paths; of one that is missing, only the name counts.

    Returns:
      64 hexadecimal digits (SHA-256).
    """
    digest = hashlib.sha256()
    for file in files:
        path = existing_spelling(folder / file)
        # Unlike Path.is_file, isfile is False for a name too long for the system.
        size = os.stat(path).st_size if os.path.isfile(path) else "missing"
        digest.update(path_bytes(file) + f"\0{size}\n".encode())
    return digest.hexdigest()
