"""Runs an annotator over a prepared corpus: frame intensity and prosody of every utterance.

The sidecar is beside the records, in `<corpus>/<version>/sidecars/<annotator>/`: one ArrayRecord
whose record i belongs to row i of the index, and `sidecar.json` with what it was made from.
`data.sources.CorpusSource` reads it.
"""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from sersl.annotation.annotators import RULES, Annotator
from sersl.annotation.sidecar_parts import SidecarParts, clear_partials
from sersl.annotation.sidecar_records import make_records
from sersl.audio.prosody import PROSODY_NAMES, PROSODY_VERSION
from sersl.core.errors import UserError, unknown_name
from sersl.core.lengths import num_frames
from sersl.corpora.index import CorpusIndex, load_index
from sersl.corpora.remote import local_folder, refuse_remote
from sersl.corpora.sidecar import (
    RECORDS_FILE,
    SUMMARY_FILE,
    annotation_folder,
    is_finished,
    names_beside,
    read_sidecar,
)
from sersl.corpora.writing.parts import Progress, check_processes
from sersl.data.sources import CorpusSource

SIDECAR_SCHEMA = 1  # layout that `data.sources` reads


def annotate_corpus(
    annotator: str | Annotator,
    corpus: str,
    *,
    data_dir: str | Path,
    processes: int = 1,
    shard: tuple[int, int] = (0, 1),
    progress: Progress | None = None,
) -> Path | None:
    """Writes the sidecar of a corpus, unless one made from the same records in the same way exists.

    The work is done in parts; rerun an interrupted run to resume it. The sidecar appears when all
    parts are written, and then replaces an older one.

    Args:
      annotator: a name in `RULES`, or an annotator.
      corpus: name of a prepared corpus.
      data_dir: where `sersl prepare` wrote.
      processes: worker processes, where the annotator works on the host; 1 works in this one.
      shard: (i, n): do only parts i, i + n, i + 2 n..., so that n runs share the work, on any hosts
        that see the same data_dir; the one that ends last makes the sidecar.
      progress: called with (utterances done, all utterances of this shard).

    Returns:
      The sidecar's folder; None if other shards have parts to do.

    Raises:
      UserError: unknown annotator or corpus, a damaged record, or no room to write.
    """
    refuse_remote(data_dir, "annotate")
    if isinstance(annotator, str):
        annotator = _rule(annotator)
    source = CorpusSource(data_dir, corpus)
    folder = annotation_folder(source.index, annotator.name)
    if find_sidecar(annotator, source.index) is not None:
        clear_partials(folder)
        return folder
    check_processes(processes, "annotating")
    parts = SidecarParts(folder, _summary(annotator, source.index), source.num_samples)
    share = parts.share(shard)
    if share.to_do:
        parts.prepare()
        annotator.prepare(source)
    rows = [parts.rows[part] for part in share.to_do]
    made = make_records(source, annotator, rows, processes=processes)
    # Closed here and not by the garbage collector, since it waits for its processes.
    with contextlib.closing(made):
        for part, records in zip(share.to_do, made, strict=True):
            parts.write(part, share.counted(records, progress))
    if parts.missing() and find_sidecar(annotator, source.index) is None:
        return None
    parts.join()
    return folder


def find_sidecar(annotator: str | Annotator, index: CorpusIndex) -> dict[str, Any] | None:
    """Finds a sidecar that is complete, undamaged and what this version would write.

    Args:
      annotator: a name in `RULES`, or an annotator.
      index: of the corpus.

    Returns:
      Its summary, or None.
    """
    annotator = _rule(annotator) if isinstance(annotator, str) else annotator
    summary = _summary(annotator, index)
    return summary if is_finished(annotation_folder(index, annotator.name), summary) else None


def load_sidecar_info(annotator: str, corpus: str, *, data_dir: str | Path) -> dict[str, Any]:
    """Reads the summary of a sidecar and checks that it is what this version would write.

    Args:
      annotator: a name in `RULES`, or that of a fitted annotator or a model, whose sidecar is
        checked in all but its weights.
      corpus: name of a prepared corpus.
      data_dir: where `sersl prepare` wrote.

    Returns:
      The content of sidecar.json: "fingerprint", "num_utterances", "num_frames"...

    Raises:
      UserError: there is none, or it was made from other records or by another annotator.
    """
    index = load_index(data_dir, corpus)
    file = annotation_folder(index, annotator) / SUMMARY_FILE
    # Records of a bucket are copied when they are needed.
    there = file.is_file() and (bool(index.remote) or file.with_name(RECORDS_FILE).is_file())
    folder, after = local_folder(data_dir)
    if annotator not in RULES and not there:
        others = {*RULES, *names_beside(file.parent)}
        raise UserError(
            f"{unknown_name('annotator', annotator, others)}; a fitted one first "
            f"annotates the corpus: `sersl annotate --annotator FOLDER --corpus {corpus} "
            f"--data_dir {folder}`{after}"
        )
    name = annotator if annotator in RULES else "FOLDER"
    command = f"`sersl annotate --annotator {name} --corpus {corpus} --data_dir {folder}`"
    again = after or " again"
    if not there:
        raise UserError(
            f"no {annotator!r} sidecar for corpus {corpus!r} in {data_dir}: run {command}{after}"
        )
    summary = read_sidecar(
        file.parent,
        what=f"{annotator!r} sidecar of corpus {corpus!r}",
        remedy=f"run {command}{again}",
        remote=bool(index.remote),
    )
    expected = _of_corpus(annotator, index)
    if annotator in RULES:
        expected = _summary(RULES[annotator], index)
    for key, value in expected.items():
        if key not in summary or summary[key] != value:
            raise UserError(
                f"the {annotator!r} sidecar of corpus {corpus!r} in {data_dir} is out of date "
                f"({key} differs): run {command}{again}"
            )
    return summary


def annotator_fingerprint(annotator: Annotator) -> str:
    """Hashes all that an annotator's answers depend on, prosody included: 16 hex digits."""
    content = [annotator.name, annotator.identity(), PROSODY_VERSION, SIDECAR_SCHEMA]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _rule(name: str) -> Annotator:
    if name not in RULES:
        raise unknown_name("annotator", name, RULES)
    return RULES[name]


def _summary(annotator: Annotator, index: CorpusIndex) -> dict[str, Any]:
    """Gives the content of sidecar.json of a sidecar made now."""
    summary = {
        **_of_corpus(annotator.name, index),
        "fingerprint": annotator_fingerprint(annotator),
        "identity": annotator.identity(),
    }
    # A model that is trained on these intensities has learned from these labels.
    labels_of = annotator.labels_of(index)
    return summary | ({"labels_of": labels_of} if labels_of else {})


def _of_corpus(annotator: str, index: CorpusIndex) -> dict[str, Any]:
    """Gives the part of it that does not depend on the annotator's weights."""
    ids = "\n".join(index.column("utterance_id"))
    return {
        "schema": SIDECAR_SCHEMA,
        "annotator": annotator,
        "corpus_fingerprint": index.fingerprint,
        "num_utterances": len(index),
        "num_frames": int(num_frames(index.column("num_samples")).sum()),
        "prosody_names": list(PROSODY_NAMES),
        "prosody_version": PROSODY_VERSION,
        "utterance_ids_sha256": hashlib.sha256(ids.encode()).hexdigest(),
    }
