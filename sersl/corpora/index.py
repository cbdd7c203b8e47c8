"""Reads what `sersl prepare` wrote: one row per utterance, in the order of the records."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sersl.core.errors import UserError, unknown_name
from sersl.corpora.remote import is_remote, local_folder, mirror

INDEX_FILE = "index.parquet"
SUMMARY_FILE = "prepare.json"
SPLIT = "utterances"  # the only TFDS split; TFDS reserves the name "all" for the union of splits

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
    """

    corpus: str
    version: str
    folder: Path
    fingerprint: str
    num_utterances: int
    remote: str = ""
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

    def is_labelled(self) -> bool:
        """Says whether any utterance has a category, a dimension or an intensity."""
        numbers = ("arousal", "dominance", "valence", "intensity")
        return bool(
            (self.column("category") != "").any()
            or any(np.isfinite(self.column(name)).any() for name in numbers)
        )

    def column(self, name: str) -> np.ndarray:
        """Reads one column.

        Args:
          name: of the column, see `INDEX_SCHEMA`.

        Returns:
          [num_utterances] float64, int64, or object (str); read-only.

        Raises:
          UserError: there is no such column.
        """
        if name not in INDEX_SCHEMA.names:
            raise unknown_name("index column", name, INDEX_SCHEMA.names)
        if name not in self._columns:
            table = pq.read_table(self.folder / INDEX_FILE, columns=[name])
            values = table.column(name).to_numpy(zero_copy_only=False)
            values.flags.writeable = False
            self._columns[name] = values
        return self._columns[name]


def read_summary(folder: Path) -> dict:
    """Reads the summary of a prepared corpus.

    Args:
      folder: `data_dir/<corpus>/<version>`.

    Returns:
      What `sersl.corpora.prepare.prepare` returned when it wrote the folder.
    """
    return json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))


def find_corpus(data_dir: str | Path, corpus: str) -> Path | None:
    """Finds the newest finished version of a corpus.

    Args:
      data_dir: where `sersl prepare` wrote.
      corpus: name.

    Returns:
      Its folder, or None.
    """
    folders = [path.parent for path in Path(data_dir).glob(f"{corpus}/*/{SUMMARY_FILE}")]
    return max(folders, key=lambda f: [int(n) for n in re.findall(r"\d+", f.name)], default=None)


def prepared_corpora(data_dir: str | Path) -> list[str]:
    """Lists the finished corpora of a data folder.

    Args:
      data_dir: where `sersl prepare` wrote.

    Returns:
      Sorted names.
    """
    paths = Path(data_dir).glob(f"*/*/{SUMMARY_FILE}")
    names = {path.parents[1].name for path in paths}
    return sorted(name for name in names if not name.startswith("."))


def prepare_command(folder: Path, data_dir: str | Path) -> str:
    """Writes the command that prepares a corpus again, for sentences about damage.

    Args:
      folder: of the prepared corpus, with its summary.
      data_dir: that it is in.

    Returns:
      The command, with what it was prepared from.
    """
    summary = read_summary(folder)
    # Older summaries do not say; a known corpus needs its --audio_dir then.
    source = summary["source"] if "source" in summary else {"corpus": summary["corpus"]}
    options = [f"--{name} {shlex.quote(value)}" for name, value in source.items() if value]
    return f"sersl prepare {' '.join(options)} --data_dir {data_dir} --overwrite"


def load_index(data_dir: str | Path, corpus: str) -> CorpusIndex:
    """Opens the index of a prepared corpus.

    Args:
      data_dir: where `sersl prepare` wrote, or a copy of it in a bucket, as gs://bucket/data.
      corpus: name.

    Returns:
      The index of its newest version.

    Raises:
      UserError: the corpus is not there; the sentence names the command that makes it, or the
        nearest corpus that is there; or a bucket has none.
    """
    local = mirror(str(data_dir), corpus) if is_remote(data_dir) else data_dir
    known = prepared_corpora(local)
    folder = find_corpus(local, corpus) if corpus in known else None
    if not known and is_remote(data_dir):
        raise UserError(
            f"{data_dir} has nothing that `sersl prepare` wrote, or there is no such bucket: check "
            "the address, or copy a prepared folder there"
        )
    if folder is None:
        hint = unknown_name("prepared corpus", corpus, known)
        given, after = local_folder(data_dir)
        raise UserError(
            f"corpus {corpus!r} is not prepared: run `sersl prepare --corpus {corpus} --data_dir "
            f"{given}`{after or ' first'}, or with --manifest FILE --name {corpus} if it is your "
            f"own list ({hint})"
        )
    summary = read_summary(folder)
    return CorpusIndex(
        corpus=summary["corpus"],
        version=summary["version"],
        folder=folder,
        fingerprint=summary["fingerprint"],
        num_utterances=summary["num_utterances"],
        remote=f"{data_dir}/{corpus}/{folder.name}" if is_remote(data_dir) else "",
    )
