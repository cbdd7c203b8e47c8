"""A user's own list of audio as a corpus, in any format of `sersl.corpora.manifests.formats`.

Columns, of which only `path` is needed (any case, any order; paths are relative to the
manifest and stay below its folder, or are in full): `path`, `start`, `end` (seconds), `channel`
(from 0), `utterance_id`, `speaker`, `gender`, `language`, `session`, `text`, `emotion` or
`category`, `votes` (object label -> number), `annotators` (object rater -> label, or rater ->
{emotion, arousal, ...}), `intensity` (0..1),
`arousal`, `dominance`, `valence` (0..1, or on the scale that `scale_low` and `scale_high` give),
`fold`. All other columns are kept in `extra`. Labels that are not canonical are looked up in
label_map.json beside the manifest, and in the codes of the corpus that a column `corpus` or
`dataset` names.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from sersl.core.errors import UserError
from sersl.corpora.labels import canonical
from sersl.corpora.listing import listing_fingerprint, printable
from sersl.corpora.manifests.formats import FORMATS, find_format
from sersl.corpora.manifests.row import parse_row
from sersl.corpora.manifests.tables import Row, read_json
from sersl.corpora.utterance import About, Utterance
from sersl.corpora.writing.builder import Builder

LABEL_MAP = "label_map.json"  # raw label -> category, as EmoBox has it
_NAME = re.compile(r"[a-z][a-z0-9_]*")  # what TFDS allows in the names of record files
_ABOVE = 4  # folders above a manifest that its paths may start from: EmoBox's data/<corpus>/fold_1


class ManifestBuilder(Builder):
    """The utterances of one manifest; `name` is given per instance."""

    name = "manifest"
    SETTINGS = (*Builder.SETTINGS, "allow_outside_paths")

    def __init__(
        self,
        *,
        data_dir: str | Path,
        manifest: str | Path,
        name: str = "",
        format: str = "",
        audio_dir: str | Path = "",
    ):
        self.manifest = Path(manifest)
        if not self.manifest.exists():
            raise UserError(f"there is no manifest {str(manifest)!r}; check --manifest")
        self.format = find_format(self.manifest, format)
        self._root = Path(audio_dir) if audio_dir else None
        self.name = corpus_name(self.manifest, name)
        self.allow_outside_paths = False
        self.about = About(
            description=f"Utterances listed in {self.manifest.name}.",
            citation="",
            licence="as the owner of the audio says",
            homepage="",
            folder="one row per utterance, with a path",
        )
        super().__init__(data_dir=data_dir)

    def listing(self) -> Iterator[Utterance]:
        """Lists the rows in the order of the file.

        Yields:
          Utterances.

        Raises:
          UserError: a column or value that cannot be; the sentence has the line number.
        """
        folder = self.folder()
        label_map = read_label_map(self.manifest)
        seen = {}
        for where, row in read_rows(self.manifest, self.format):
            # A path in full is meant; one that climbs is a slip, or somebody else's idea.
            if os.path.normpath(row["path"]).startswith("..") and not self.allow_outside_paths:
                raise UserError(
                    f"{where}: path {printable(row['path'])!r} leads out of {folder}: write it in "
                    "full, or add --allow_outside_paths to `sersl prepare`"
                )
            item = parse_row(row, folder, where, label_map=label_map)
            if item.utterance_id in seen:
                raise UserError(
                    f"{where}: utterance_id {item.utterance_id!r} is already on "
                    f"{seen[item.utterance_id]}; give each row its own"
                )
            seen[item.utterance_id] = where
            yield item

    def folder(self) -> Path:
        """Finds the folder that paths start from.

        Returns:
          `audio_dir` if given; else the manifest's own folder or, where the first file is not
          there, the nearest folder above it where it is.
        """
        if self._root is not None:
            return self._root
        own = self.manifest if self.manifest.is_dir() else self.manifest.parent
        first = next(read_rows(self.manifest, self.format), None)
        if first is not None:
            for folder in (own, *own.absolute().parents[:_ABOVE]):
                if (folder / first[1]["path"]).is_file():
                    return folder
        return own

    def source_fingerprint(self) -> str:
        """Sums up the manifest and the names and sizes of the files it lists."""
        digest = hashlib.sha256(self.format.encode())
        maps = [file for file in _label_maps(self.manifest) if file.is_file()]
        for file in (*FORMATS[self.format].files(self.manifest), *maps[:1]):
            digest.update(file.read_bytes())
        rows = read_rows(self.manifest, self.format)
        files = sorted({row["path"] for _, row in rows}, key=os.fsencode)
        digest.update(listing_fingerprint(self.folder(), files).encode())
        return digest.hexdigest()


def corpus_name(manifest: Path, name: str = "") -> str:
    """Names the corpus that a manifest makes.

    Args:
      manifest: the file or folder.
      name: given by the user; "" takes the file's name.

    Returns:
      A name of lower-case letters, digits and underscores; a file's name is converted to it.

    Raises:
      UserError: the given name has other characters, or nothing is left of the file's name.
    """
    own = manifest.absolute().name if manifest.is_dir() else manifest.stem
    chosen = name or re.sub(r"[^a-z0-9]+", "_", own.lower()).strip("_")
    if not _NAME.fullmatch(chosen):
        raise UserError(
            f"corpus name {chosen!r} must start with a letter and have only lower-case letters, "
            "digits and underscores; give another with --name"
        )
    return chosen


def read_rows(manifest: Path, format: str = "") -> Iterator[Row]:
    """Reads the rows of a manifest.

    Args:
      manifest: file or folder.
      format: a key of `FORMATS`; "" looks into the manifest.

    Yields:
      (where, row) with `path`, a str that is not empty.

    Raises:
      UserError: it cannot be read; the sentence has the line.
    """
    written = not manifest.is_dir()  # a folder's own names are what they are
    for where, row in FORMATS[format or find_format(manifest)].read(manifest):
        if not isinstance(row["path"], str) or not row["path"].strip():
            raise UserError(f"{where}: path is empty; give a file")
        if "\0" in row["path"]:
            raise UserError(f"{where}: path {row['path']!r} has a zero byte, so it is no file")
        if written and "\\" in row["path"] and "/" not in row["path"]:  # on Windows
            row["path"] = row["path"].replace("\\", "/")
        yield where, row


def read_label_map(manifest: Path) -> dict[str, str]:
    """Reads label_map.json in the manifest's folder or the one above.

    Args:
      manifest: file or folder.

    Returns:
      Raw label -> canonical category; empty where there is no such file.

    Raises:
      UserError: it is not an object of labels, or gives a label that means nothing known.
    """
    for file in _label_maps(manifest):
        if not file.is_file():
            continue
        content = read_json(file)
        if not isinstance(content, dict):
            raise UserError(f"{file}: not an object that gives each raw label a category")
        try:
            return {raw.strip(): canonical(str(label)) for raw, label in content.items()}
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
    return {}


def _label_maps(manifest: Path) -> list[Path]:
    own = manifest if manifest.is_dir() else manifest.parent
    return [own / LABEL_MAP, own.absolute().parent / LABEL_MAP]
