"""Single files in a bucket: listed, copied to a temporary file to be read, and written."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from sersl.corpora.remote import Bucket, UnreachableError


@contextlib.contextmanager
def fetched(url: str) -> Iterator[Path]:
    """Copies a file of a bucket to this machine while it is used.

    Args:
      url: protocol://path.

    Yields:
      A local copy with the same name.

    Raises:
      UserError: it cannot be read, after several tries.
    """
    folder, name = _split(url)
    with tempfile.TemporaryDirectory(prefix="sersl-") as temporary:
        target = Path(temporary) / name
        Bucket(folder).fetch(name, target)
        yield target


def remote_audio(url: str, extensions: Sequence[str]) -> list[str]:
    """Lists the audio files that a URL names.

    Args:
      url: of a file with one of the extensions, or of a folder.
      extensions: lower-case endings with their dot.

    Returns:
      URLs, those of a folder sorted.

    Raises:
      UserError: there are none, or the bucket cannot be read.
    """
    if PurePosixPath(url).suffix.lower() in extensions:
        return [url]
    folder = url.rstrip("/")
    found = Bucket(folder).glob("**")
    names = [name for name in found if PurePosixPath(name).suffix.lower() in extensions]
    hidden = [name for name in names if any(part.startswith(".") for part in name.split("/"))]
    names = sorted(set(names) - set(hidden))
    if not names:
        raise UnreachableError(
            f"folder {url} holds no audio: files ending in {', '.join(extensions)}"
        )
    return [f"{folder}/{name}" for name in names]


def store(path: Path, url: str) -> None:
    """Copies a local file to a bucket, in place of one that is there.

    Args:
      path: of the file.
      url: protocol://path of the copy.

    Raises:
      UserError: it cannot be written, after several tries.
    """
    folder, name = _split(url)
    Bucket(folder).store(path, name)


def _split(url: str) -> tuple[str, str]:
    folder, _, name = url.rpartition("/")
    return folder, name
