"""Reads what `sersl prepare` wrote: one row per utterance, in the order of the records.

The index and the JSON files beside it are compared with the digests of the folder when a corpus is
opened; `sersl doctor --data_dir` compares the records as well.
"""

import functools
import json
import logging
import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sersl.core.digests import check_digests
from sersl.core.errors import UserError, first_line, unknown_name
from sersl.core.files import check_name, find_paths, parse_value, read_json
from sersl.corpora.remote import forget, is_records, is_remote, local_folder, mirror

logger = logging.getLogger(__name__)

INDEX_FILE = "index.parquet"
SUMMARY_FILE = "prepare.json"
SPLIT = "utterances"  # the only TFDS split; TFDS reserves the name "all" for the union of splits
_TFDS_FILES = ("dataset_info.json", "features.json")
_COMMAND_DAMAGED = "prepare the corpus again with `sersl prepare ... --overwrite`"

# Columns of the index. The records hold the same fields, and the audio.
INDEX_SCHEMA = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("corpus", pa.string()),
        ("speaker", pa.string()),  # "" unknown
        ("gender", pa.string()),  # female, male or ""
        ("language", pa.string()),  # ISO 639-1, e.g. "en", or ""
        ("session", pa.string()),
        ("text", pa.string()),
        ("category", pa.string()),  # canonical name, or "" for none
        ("category_raw", pa.string()),  # as the corpus spells it
        ("votes", pa.string()),  # JSON object canonical name -> number of votes, or ""
        ("intensity", pa.float64()),  # 0..1 over the utterance; NaN: not known
        ("arousal", pa.float64()),  # 0..1; NaN: not rated
        ("dominance", pa.float64()),
        ("valence", pa.float64()),
        ("scale_low", pa.float64()),  # of the corpus's own ratings
        ("scale_high", pa.float64()),
        ("fold", pa.string()),  # official split, or ""
        ("num_samples", pa.int64()),  # at 16 kHz
        ("duration", pa.float64()),  # seconds
        ("sha256", pa.string()),  # of the 16-bit samples
        ("extra", pa.string()),  # JSON object with what the corpus has besides, or ""
        ("path", pa.string()),  # relative to the corpus's folder or manifest
    ]
)


@dataclass(frozen=True)
class CorpusIndex:
    """The index of one prepared corpus; columns are read when asked for.

    Attributes:
      corpus: its name.
      version: of the builder that wrote it.
      folder: `data_dir/<corpus>/<version>`.
      fingerprint: of the records' contents; the same source gives the same.
      num_utterances: rows.
      remote: URL of the folder where the records are; "": in `folder`.
      part_of: of `only`: the whole index, and the rows of it, int [num_utterances].
    """

    corpus: str
    version: str
    folder: Path
    fingerprint: str
    num_utterances: int
    remote: str = ""
    part_of: "tuple[CorpusIndex, np.ndarray] | None" = field(default=None, compare=False)
    _columns: dict = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return self.num_utterances

    def __getstate__(self):
        # Worker processes read their own columns rather than receive copies.
        return self.__dict__ | {"_columns": {}}

    def __setstate__(self, state):
        self.__dict__.update(state)

    def names(self) -> dict[str, str]:
        """Gives what the corpus is known by: {"corpus", "version", "fingerprint"}."""
        return {"corpus": self.corpus, "version": self.version, "fingerprint": self.fingerprint}

    def only(self, rows: np.ndarray) -> "CorpusIndex":
        """Gives an index of int [n] of the rows, in this order."""
        return replace(self, num_utterances=len(rows), part_of=(self, rows), _columns={})

    def is_labelled(self) -> bool:
        """Tells whether any utterance has a category, a dimension or an intensity."""
        numbers = ("arousal", "dominance", "valence", "intensity")
        return bool(
            (self.column("category") != "").any()
            or any(np.isfinite(self.column(name)).any() for name in numbers)
            or any(self.extra(key).any() for key in ("categories", "dimensions"))
        )

    def extra(self, key: str) -> np.ndarray:
        """Reads what the objects of the column `extra` have under one key.

        Args:
          key: of the objects.

        Returns:
          [num_utterances] object; None where an utterance has no such key; read-only.

        Raises:
          UserError: the column is damaged.
        """
        name = f"extra/{key}"
        if name not in self._columns:
            texts, quoted = self.column("extra").tolist(), json.dumps(key)
            values = np.full(len(self), None, object)
            try:
                for row, text in enumerate(texts):
                    if quoted in text:
                        values[row] = parse_value(text, allow_infinite=True).get(key)
            except (ValueError, AttributeError) as error:
                reason = f"column 'extra', row {row}: {first_line(error)}"
                raise UserError(
                    f"{self.folder / INDEX_FILE} is damaged ({reason}): {_remedy(self.folder)}"
                ) from error
            values.flags.writeable = False
            self._columns[name] = values
        return self._columns[name]

    def column(self, name: str) -> np.ndarray:
        """Reads one column.

        Args:
          name: of the column, see `INDEX_SCHEMA`.

        Returns:
          [num_utterances] float64, int64, or object (str); read-only.

        Raises:
          UserError: the column does not exist, or the file is damaged.
        """
        if name not in INDEX_SCHEMA.names:
            raise unknown_name("index column", name, INDEX_SCHEMA.names)
        if name not in self._columns:
            values = self._read(name)
            values.flags.writeable = False
            self._columns[name] = values
        return self._columns[name]

    def _read(self, name: str) -> np.ndarray:
        if self.part_of is not None:
            whole, rows = self.part_of
            return whole.column(name)[rows]
        path = self.folder / INDEX_FILE
        try:
            if path.exists() and not path.is_file():  # a pipe would never end
                raise ValueError("it is not a file")
            table = pq.read_table(path, columns=[name])
            values = table.column(name).to_numpy(zero_copy_only=False)
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            reason = first_line(error)
        else:
            kind = INDEX_SCHEMA.field(name).type
            if len(values) == len(self) and table.schema.field(name).type == kind:
                return values
            reason = f"it does not hold {len(self)} rows of {name!r} as {kind}"
        raise UserError(f"{path} is damaged ({reason}): {_remedy(self.folder)}")


# What `prepare.json` holds, and what every program that reads it relies on.
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("corpus", "version", "fingerprint", "source_fingerprint", "licence"), str),
    "num_utterances": int,
    "num_speakers": int,
    "hours": (int, float),
    **dict.fromkeys(("categories", "genders", "languages", "source"), dict),
    **dict.fromkeys(("differences", "skipped", "left_out", "silent", "short"), list),
    "identical_audio": list,
}
_REQUIRED = ("corpus", "version", "fingerprint", "licence", "num_utterances")
SUMMARY_KEYS = tuple(key for key in _KINDS if key != "source")


def read_summary(folder: Path, *, required: Collection[str] = _REQUIRED) -> dict[str, Any]:
    """Reads the summary of a prepared corpus, `prepare.json`.

    Args:
      folder: `data_dir/<corpus>/<version>`.
      required: keys that must be there.

    Returns:
      What `sersl.corpora.prepare.prepare` returned when it wrote the folder.

    Raises:
      UserError: it cannot be read, or a value is missing or of another type.
    """
    path = folder / SUMMARY_FILE
    summary = read_json(path, what="summary of a prepared corpus", remedy=_COMMAND_DAMAGED)
    for key, kind in _KINDS.items():
        if key not in summary and key not in required:
            continue
        value = summary.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UserError(f"{path} is damaged ({key} is {value!r:.80}): {_COMMAND_DAMAGED}")
    for item in (*summary.get("skipped", ()), *summary.get("left_out", ())):
        if not isinstance(item, dict) or not {"path", "reason"} <= item.keys():
            raise UserError(f"{path} is damaged ({item!r:.80} in a list): {_COMMAND_DAMAGED}")
    return summary


def find_corpus(data_dir: str | Path, corpus: str) -> Path | None:
    """Finds the folder of the newest finished version of a corpus."""
    found = find_paths(Path(data_dir) / corpus, f"*/{SUMMARY_FILE}")
    folders = [path.parent for path in found]
    return max(folders, key=lambda f: [int(n) for n in re.findall(r"\d+", f.name)], default=None)


def prepared_corpora(data_dir: str | Path) -> list[str]:
    """Lists the finished corpora of a data folder by name, sorted."""
    folders = find_paths(data_dir, "[!.]*")
    return [path.name for path in folders if find_paths(path, f"*/{SUMMARY_FILE}")]


def prepare_command(folder: Path, data_dir: str | Path) -> str:
    """Writes the command that prepares a corpus again, for sentences about damage.

    Args:
      folder: of the prepared corpus.
      data_dir: that it is in.

    Returns:
      The command, with the source as far as the folder still names it.
    """
    try:
        summary = read_summary(folder)
    except UserError:
        summary = {"corpus": folder.parent.name}
    # Older summaries have no source; a corpus with a folder needs its --audio_dir then.
    source = summary["source"] if "source" in summary else {"corpus": summary["corpus"]}
    options = [f"--{name} {shlex.quote(str(value))}" for name, value in source.items() if value]
    return f"sersl prepare {' '.join(options)} --data_dir {data_dir} --overwrite"


def load_index(data_dir: str | Path, corpus: str) -> CorpusIndex:
    """Opens the index of the newest version of a prepared corpus.

    Args:
      data_dir: where `sersl prepare` wrote, or a copy of it in a bucket, as gs://bucket/data.
      corpus: name.

    Returns:
      The index; it and the JSON files beside it are those that `sersl prepare` wrote.

    Raises:
      UserError: the corpus is not prepared, where the sentence names the command that makes it
        and the nearest prepared corpus; a bucket has none; or a file is damaged.
    """
    check_name(corpus, what="corpus")
    local = mirror(str(data_dir), corpus) if is_remote(data_dir) else data_dir
    folder = find_corpus(local, corpus)
    if folder is None:
        known = prepared_corpora(local)
        if not known and is_remote(data_dir):
            raise UserError(
                f"{data_dir} has no output of `sersl prepare`, or there is no such bucket: check "
                "the address, or copy a prepared folder there"
            )
        hint = unknown_name("prepared corpus", corpus, known)
        given, after = local_folder(data_dir)
        raise UserError(
            f"corpus {corpus!r} is not prepared: run `sersl prepare --corpus {corpus} --data_dir "
            f"{given}`{after or ' first'}, or with --manifest FILE --name {corpus} if it is your "
            f"own list ({hint})"
        )
    try:
        if not check_prepared(folder, data_dir):
            _warn_once(folder)
        summary = read_summary(folder)
    except UserError:
        if is_remote(data_dir):
            forget(folder)  # so that the next run copies them again
        raise
    return CorpusIndex(
        corpus=summary["corpus"],
        version=summary["version"],
        folder=folder,
        fingerprint=summary["fingerprint"],
        num_utterances=summary["num_utterances"],
        remote=f"{data_dir}/{corpus}/{folder.name}" if is_remote(data_dir) else "",
    )


def check_prepared(folder: Path, data_dir: str | Path) -> bool:
    """Compares the index and the JSON files of a prepared corpus with their digests.

    Records are not read, only found: they have checksums of their own.

    Args:
      folder: `data_dir/<corpus>/<version>`, or its local copy.
      data_dir: as given, for the sentence.

    Returns:
      Whether the folder has digests; data of older versions has none.

    Raises:
      UserError: a file is missing or damaged.
    """
    given, after = local_folder(data_dir)
    remote = is_remote(data_dir)
    digests = check_digests(
        folder,
        what=f"corpus {folder.parent.name!r}",
        remedy=f"run `{prepare_command(folder, given)}`{after}",
        hashed=lambda name: not is_records(name) and not name.endswith(".html"),
        expected=lambda name: not (remote and is_records(name)),
    )
    if not digests:
        for name in _TFDS_FILES:
            read_json(folder / name, what="layout of the records", remedy=_remedy(folder))
    return digests


def _remedy(folder: Path) -> str:
    return f"run `{prepare_command(folder, folder.parents[1])}`"


@functools.cache
def _warn_once(folder: Path) -> None:
    logger.warning(
        "%s was prepared by an older version, without digests, so damaged labels would not be "
        "noticed: check it with `sersl doctor --data_dir %s`, or prepare it again",
        folder,
        folder.parents[1],
    )
