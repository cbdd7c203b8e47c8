"""Prepares a corpus: from a folder, a manifest or nothing to `data_dir/<corpus>/<version>`."""

import collections
import contextlib
import dataclasses
import fcntl
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tensorflow_datasets as tfds

from sersl.core.errors import UserError, unknown_name
from sersl.corpora.archives import ARCHIVES
from sersl.corpora.builder import Builder, FolderBuilder
from sersl.corpora.index import SUMMARY_FILE, CorpusIndex, read_summary
from sersl.corpora.manifest import ManifestBuilder, corpus_name
from sersl.corpora.quality import write_quality
from sersl.corpora.registry import CORPORA
from sersl.corpora.remote import refuse_remote


@dataclass(frozen=True)
class Prepared:
    """A corpus on disk.

    Attributes:
      folder: `data_dir/<corpus>/<version>`.
      summary: what `prepare.json` holds.
      skipped_work: True where it was finished before and nothing was written.
    """

    folder: Path
    summary: dict
    skipped_work: bool


def prepare(
    *,
    data_dir: str | Path,
    corpus: str = "",
    audio_dir: str | Path = "",
    manifest: str | Path = "",
    name: str = "",
    format: str = "",
    overwrite: bool = False,
    allow_unexpected_count: bool = False,
    allow_outside_paths: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Writes a corpus as ArrayRecord with its index and summary, all at once or not at all.

    Args:
      data_dir: folder to write into; made if missing.
      corpus: name of a known corpus; or give `manifest`.
      audio_dir: the corpus's folder as downloaded, for corpora that have one; with a manifest,
        the folder that its paths are in, "" for its own.
      manifest: file or folder in one of `sersl.corpora.formats.FORMATS`.
      name: of the manifest's corpus; "" takes the file's name.
      format: of the manifest; "" looks into it.
      overwrite: prepare again what is finished.
      allow_unexpected_count: prepare a part of a corpus, or a copy of another size than published.
      allow_outside_paths: a manifest's relative paths may lead out of its folder, by "..".
      progress: called with (utterances done, utterances in all).

    Returns:
      Where it is and what is in it. A finished corpus whose source is unchanged is left alone.

    Raises:
      UserError: unknown corpus, missing folder, a manifest that cannot be read, a source that
        changed since it was prepared, no usable utterance, another number of utterances than
        expected, or another process at work on it.
    """
    refuse_remote(data_dir, "prepare")
    data_dir = Path(data_dir)
    arguments = _arguments(corpus, audio_dir, manifest, name, format)
    builder_class = ManifestBuilder if manifest else CORPORA[corpus]
    # TFDS looks at its folder when a builder is made: one that is not there is asked for paths.
    builder = builder_class(data_dir=data_dir / _STAGING, **arguments)
    final = data_dir / builder.name / str(builder.version)
    with _alone(data_dir, builder.name) as staging:
        source = builder.source_fingerprint()
        if not overwrite and (final / SUMMARY_FILE).is_file():
            summary = read_summary(final)
            if summary["source_fingerprint"] != source:
                raise UserError(
                    f"the source of corpus {builder.name!r} has changed since {final} was "
                    "prepared: add --overwrite to `sersl prepare`, or use another folder"
                )
            return Prepared(final, summary, True)
        builder = builder_class(data_dir=staging, **arguments)
        builder.progress = progress
        builder.allow_unexpected_count = allow_unexpected_count
        if isinstance(builder, ManifestBuilder):
            builder.allow_outside_paths = allow_outside_paths
        # TFDS prints to standard output, which is for results.
        tfds.disable_progress_bar()
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(try_download_gcs=False)
            )
        written = staging / builder.name / str(builder.version)
        given = {"corpus": corpus} | {k: os.fspath(v) for k, v in arguments.items()}
        summary = _account(builder, source) | {"source": given} | _contents(builder, written)
        (written / SUMMARY_FILE).write_text(
            json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        write_quality(written, builder.quality, summary)
        _move(written, final, staging)
    return Prepared(final, summary, False)


_STAGING = ".preparing"


def _arguments(corpus: str, audio_dir, manifest, name: str, format: str) -> dict:
    """Checks which arguments go together, and gives those of the builder."""
    if manifest:
        if corpus:
            raise UserError("--manifest names its files itself: leave --corpus out")
        chosen = corpus_name(Path(manifest), name)
        if chosen in CORPORA:
            raise UserError(
                f"{chosen!r} is the name of a known corpus: give the manifest's corpus "
                "another with --name"
            )
        given = {"manifest": manifest, "name": name, "format": format}
        return given | ({"audio_dir": audio_dir} if audio_dir else {})
    if name or format:
        raise UserError("--name and --format are of a --manifest: leave them out with --corpus")
    if not corpus:
        raise UserError(
            f"nothing to prepare: give --corpus ({', '.join(sorted(CORPORA))}) or --manifest FILE"
        )
    if corpus not in CORPORA:
        raise unknown_name("corpus", corpus, CORPORA)
    if not issubclass(CORPORA[corpus], FolderBuilder):
        if audio_dir:
            raise UserError(f"corpus {corpus!r} has no folder: leave --audio_dir out")
        return {}
    if not audio_dir:
        about = CORPORA[corpus].about
        how = about.how_to_get or f"get it from {about.homepage}"
        if corpus in ARCHIVES:
            how += ", or add --download, with --audio_dir for the folder to unpack it into"
        raise UserError(
            f"corpus {corpus!r} needs --audio_dir, a folder with {about.folder}; {how} "
            f"({about.licence})"
        )
    return {"audio_dir": audio_dir}


@contextlib.contextmanager
def _alone(data_dir: Path, corpus: str) -> Iterator[Path]:
    """Gives a folder to write into, to one process at a time; what a killed one left is removed."""
    folder = data_dir / _STAGING
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / f"{corpus}.lock").open("w")
    except OSError as error:
        raise UserError(
            f"data_dir {data_dir} cannot be written: {error.strerror or error}; give another "
            "--data_dir"
        ) from error
    # The lock is freed by the system when the process ends, however it ends.
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another process is preparing {corpus!r} in {data_dir}: wait until it is done"
            ) from error
        staging = folder / corpus
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _account(builder: Builder, source: str) -> dict:
    account, about = builder.account, builder.about
    expected, differences = builder.expected_utterances(), []
    if expected not in (None, account.num_utterances):
        differences.append(
            f"{account.num_utterances} utterances, the published corpus has {expected}"
        )
    return {
        "schema": 1,
        "corpus": builder.name,
        "version": str(builder.version),
        "fingerprint": account.fingerprint,
        "source_fingerprint": source,
        "num_utterances": account.num_utterances,
        "expected_utterances": expected,
        "differences": differences,
        "skipped": [dataclasses.asdict(item) for item in account.skipped],
        "left_out": [dataclasses.asdict(item) for item in account.left_out],
        "silent": account.silent,
        "short": account.short,
        "licence": about.licence,
        "citation": about.citation,
        "homepage": about.homepage,
    }


def _contents(builder: Builder, folder: Path) -> dict:
    """Counts what the index of a freshly written corpus holds."""
    account = builder.account
    index = CorpusIndex(
        corpus=builder.name,
        version=str(builder.version),
        folder=folder,
        fingerprint=account.fingerprint,
        num_utterances=account.num_utterances,
    )
    by_audio = collections.defaultdict(list)
    for utterance_id, sha256 in zip(
        index.column("utterance_id").tolist(), index.column("sha256").tolist(), strict=True
    ):
        by_audio[sha256].append(utterance_id)
    speakers = set(index.column("speaker").tolist()) - {""}
    return {
        "hours": round(float(index.column("duration").sum()) / 3600, 6),
        "num_speakers": len(speakers),
        "categories": _count(index.column("category")),
        "genders": _count(index.column("gender")),
        "languages": _count(index.column("language")),
        "identical_audio": [ids for ids in by_audio.values() if len(ids) > 1],
    }


def _count(values) -> dict[str, int]:
    counts = collections.Counter(values.tolist())
    return {value: counts[value] for value in sorted(counts)}


def _move(written: Path, final: Path, staging: Path) -> None:
    """Puts a finished corpus in its place; readers see the old one or the new one."""
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():
        os.rename(final, staging / "old")
    os.rename(written, final)
