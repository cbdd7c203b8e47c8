"""A user's own list of audio as a corpus, in any format of `sersl.corpora.manifests.formats`.

Only `path` is needed; docs/manifests.md lists the columns. Names of columns are read in any case,
and paths are relative to the manifest and stay below its folder, or are absolute. Columns without
a meaning are kept in `extra`.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from sersl.core.display import first_few
from sersl.core.errors import UserError
from sersl.core.files import check_name
from sersl.corpora.listing import listing_fingerprint, local_path, printable
from sersl.corpora.manifests.audformat import read_header
from sersl.corpora.manifests.columns import (
    Columns,
    own_dimensions,
    parse_columns,
    parse_scales,
)
from sersl.corpora.manifests.folders import unread_files
from sersl.corpora.manifests.formats import FORMATS, find_format
from sersl.corpora.manifests.label_map import Labels, label_maps, read_label_map
from sersl.corpora.manifests.row import parse_row
from sersl.corpora.tables.text import find_encoding
from sersl.corpora.tables.values import Row, check_printable
from sersl.corpora.utterance import About, Utterance
from sersl.corpora.words import fold_spelling
from sersl.corpora.writing.builder import Builder

_NAME = re.compile(r"[a-z][a-z0-9_]*")  # what TFDS allows in the names of record files
_WHOLE = re.compile(r"0*(\d+)(?:\.0*)?")  # 1, 01 and 1.0 are one number
_NAMED = 3  # speakers in a note
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_ABOVE = 4  # folders above a manifest that its paths may start from: EmoBox's data/<corpus>/fold_1
_MOST_LICENCE = 200  # characters
_TEXT = ("csv", "jsonl", "fairseq")  # formats whose manifest is one text file


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
        columns: str = "",
        scale: str = "",
        licence: str = "",
    ):
        self.manifest = Path(manifest)
        if not os.path.lexists(self.manifest):
            raise UserError(f"there is no manifest {str(manifest)!r}; check --manifest")
        self._scales = parse_scales(scale)
        self._own = own_dimensions(self._scales)
        self._chosen = parse_columns(columns, own=self._own)
        self.format = find_format(
            self.manifest, format, path_column=self._chosen.get("path", "path")
        )
        self._root = Path(audio_dir) if audio_dir else None
        self.name = corpus_name(self.manifest, name)
        self._licence = _one_licence(licence, "--licence")
        self.allow_outside_paths = False
        self.about = About(
            description=f"Utterances listed in {self.manifest.name}.",
            citation="",
            licence=self._licence or self._stated_licence(),
            homepage="",
            folder="one row per utterance, with a path",
        )
        super().__init__(data_dir=data_dir)

    def _stated_licence(self) -> str:
        """Reads the licence that the manifest itself states; "" where it states none."""
        if self.format != "audformat":
            return ""
        header = self.manifest / "db.yaml"
        return _one_licence(read_header(self.manifest)["license"], f"{header}, license")

    def listing(self) -> Iterator[Utterance]:
        """Lists the rows in the order of the file.

        Raises:
          UserError: a value that its column cannot have, with file, line and column.
        """
        folder = self.folder()
        labels = Labels(read_label_map(self.manifest))
        columns = Columns(self._chosen, self._own)
        seen: dict[str, str] = {}
        speakers: set[str] = set()
        labelled = False
        for row in self._read(columns):
            path = row.values["path"]
            # An absolute path is deliberate; one with ".." may be a mistake or an attack.
            if leads_out(path) and not self.allow_outside_paths:
                raise UserError(
                    f"{row.at('path')}: {printable(path)!r} leads out of {folder}: write an "
                    "absolute path, or add --allow_outside_paths to `sersl prepare`"
                )
            if _DRIVE.match(path) and not os.path.lexists(folder / path):
                raise UserError(
                    f"{row.at('path')}: {printable(path)!r} is a path of a Windows machine: write "
                    f"it relative to {folder}, or to the folder that --audio_dir names"
                )
            item = parse_row(row, folder, labels=labels, scales=self._scales)
            if item.utterance_id in seen:
                first = seen[item.utterance_id]
                if row.has("utterance_id"):
                    raise UserError(
                        f"{row.at('utterance_id')}: {item.utterance_id!r} is already on {first}; "
                        "give each row its own"
                    )
                raise UserError(
                    f"{row.at('path')}: the same audio is already on {first}, or audio whose path "
                    f"gives the same id {item.utterance_id!r}: leave one row out, or give each an "
                    "utterance_id"
                )
            seen[item.utterance_id] = row.where
            speakers.add(item.speaker)
            labelled = labelled or "emotion" in row
            yield item
        columns.check(self.manifest.name)
        labels.own.check()
        notes = [*columns.describe_unused(FORMATS[self.format].kept), *labels.notes()]
        notes += _alike(speakers)
        if self.format == "audiofolder" and speakers != {""} and not labelled:
            notes.append(
                "no folder is called by an emotion, so folders are speakers and nothing has a "
                "label; if they are emotions, give each a category in label_map.json"
            )
        if self.format == "audiofolder":
            notes += unread_files(self.manifest)
        if self.format in _TEXT and find_encoding(self.manifest).is_guess:
            notes.append(
                f"{self.manifest.name} is not UTF-8 and was read as Windows-1252: if letters are "
                "wrong, save it as UTF-8 and prepare it again with --overwrite"
            )
        self.account.notes[:] = notes

    def folder(self) -> Path:
        """Finds the folder that paths start from.

        Returns:
          `audio_dir` if given; else the manifest's own folder or, where the first file is not
          there, the nearest folder above it where it is.
        """
        if self._root is not None:
            return self._root
        own = self.manifest if self.manifest.is_dir() else self.manifest.parent
        first = next(self._read(Columns(self._chosen, self._own)), None)
        if first is not None:
            for folder in (own, *own.absolute().parents[:_ABOVE]):
                if os.path.isfile(folder / first.values["path"]):
                    return folder
        return own

    def source_fingerprint(self) -> str:
        """Sums up the manifest and the names and sizes of the files it lists."""
        digest = hashlib.sha256(self.format.encode())
        for options in (self._chosen, self._scales):
            if options:
                digest.update(repr(sorted(options.items())).encode())
        if self._licence:
            digest.update(repr(self._licence).encode())
        maps = [file for file in label_maps(self.manifest) if file.is_file()]
        for file in (*FORMATS[self.format].files(self.manifest), *maps[:1]):
            digest.update(file.read_bytes())
        rows = self._read(Columns(self._chosen, self._own))
        files = sorted({row.values["path"] for row in rows}, key=os.fsencode)
        digest.update(listing_fingerprint(self.folder(), files).encode())
        return digest.hexdigest()

    def _read(self, columns: Columns) -> Iterator[Row]:
        return read_rows(self.manifest, self.format, columns=columns)


def corpus_name(manifest: Path, name: str = "") -> str:
    """Names the corpus that a manifest makes.

    Args:
      manifest: the file or folder.
      name: given by the user; "" takes the file's name.

    Returns:
      A name of lower-case letters, digits and underscores; a file's name is converted to it.

    Raises:
      UserError: the given name has other characters or is too long, or nothing is left of the
        file's name.
    """
    own = manifest.absolute().name if manifest.is_dir() else manifest.stem
    chosen = name or re.sub(r"[^a-z0-9]+", "_", own.lower()).strip("_")
    if not chosen:
        raise UserError(
            f"{printable(own)!r} has no letters a to z to name the corpus by: give it with --name"
        )
    if not _NAME.fullmatch(chosen):
        raise UserError(
            f"corpus name {chosen!r} must start with a letter and have only lower-case letters, "
            "digits and underscores; give another with --name"
        )
    return check_name(chosen, what="corpus name")


def _one_licence(text: str, where: str) -> str:
    """Checks the name of a licence, which reports and cards show on one line."""
    check_printable(text, where)
    if len(text) > _MOST_LICENCE:
        raise UserError(
            f"{where} has {len(text)} characters, at most {_MOST_LICENCE} are allowed: give the "
            "name of the licence or its address"
        )
    return text.strip()


def _alike(speakers: Iterable[str]) -> list[str]:
    """Writes a note where two speakers may be one person who is spelled in two ways."""
    forms: dict[str, list[str]] = {}
    for name in sorted(speakers):
        folded = fold_spelling(name)
        number = _WHOLE.fullmatch(folded)
        forms.setdefault(number[1] if number else folded, []).append(name)
    found = [" = ".join(map(repr, names)) for names in forms.values() if len(names) > 1]
    if not found:
        return []
    return [
        f"speakers that may be the same, {first_few(found, _NAMED)}: if so, write each in one "
        "way, because a fold may train on one and test on the other"
    ]


def leads_out(path: str) -> bool:
    """Tells whether a relative path leaves the folder that it starts from."""
    return os.path.normpath(path).split(os.sep)[0] == os.pardir


def read_rows(manifest: Path, format: str = "", *, columns: Columns | None = None) -> Iterator[Row]:
    """Reads the rows of a manifest with our names of columns.

    Args:
      manifest: file or folder.
      format: a key of `FORMATS`; "" looks into the manifest.
      columns: gives the names; None for those that are known.

    Yields:
      Rows with `path`, a str that is not empty.

    Raises:
      UserError: it cannot be read, or lists nothing; the sentence has file, line and column.
    """
    columns = columns or Columns()
    written = not manifest.is_dir()  # the names of files in a folder are right as they are
    empty = True
    for row in FORMATS[format or find_format(manifest)].read(manifest):
        empty = False
        row = columns.rename(row)
        path = row.values["path"]
        if not isinstance(path, str) or not path.strip():
            raise UserError(f"{row.at('path')}: path is empty; give a file")
        if "\0" in path:
            raise UserError(f"{row.at('path')}: {path!r} has a zero byte, so it is not a file")
        if written:
            row.values["path"] = local_path(path, manifest.parent)
        yield row
    if empty:
        raise UserError(f"{manifest} lists no utterance: give a file with a row for each")
