"""Prepares a corpus: writes `data_dir/<corpus>/<version>` from a folder, a manifest or nothing.

Encoding may be shared by threads, processes, hosts or Apache Beam. In the end one process writes
the corpus in the order of its listing, so that the files are always the same.
"""

import contextlib
import functools
import io
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from sersl.core.digests import write_digests
from sersl.core.errors import UserError, unknown_name
from sersl.core.files import write_json
from sersl.core.unfinished import swap_in
from sersl.corpora.catalog.archives import ARCHIVES
from sersl.corpora.catalog.registry import CORPORA
from sersl.corpora.index import (
    SUMMARY_FILE,
    SUMMARY_KEYS,
    check_prepared,
    read_summary,
)
from sersl.corpora.manifests.manifest import ManifestBuilder, corpus_name
from sersl.corpora.remote import refuse_remote
from sersl.corpora.writing import beam
from sersl.corpora.writing.account import summarize
from sersl.corpora.writing.builder import Builder, FolderBuilder
from sersl.corpora.writing.claim import (
    STAGING,
    alone,
    begin_work,
    describe_work,
    end_work,
    parts_folder,
    together,
)
from sersl.corpora.writing.encoding import encode_all
from sersl.corpora.writing.parts import (
    Parts,
    Progress,
    check_processes,
    check_shard,
    divide_evenly,
)
from sersl.corpora.writing.quality import write_quality


@dataclass(frozen=True)
class Prepared:
    """A corpus on disk.

    Attributes:
      folder: `data_dir/<corpus>/<version>`.
      summary: what `prepare.json` holds.
      skipped_work: True if it was finished before and nothing was written.
    """

    folder: Path
    summary: dict[str, Any]
    skipped_work: bool


def prepare(
    *,
    data_dir: str | Path,
    corpus: str = "",
    audio_dir: str | Path = "",
    manifest: str | Path = "",
    name: str = "",
    format: str = "",
    columns: str = "",
    scale: str = "",
    licence: str = "",
    overwrite: bool = False,
    allow_unexpected_count: bool = False,
    allow_outside_paths: bool = False,
    processes: int = 1,
    shard: tuple[int, int] | None = None,
    beam_options: str | None = None,
    progress: Progress | None = None,
    join_progress: Progress | None = None,
) -> Prepared | None:
    """Writes a corpus as ArrayRecord with its index and summary, all at once or not at all.

    Args:
      data_dir: folder to write into; made if missing.
      corpus: name of a known corpus; or give `manifest`.
      audio_dir: the corpus's folder as downloaded, for corpora that have one; with a manifest,
        the folder that its paths are in, "" for its own.
      manifest: file or folder in one of `sersl.corpora.manifests.formats.FORMATS`.
      name: of the manifest's corpus; "" takes the file's name.
      format: of the manifest; "" looks into it.
      columns: names of the manifest's columns, as "emotion=my_label,speaker=speaker_id".
      scale: of the manifest's ratings, as "arousal=1..5".
      licence: of the manifest's audio and labels, for reports and model cards; "": the one that the
        manifest states itself (audformat), or not stated.
      overwrite: prepare a finished corpus again; with `shard` only if the source has changed,
        because the last of several runs may find the corpus that the others have made.
      allow_unexpected_count: prepare a part of a corpus, or a copy of another size than published.
      allow_outside_paths: a manifest's relative paths may lead out of its folder, by "..".
      processes: that encode on this machine; 1: threads of this process.
      shard: (i, n): encode only parts i, i + n, i + 2 n..., so that n runs share the work, on any
        hosts that see the same folders; the one that ends last writes the corpus. Rerun an
        interrupted run to resume it.
      beam_options: of an Apache Beam pipeline that encodes, such as "runner=DirectRunner"; its
        workers must see the same folders.
      progress: called with (utterances encoded, utterances of this run).
      join_progress: of writing what several runs have encoded: (utterances written, all).

    Returns:
      The corpus, or None if other shards have parts to do. A finished corpus whose source is
      unchanged is not written again.

    Raises:
      UserError: unknown corpus, missing folder, a manifest that cannot be read, a source that
        changed since it was prepared, no usable utterance, another number of utterances than
        expected, another process that prepares it, or ways to share the work that do not fit.
    """
    _check_sharing(processes, shard, beam_options)
    refuse_remote(data_dir, "prepare")
    chosen = {"name": name, "format": format, "columns": columns, "scale": scale}
    chosen["licence"] = licence
    arguments = _arguments(corpus, audio_dir, manifest, chosen)
    options = None if beam_options is None else beam.parse_options(beam_options)
    builder_class = ManifestBuilder if manifest else CORPORA[corpus]

    def make(folder: Path) -> Builder:
        builder = builder_class(data_dir=folder, **arguments)
        builder.allow_unexpected_count = allow_unexpected_count
        builder.processes = processes
        builder.progress, builder.join_progress = progress, join_progress
        if isinstance(builder, ManifestBuilder):
            builder.allow_outside_paths = allow_outside_paths
        return builder

    # TFDS reads the folder of a builder when it is made; this one must not find a corpus there.
    builder = make(Path(data_dir) / STAGING)
    job = _Job(Path(data_dir), builder, overwrite=overwrite, shared=shard is not None)
    parts = None
    if shard is not None and job.finished() is None:
        parts = job.encode_share(shard)
        if parts is not None and parts.missing():
            return None
    with alone(job.data_dir, builder.name, wait=shard is not None) as staging:
        summary = job.finished()
        skipped_work = summary is not None
        if summary is None:
            builder = make(staging)
            builder.parts = job.parts_of_beam() if options is not None else parts
            _write(builder, options)
            given = {"corpus": corpus} | {k: os.fspath(v) for k, v in arguments.items()}
            summary = job.finish(builder, staging, given)
        end_work(job.data_dir, builder.name)
    return Prepared(job.final, summary, skipped_work)


class _Job:
    """One preparation of a corpus.

    Attributes:
      data_dir: to write into.
      final: folder of the finished corpus.
    """

    def __init__(self, data_dir: Path, builder: Builder, *, overwrite: bool, shared: bool):
        self.data_dir, self._builder = data_dir, builder
        self.final = data_dir / builder.name / str(builder.version)
        self._again = overwrite and not shared
        self._overwrite = overwrite

    @functools.cached_property
    def source(self) -> str:
        """Fingerprint of what is prepared."""
        return self._builder.source_fingerprint()

    def finished(self) -> dict[str, Any] | None:
        """Reads the summary of a finished corpus that was prepared from this source."""
        source = self.source  # before anything is written
        if self._again:
            return None
        return _read_finished(self.final, source, overwrite=self._overwrite)

    def encode_share(self, shard: tuple[int, int]) -> Parts | None:
        """Encodes the parts of one shard that are not there yet; None if others have finished."""
        work = self._work()
        with together(self.data_dir, self._builder.name, work):
            if self.finished() is not None:  # written while this one waited
                return None
            parts = self._parts(work)
            _encode_share(self._builder, parts, shard)
            return parts

    def parts_of_beam(self) -> Parts:
        """Makes the folder of parts for a pipeline of Beam."""
        work = self._work()
        begin_work(self.data_dir, self._builder.name, work)
        return self._parts(work)

    def finish(self, builder: Builder, staging: Path, given: dict[str, str]) -> dict[str, Any]:
        """Adds what TFDS does not write, and puts the corpus in its place."""
        written = staging / builder.name / str(builder.version)
        summary = summarize(builder, written, source=self.source, given=given)
        write_json(written / SUMMARY_FILE, summary)
        write_quality(written, builder.quality, summary)
        write_digests(written, known=builder.record_digests)
        self.final.parent.mkdir(parents=True, exist_ok=True)
        swap_in(written, self.final)  # readers see the old corpus or the new one
        return summary

    def _work(self) -> dict[str, Any]:
        builder = self._builder
        return describe_work(str(builder.version), self.source, builder.count())

    def _parts(self, work: Mapping[str, Any]) -> Parts:
        folder = parts_folder(self.data_dir, self._builder.name)
        return Parts(folder, divide_evenly(work["utterances"]))


def _check_sharing(processes: int, shard: tuple[int, int] | None, beam_options) -> None:
    check_processes(processes, "preparing")
    if shard is not None:
        check_shard(shard)
    if beam_options is not None and (shard is not None or processes > 1):
        raise UserError(
            "--beam_pipeline_options set how the work is shared: leave --shard and --processes out"
        )


def _read_finished(final: Path, source: str, *, overwrite: bool) -> dict[str, Any] | None:
    """Reads the summary of a finished corpus that was prepared from this source."""
    if not (final / SUMMARY_FILE).is_file():
        return None
    try:
        check_prepared(final, final.parents[1])
        summary = read_summary(final, required=SUMMARY_KEYS)
    except UserError:
        if overwrite:
            return None
        raise
    if summary["source_fingerprint"] == source:
        return summary
    if overwrite:
        return None
    raise UserError(
        f"the source of corpus {summary['corpus']!r} has changed since {final} was prepared: add "
        "--overwrite to `sersl prepare`, or use another folder"
    )


def _encode_share(builder: Builder, parts: Parts, shard: tuple[int, int]) -> None:
    """Encodes the parts of one shard that are not there yet."""
    share = parts.share(shard)
    wanted = frozenset(share.to_do)
    items = (item for row, item in enumerate(builder.listed()) if parts.part_of(row) in wanted)
    encoded = encode_all(builder.name, items, processes=builder.processes)
    # Closed here and not by the garbage collector, since it waits for its processes.
    with contextlib.closing(encoded):
        for part in share.to_do:
            own = itertools.islice(encoded, len(parts.rows[part]))
            packed = (one.to_bytes() for one in own)
            parts.write(part, share.counted(packed, builder.progress))


def _write(builder: Builder, options) -> None:
    """Lets TFDS write the corpus; it prints to standard output, which is for results."""
    tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(try_download_gcs=False, beam_options=options)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_config=config)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # as of a full disk
            error.filename = os.fspath(builder.data_path)
        raise


def _arguments(
    corpus: str, audio_dir: str | Path, manifest: str | Path, options: dict[str, str]
) -> dict[str, str | Path]:
    """Checks which arguments go together, and gives those of the builder."""
    if manifest:
        if corpus:
            raise UserError("--manifest names its files itself: leave --corpus out")
        chosen = corpus_name(Path(manifest), options["name"])
        if chosen in CORPORA:
            raise UserError(
                f"{chosen!r} is the name of a known corpus: give the manifest's corpus "
                "another with --name"
            )
        always = {"name", "format"}
        chosen_options = {k: v for k, v in options.items() if v or k in always}
        given: dict[str, str | Path] = {"manifest": manifest, **chosen_options}
        return given | ({"audio_dir": audio_dir} if audio_dir else {})
    if any(options.values()):
        raise UserError(
            "--name, --format, --columns, --scale and --licence are of a --manifest: leave them "
            "out with --corpus"
        )
    if not corpus:
        raise UserError(
            f"nothing to prepare: give --corpus ({', '.join(sorted(CORPORA))}) or --manifest FILE "
            "(your own list, or a folder of your own audio)"
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
