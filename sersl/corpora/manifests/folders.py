"""Folders that are corpora: Hugging Face audiofolder, and any folder with one class per folder."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sersl.core.errors import UserError
from sersl.corpora.listing import AUDIO_EXTENSIONS, list_files
from sersl.corpora.manifests.tables import Row, read_csv, read_jsonl, read_parquet

_METADATA = {
    "metadata.csv": read_csv,
    "metadata.jsonl": read_jsonl,
    "metadata.parquet": read_parquet,
}
# Folders that are sides, as the datasets library knows them.
_SIDES = ("train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval")


def read_audiofolder(folder: Path) -> Iterator[Row]:
    """Reads an audiofolder: metadata files with `file_name`, or else folders named by class.

    Args:
      folder: its top; train, validation and test below it become the fold.

    Yields:
      Rows; without metadata, the emotion is the name of the folder that a file is in.

    Raises:
      UserError: two kinds of metadata in one folder, or a broken one.
    """
    found = audiofolder_metadata(folder)
    for file in found:
        if sum(other.parent == file.parent for other in found) > 1:
            raise UserError(f"{file.parent} has two metadata files; leave one")
        below = file.parent.relative_to(folder)
        for where, row in _METADATA[file.name](file):
            path = str(PurePosixPath(below.as_posix()) / str(row["path"]))
            yield where, row | {"path": path} | _side(path)
    if found:
        return
    for path in list_files(folder, AUDIO_EXTENSIONS):
        *above, _ = PurePosixPath(path).parts
        side = _side(path)
        classes = above[1:] if side else above
        yield path, {"path": path} | ({"emotion": classes[-1]} if classes else {}) | side


def audiofolder_metadata(folder: Path) -> list[Path]:
    """Finds the metadata files of a folder and of those directly below it, sorted."""
    below = sorted(path for path in folder.iterdir() if path.is_dir())
    paths = [place / name for place in (folder, *below) for name in _METADATA]
    return [path for path in paths if path.is_file()]


def _side(path: str) -> dict[str, str]:
    parts = PurePosixPath(path).parts
    return {"fold": parts[0].lower()} if len(parts) > 1 and parts[0].lower() in _SIDES else {}
