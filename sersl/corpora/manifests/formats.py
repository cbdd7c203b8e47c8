"""The kinds of lists that `sersl prepare --manifest` reads, and how each is recognised."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sersl.core.errors import UserError, unknown_name
from sersl.core.files import parse_value
from sersl.corpora.listing import AUDIO_EXTENSIONS, describe_others, list_files, walk
from sersl.corpora.manifests.audformat import audformat_files, read_audformat
from sersl.corpora.manifests.columns import PATH_COLUMNS
from sersl.corpora.manifests.folders import audiofolder_metadata, read_audiofolder
from sersl.corpora.manifests.json_lists import (
    is_nested,
    read_emobox,
    read_nemo,
    read_s3prl,
    read_speechbrain,
)
from sersl.corpora.manifests.text_lists import fairseq_files, kaldi_files, read_fairseq, read_kaldi
from sersl.corpora.tables.delimited import read_table
from sersl.corpora.tables.objects import read_array, read_document, read_objects, starts_with
from sersl.corpora.tables.parquet import read_parquet
from sersl.corpora.tables.text import check_file, read_lines
from sersl.corpora.tables.values import Row


@dataclass(frozen=True)
class Format:
    """One kind of list.

    Attributes:
      about: a description for the user.
      read: gives its rows.
      files: names the label files it consists of, without the audio.
      kept: columns that belong to the format and are only kept in `extra`.
    """

    about: str
    read: Callable[[Path], Iterator[Row]]
    files: Callable[[Path], list[Path]]
    kept: tuple[str, ...] = ()


_EMOBOX = ("type", "task", "length", "num_frame", "sample_rate", "emobox_channel")


def _itself(manifest: Path) -> list[Path]:
    return [manifest]


FORMATS: dict[str, Format] = {
    "csv": Format("CSV with a column path", read_table, _itself),
    "jsonl": Format("JSON lines with path, or an array of such objects", read_objects, _itself),
    "parquet": Format("Parquet with a column path", read_parquet, _itself),
    "emobox": Format("EmoBox JSON lines with key, wav, emo", read_emobox, _itself, _EMOBOX),
    "s3prl": Format(
        "s3prl JSON with labels and meta_data", read_s3prl, _itself, ("s3prl_speaker",)
    ),
    "speechbrain": Format("SpeechBrain JSON, utterance to wav", read_speechbrain, _itself, _EMOBOX),
    "nemo": Format("NeMo JSON lines with audio_filepath", read_nemo, _itself, ("duration",)),
    "fairseq": Format(
        "fairseq tsv, the root in its first line", read_fairseq, fairseq_files, ("listed_samples",)
    ),
    "kaldi": Format("Kaldi folder with wav.scp", read_kaldi, kaldi_files),
    "audformat": Format("audformat folder with db.yaml", read_audformat, audformat_files),
    "audiofolder": Format(
        "Hugging Face audiofolder, or folders by class or speaker",
        read_audiofolder,
        audiofolder_metadata,
    ),
}
# For contents that are empty or broken: the reader then reports what is wrong.
_BY_ENDING = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".json": "jsonl"}


def find_format(manifest: Path, name: str = "", *, path_column: str = "path") -> str:
    """Recognises a list by its contents.

    Args:
      manifest: file or folder.
      name: given by the user; "" looks into the file.
      path_column: name that the user gives to the column of paths.

    Returns:
      A key of `FORMATS`.

    Raises:
      UserError: an unknown name, a folder or file of no known kind, or a name that needs a folder
        where there is a file.
    """
    if name:
        if name not in FORMATS:
            raise unknown_name("manifest format", name, FORMATS)
        folder = name in ("kaldi", "audformat", "audiofolder")
        if folder != manifest.is_dir():
            raise UserError(
                f"format {name!r} is a {'folder' if folder else 'file'} "
                f"({FORMATS[name].about}), and {str(manifest)!r} is not"
            )
        return name
    found = _of_folder(manifest) if manifest.is_dir() else _of_file(manifest, path_column)
    if not found:
        others: list[str] = []
        if manifest.is_dir() and not any(walk(manifest, AUDIO_EXTENSIONS, others=others)):
            held = f"only {describe_others(manifest, others)}" if others else "it is empty"
            raise UserError(
                f"folder {str(manifest)!r} holds no audio, {held}: give a folder with audio files, "
                "or a list of them itself, such as a CSV file with a column path"
            )
        known = "; ".join(f"{key}: {item.about}" for key, item in FORMATS.items())
        raise UserError(f"cannot tell what {str(manifest)!r} is: give --format with one of {known}")
    return found


def _of_folder(folder: Path) -> str:
    if (folder / "db.yaml").is_file():
        return "audformat"
    if (folder / "wav.scp").is_file():
        return "kaldi"
    audio = next(list_files(folder, AUDIO_EXTENSIONS), None)
    return "audiofolder" if audiofolder_metadata(folder) or audio is not None else ""


def _of_file(manifest: Path, path_column: str) -> str:
    check_file(manifest)
    with manifest.open("rb") as file:
        if file.read(4) == b"PAR1":
            return "parquet"
    by_ending = _BY_ENDING.get(manifest.suffix.lower(), "")
    if starts_with(manifest) == "[":
        entry = next(read_array(manifest), None)
        return _of_entry(entry[1], "jsonl") if entry else by_ending
    lines = (line.strip() for line in read_lines(manifest) if line.strip())
    first, second = next(lines, ""), next(lines, "")
    if first.startswith("{"):
        return _of_object(manifest, first, second) or by_ending
    if "\t" not in first and re.fullmatch(r"[^\t]+\t\d+", second):
        return "fairseq"
    columns = {part.strip(' "').casefold() for part in re.split(r"[,;\t|]", first)}
    return "csv" if columns & {*PATH_COLUMNS, path_column} else by_ending


def _of_object(manifest: Path, first: str, second: str) -> str:
    """Tells JSON lines from a JSON document that is one object."""
    try:
        entry = parse_value(first, allow_nan=True)
    except ValueError:
        if second.startswith("{"):  # lines, the first of them broken
            return ""
        try:
            return _of_document(read_document(manifest), "")
        except UserError:
            return ""
    return _of_document(entry, _of_entry(entry, "jsonl"))


def _of_document(content: Any, other: str) -> str:
    if not isinstance(content, dict) or not content:
        return other
    if "meta_data" in content:
        return "s3prl"
    entries = content.values()
    if all(isinstance(v, dict) and "wav" in v for v in entries) or is_nested(content):
        return "speechbrain"
    return other


def _of_entry(entry: Any, other: str) -> str:
    """Recognises one line of JSON lines, or one element of an array."""
    if not isinstance(entry, dict):
        return other
    if {"key", "wav"} <= set(entry):
        return "emobox"
    return "nemo" if "audio_filepath" in entry else other
