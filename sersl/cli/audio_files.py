"""The audio files that a command line names."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from sersl.audio.source import existing_spelling
from sersl.core.errors import UserError
from sersl.corpora.listing import AUDIO_EXTENSIONS, walk


def find_audio(inputs: Sequence[str]) -> list[Path]:
    """Lists the audio files of files and folders, see `sersl.corpora.listing.walk`.

    Args:
      inputs: paths.

    Returns:
      Paths in the order given, those of a folder sorted; each file once. Links to nothing and
      folders that cannot be read are included: reading them gives the reason.

    Raises:
      UserError: a path does not exist, or a folder holds no audio.
    """
    paths: dict[Path, None] = {}
    for name in inputs:
        path = Path(existing_spelling(name))
        if path.is_dir():
            below = [path / found.path for found in walk(path, AUDIO_EXTENSIONS)]
            if not below:
                raise UserError(
                    f"folder {path} holds no audio: files ending in {', '.join(AUDIO_EXTENSIONS)}"
                )
            paths.update(dict.fromkeys(below))
        elif os.path.lexists(path):
            paths[path] = None
        else:
            raise UserError(f"{path} does not exist: give audio files or folders of them")
    return list(paths)


def progress(total: int, *, unit: str) -> tqdm:
    """Shows a progress bar on a terminal, and nothing in a log.

    Args:
      total: number of things.
      unit: name of one.

    Returns:
      The bar, to be updated.
    """
    return tqdm(total=total, unit=unit, disable=not sys.stderr.isatty(), leave=False)
