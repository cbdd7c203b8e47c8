"""Folders of audio: Hugging Face audiofolder, a folder per class, or a folder per speaker."""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from sersl.core.errors import UserError
from sersl.corpora.listing import AUDIO_EXTENSIONS, describe_others, printable, walk
from sersl.corpora.manifests.columns import PATH_COLUMNS
from sersl.corpora.manifests.label_map import LABEL_MAP, read_label_map
from sersl.corpora.tables.delimited import read_table
from sersl.corpora.tables.objects import read_objects
from sersl.corpora.tables.parquet import read_parquet
from sersl.corpora.tables.values import Row
from sersl.corpora.words import known_category

_METADATA: dict[str, Callable[..., Iterator[Row]]] = {
    "metadata.csv": read_table,
    "metadata.jsonl": read_objects,
    "metadata.parquet": read_parquet,
}
# Folders that are splits, as in the datasets library.
_SIDES = ("train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval")


def read_audiofolder(folder: Path) -> Iterator[Row]:
    """Reads an audiofolder: metadata files with `file_name`, or else folders by emotion or speaker.

    The folders train, validation and test below its top become the fold. Without metadata, the
    emotion is the name of a folder: the one called by an emotion, or another of the same depth.
    Where no folder is called by an emotion, the first folder is the speaker.

    Raises:
      UserError: two kinds of metadata in one folder, or a broken one.
    """
    found = audiofolder_metadata(folder)
    for file in found:
        if sum(other.parent == file.parent for other in found) > 1:
            raise UserError(f"{file.parent} has two metadata files; leave one")
        below = file.parent.relative_to(folder)
        label = (PurePosixPath(below.as_posix()) / file.name).as_posix()
        for row in _METADATA[file.name](file, label=label):
            key = next((k for k in row.values if k.strip().casefold() in PATH_COLUMNS), "")
            if row.has(key):
                path = str(PurePosixPath(below.as_posix()) / row.text(key))
                row.values[key] = path
                if not {"fold", "split"} & {k.strip().casefold() for k in row.values}:
                    row.values |= _side(path)
            yield row
    if not found:
        yield from _by_folder(folder)


def audiofolder_metadata(folder: Path) -> list[Path]:
    """Finds the metadata files of a folder and of those directly below it, sorted."""
    below = sorted(path for path in folder.iterdir() if path.is_dir())
    paths = [place / name for place in (folder, *below) for name in _METADATA]
    return [path for path in paths if path.is_file()]


def unread_files(folder: Path) -> list[str]:
    """Writes a note where a folder without metadata has files that are not read as audio."""
    others: list[str] = []
    if not audiofolder_metadata(folder):
        list(walk(folder, AUDIO_EXTENSIONS, others=others))
    others = [path for path in others if PurePosixPath(path).name != LABEL_MAP]
    remedy = "if they are audio, list them in a CSV file with a column path"
    return [f"not read: {describe_others(folder, others)}; {remedy}"] if others else []


def _by_folder(folder: Path) -> Iterator[Row]:
    # What cannot be looked into is a row as well: reading it gives the reason.
    files = [found.path for found in walk(folder, AUDIO_EXTENSIONS)]
    words = read_label_map(folder)
    parts = {name for path in files for name in PurePosixPath(path).parts[:-1]}
    emotions = {name for name in parts if name in words or known_category(name)}
    # Words of one's own are where the known ones are: of Wut/anna and neutral/anna, Wut.
    depths = {depth for path in files for depth, name in _classes(path) if name in emotions}
    for path in files:
        classes = _classes(path)
        values: dict[str, Any] = {"path": path} | _side(path)
        named = [name for _, name in classes if name in emotions]
        if not named and len(depths) == 1:
            named = [name for depth, name in classes if depth in depths]
        elif not named and emotions:
            named = [name for _, name in classes]
        if named:
            values["emotion"] = named[-1]
        elif classes and not emotions:
            values["speaker"] = printable(classes[0][1])
        yield Row(printable(path), values)


def _classes(path: str) -> list[tuple[int, str]]:
    """Lists the folders that a file is in, with their depth, without that of a split."""
    return list(enumerate(PurePosixPath(path).parts[len(_side(path)) : -1]))


def _side(path: str) -> dict[str, str]:
    parts = PurePosixPath(path).parts
    return {"fold": parts[0].lower()} if len(parts) > 1 and parts[0].lower() in _SIDES else {}
