"""Lists the files of a corpus folder, in the same order on every machine."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from sersl.core.errors import UserError

# Of files found in a folder; a file that is named itself is tried whatever it is called.
AUDIO_EXTENSIONS = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd"),
    *(".w64", ".rf64", ".caf", ".sph"),
    # through PyAV
    *(".m4a", ".mp4", ".mov", ".3gp", ".webm", ".mkv", ".mka", ".wma", ".asf", ".amr", ".aac"),
    ".avi",
)


def check_folder(folder: Path, what: str) -> None:
    """Stops where a folder is not there.

    Args:
      folder: the folder that is needed.
      what: what it should hold, for the sentence.

    Raises:
      UserError: it does not exist or is no folder.
    """
    if not folder.exists():
        raise UserError(f"{what}: there is no folder {str(folder)!r}; check --audio_dir")
    if not folder.is_dir():
        raise UserError(f"{what}: {str(folder)!r} is a file, not a folder; check --audio_dir")


def list_files(folder: Path, extensions: Iterable[str]) -> Iterator[str]:
    """Walks a folder in sorted order; links to folders are followed, loops are not.

    Hidden folders are left alone: they hold downloads under way, checkouts and caches.

    Args:
      folder: where to start.
      extensions: lower-case endings with their dot; a file's own ending may be in any case.

    Yields:
      Paths relative to `folder`, with forward slashes.
    """
    extensions = tuple(extensions)
    yield from _walk(folder, "", extensions, frozenset())


def _walk(folder: Path, prefix: str, extensions: tuple[str, ...], above: frozenset):
    real = os.path.realpath(folder)
    if real in above:  # a link back to a folder we are inside of
        return
    entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    for entry in entries:
        if os.path.isdir(entry.path):  # entry.is_dir raises for a link to itself
            if entry.name.startswith("."):
                continue
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", extensions, above | {real})
        # A folder called x.wav is walked, not read; "._x.wav" is macOS metadata, not audio.
        elif entry.name.lower().endswith(extensions) and not entry.name.startswith("._"):
            yield prefix + entry.name


def printable(path: str) -> str:
    """Gives a path as text that every file format can hold, even where it is not UTF-8.

    Args:
      path: as the operating system gave it.

    Returns:
      The path, with undecodable bytes as `\\xNN`.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def listing_fingerprint(folder: Path, files: Iterable[str]) -> str:
    """Sums up names and sizes, to tell whether a source has changed since it was prepared.

    Args:
      folder: root of `files`.
      files: relative paths; one that is missing counts with its name alone.

    Returns:
      64 hexadecimal digits (SHA-256).
    """
    digest = hashlib.sha256()
    for file in files:
        path = folder / file
        # Unlike Path.is_file, says no to a name too long for the system instead of raising.
        size = path.stat().st_size if os.path.isfile(path) else "missing"
        digest.update(os.fsencode(file) + f"\0{size}\n".encode())
    return digest.hexdigest()
