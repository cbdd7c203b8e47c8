"""The audio files that a command line names, and a table that is written as it grows."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from sersl.core.errors import UserError
from sersl.corpora.listing import AUDIO_EXTENSIONS


def find_audio(inputs: Sequence[str]) -> list[Path]:
    """Lists the audio files of files and folders, folders searched to the bottom.

    Args:
      inputs: paths.

    Returns:
      Paths in the order given, those of a folder sorted; each file once.

    Raises:
      UserError: a path is not there, or a folder holds no audio.
    """
    found: dict[Path, None] = {}
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            files = sorted(
                file
                for file in path.rglob("*")
                if file.suffix.lower() in AUDIO_EXTENSIONS
                and file.is_file()
                and not file.name.startswith(".")  # macOS leaves "._name.wav" beside "name.wav"
            )
            if not files:
                raise UserError(
                    f"folder {path} holds no audio: files ending in {', '.join(AUDIO_EXTENSIONS)}"
                )
            found.update(dict.fromkeys(files))
        elif path.exists():
            found[path] = None
        else:
            raise UserError(f"{path} does not exist: give audio files or folders of them")
    return list(found)


@contextmanager
def growing_file(path: str | Path) -> Iterator[TextIO]:
    """Opens a text file that appears under its name when it is complete.

    Until then, and after an interruption, what was written lies beside it as `<name>.part`.

    Args:
      path: the file.

    Yields:
      The open file.

    Raises:
      UserError: it cannot be written.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "w", newline="", encoding="utf-8") as file:
            yield file
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def progress(total: int, *, unit: str) -> tqdm:
    """Shows a bar on a terminal, and nothing in a log, where the summary line tells all.

    Args:
      total: how many there are.
      unit: of what.

    Returns:
      The bar, to be updated.
    """
    return tqdm(total=total, unit=unit, disable=not sys.stderr.isatty(), leave=False)
