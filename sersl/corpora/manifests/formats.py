"""Which kinds of lists of audio `sersl prepare --manifest` reads, and how each is recognised."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sersl.core.errors import UserError, unknown_name
from sersl.corpora.listing import AUDIO_EXTENSIONS, list_files
from sersl.corpora.manifests.audformat import audformat_files, read_audformat
from sersl.corpora.manifests.folders import audiofolder_metadata, read_audiofolder
from sersl.corpora.manifests.json_lists import read_emobox, read_nemo, read_s3prl, read_speechbrain
from sersl.corpora.manifests.tables import (
    PATH_COLUMNS,
    Row,
    open_text,
    read_csv,
    read_jsonl,
    read_parquet,
)
from sersl.corpora.manifests.text_lists import fairseq_files, kaldi_files, read_fairseq, read_kaldi


@dataclass(frozen=True)
class Format:
    """One kind of list.

    Attributes:
      about: what it is, for people.
      read: gives its rows, with our names of columns.
      files: gives the label files it consists of, without the audio.
    """

    about: str
    read: Callable[[Path], Iterator[Row]]
    files: Callable[[Path], list[Path]]


def _itself(manifest: Path) -> list[Path]:
    return [manifest]


FORMATS: dict[str, Format] = {
    "csv": Format("CSV with a column path", read_csv, _itself),
    "jsonl": Format("JSON lines with path", read_jsonl, _itself),
    "parquet": Format("Parquet with a column path", read_parquet, _itself),
    "emobox": Format("EmoBox JSON lines with key, wav, emo", read_emobox, _itself),
    "s3prl": Format("s3prl JSON with labels and meta_data", read_s3prl, _itself),
    "speechbrain": Format("SpeechBrain JSON, utterance to wav", read_speechbrain, _itself),
    "nemo": Format("NeMo JSON lines with audio_filepath", read_nemo, _itself),
    "fairseq": Format("fairseq tsv, the root in its first line", read_fairseq, fairseq_files),
    "kaldi": Format("Kaldi folder with wav.scp", read_kaldi, kaldi_files),
    "audformat": Format("audformat folder with db.yaml", read_audformat, audformat_files),
    "audiofolder": Format(
        "Hugging Face audiofolder, or folders by class", read_audiofolder, audiofolder_metadata
    ),
}
# Where the contents do not tell, because they are empty or broken: its reader says what is wrong.
_BY_ENDING = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".json": "jsonl"}


def find_format(manifest: Path, name: str = "") -> str:
    """Recognises a list by its contents.

    Args:
      manifest: file or folder.
      name: what the user says it is; "" looks into it.

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
    found = _of_folder(manifest) if manifest.is_dir() else _of_file(manifest)
    if not found:
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


def _of_file(manifest: Path) -> str:
    with manifest.open("rb") as file:
        if file.read(4) == b"PAR1":
            return "parquet"
    with open_text(manifest) as file:
        lines = (line for line in file if line.strip())
        first, second = next(lines, "").strip(), next(lines, "").strip()
        if first.startswith("{"):
            file.seek(0)
            return _of_json(first, second, file) or _by_ending(manifest)
    if "\t" not in first and re.fullmatch(r"[^\t]+\t\d+", second):
        return "fairseq"
    columns = {part.strip(' "').lower() for part in re.split(r"[,;\t]", first)}
    return "csv" if columns & set(PATH_COLUMNS) else _by_ending(manifest)


def _by_ending(manifest: Path) -> str:
    return _BY_ENDING.get(manifest.suffix.lower(), "")


def _of_json(first: str, second: str, file) -> str:
    try:
        entry, lines = json.loads(first), True
    except json.JSONDecodeError:
        if second.startswith("{"):  # lines, the first of them broken
            return ""
        try:
            entry, lines = json.loads(file.read().removeprefix("\ufeff")), False
        except json.JSONDecodeError:
            return ""
    if "meta_data" in entry:
        return "s3prl"
    if entry and all(isinstance(v, dict) and "wav" in v for v in entry.values()):
        return "speechbrain"
    if not lines:
        return ""
    if {"key", "wav"} <= set(entry):
        return "emobox"
    return "nemo" if "audio_filepath" in entry else "jsonl"
