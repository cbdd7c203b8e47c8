"""The audio that a command line names: files, folders, lists, standard input, buckets."""

import codecs
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

from tqdm import tqdm

from sersl.audio.source import existing_spelling
from sersl.core.bounded import read_bounded
from sersl.core.display import one_line
from sersl.core.errors import UserError
from sersl.corpora.listing import AUDIO_EXTENSIONS, describe_others, local_path, walk
from sersl.corpora.remote import is_remote
from sersl.corpora.remote_files import remote_audio
from sersl.release.predict.windows import Source

STDIN = "-"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Inputs:
    """Sources of audio in order, each file once.

    Attributes:
      sources: paths, URLs, or the stream of standard input.
      missing: files of a list that do not exist; they are among the sources.
      notes: a sentence for each folder with files that are not read.
    """

    def __init__(self) -> None:
        """Starts without sources."""
        self.sources: list[Source] = []
        self.missing: list[str] = []
        self.notes: list[str] = []
        self._known: set[str] = set()

    @property
    def names(self) -> list[str]:
        """The name of each source."""
        return [
            os.fspath(source) if isinstance(source, str | os.PathLike) else STDIN
            for source in self.sources
        ]

    def add(self, source: Source, name: str) -> None:
        """Adds a source, unless it is there."""
        if name not in self._known:
            self._known.add(name)
            self.sources.append(source)


def find_audio(inputs: Sequence[str], list_file: str | None = None) -> Inputs:
    """Finds the audio files of files, folders, see `sersl.corpora.listing.walk`, and a list.

    Args:
      inputs: paths, URLs such as s3://bucket/folder, "-" for audio on standard input.
      list_file: text file with a path or URL per line; relative paths begin at its folder. "-":
        standard input, where they begin at the working folder.

    Returns:
      Sources in the order given, those of a folder sorted. Links to nothing and folders that cannot
      be read are included: reading them gives the reason.

    Raises:
      UserError: a path does not exist, a folder holds no audio, or there is nothing on standard
        input.
    """
    if list_file == STDIN and STDIN in inputs:
        raise UserError("standard input is either audio or a list: give '-' once")
    found = Inputs()
    for name in inputs:
        if name == STDIN:
            found.add(_standard_input("audio"), STDIN)
        elif is_remote(name):
            for url in remote_audio(name, AUDIO_EXTENSIONS):
                found.add(url, url)
        else:
            _add_path(found, Path(existing_spelling(name)))
    if list_file is not None:
        _add_list(found, list_file)
    if not found.sources:
        raise UserError("there is no audio: give files, folders, '-' or --list FILE")
    return found


def of_share(found: Inputs, share: tuple[int, int] | None) -> Inputs:
    """Takes every N-th source from the I-th on.

    Raises:
      UserError: there are fewer sources than that.
    """
    if share is None:
        return found
    first, count = share
    part = Inputs()
    part.notes = found.notes
    for source, name in list(zip(found.sources, found.names, strict=True))[first::count]:
        part.add(source, name)
    part.missing = [name for name in found.missing if name in part.names]
    if not part.sources:
        raise UserError(
            f"--shard {first}/{count} has no file: there are only {len(found.sources)}; "
            "leave the part out"
        )
    return part


def share_of_output(output: str, share: tuple[int, int] | None) -> str:
    """Names the output of a part: emotions.csv becomes emotions-00000-of-00004.csv."""
    if share is None:
        return output
    stem, ending = os.path.splitext(output)
    return f"{stem}-{share[0]:05d}-of-{share[1]:05d}{ending}"


def progress(total: int, *, unit: str, initial: int = 0) -> tqdm:
    """Shows a progress bar on a terminal, and nothing in a log.

    Args:
      total: number of things.
      unit: name of one.
      initial: number that is done.

    Returns:
      The bar, to be updated.
    """
    quiet = not sys.stderr.isatty()
    return tqdm(total=total, unit=unit, initial=initial, disable=quiet, leave=False)


def _add_path(found: Inputs, path: Path) -> None:
    if path.is_dir():
        others: list[str] = []
        below = [path / entry.path for entry in walk(path, AUDIO_EXTENSIONS, others=others)]
        if not below and others:
            raise UserError(
                f"folder {path} holds no audio, only {describe_others(path, others)}: if they are "
                "audio, give each by its own name"
            )
        if not below:
            raise UserError(
                f"folder {path} holds no audio: files ending in {', '.join(AUDIO_EXTENSIONS)}"
            )
        if others:
            found.notes.append(
                f"not read: {describe_others(path, others)}; give a file by its own name to read it"
            )
        for file in below:
            found.add(file, str(file))
    elif os.path.lexists(path):
        found.add(path, str(path))
    else:
        raise UserError(f"{path} does not exist: give audio files or folders of them")


def _add_list(found: Inputs, list_file: str) -> None:
    try:
        content = (
            _standard_input("a list").read()
            if list_file == STDIN
            else read_bounded(existing_spelling(list_file), regular=False)
        )
    except OSError as error:
        raise UserError(f"list {list_file} cannot be read: {error.strerror}") from error
    if b"\0" in content[:4096] and not content.startswith(_UTF16):
        raise UserError(
            f"list {one_line(list_file)} is not text with a path per line: give audio files "
            "without --list"
        )
    base = Path() if list_file == STDIN else Path(list_file).parent
    lines = [os.fsdecode(line.rstrip(b"\r")) for line in _as_utf8(content).split(b"\n")]
    names = [line for line in lines if line.strip()]
    if not names:
        raise UserError(f"list {list_file} is empty: write a path in each line")
    for name in names:
        if is_remote(name):
            found.add(name, name)
            continue
        path = Path(existing_spelling(base / name))
        if not os.path.lexists(path):
            path = Path(existing_spelling(base / local_path(name, base)))
        if not os.path.lexists(path):
            found.missing.append(str(path))
        found.add(path, str(path))


def _as_utf8(content: bytes) -> bytes:
    """Removes the byte-order mark that editors of Windows write, and reads UTF-16.

    Raises:
      UserError: damaged UTF-16.
    """
    if not content.startswith(_UTF16):
        return content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-16").encode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"the list is damaged UTF-16 text ({error.reason}): save it again"
        ) from error


def _standard_input(what: str) -> BinaryIO:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or sys.stdin.isatty():
        raise UserError(
            f"'-' reads {what} from standard input, which is a terminal or closed: "
            "pipe it in, as in `sersl predict - < a.wav`"
        )
    return cast(BinaryIO, stream)
