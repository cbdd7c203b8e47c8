"""`sersl prepare`: audio and labels to records, and a table of what came out."""

import collections
import sys
import time

from tqdm import tqdm

from sersl.cli.arguments import read_shard
from sersl.core.errors import UserError
from sersl.corpora.download import choose_parts, download
from sersl.corpora.prepare import Prepared, prepare
from sersl.corpora.utterance import short_reason
from sersl.corpora.writing.quality import QUALITY_PAGE, read_faults

_LISTED = 5  # files printed per reason; prepare.json lists all
_LINE_SECONDS = 10.0  # between progress lines where there is no terminal


def run(arguments) -> int:
    """Prepares one corpus and prints its table.

    Args:
      arguments: `corpus`, `audio_dir`, `manifest`, `name`, `format`, `columns`, `scale`,
        `data_dir`, `download`,
        `parts`, `overwrite`, `allow_unexpected_count`, `allow_outside_paths`, `processes`,
        `shard` and `beam_pipeline_options`.

    Returns:
      The exit code, 0.
    """
    shard = None if arguments.shard is None else read_shard(arguments.shard)
    if arguments.download:
        if shard is not None:
            raise UserError("--download is for one process: run it first, without --shard")
        _download(arguments)
    elif arguments.parts:
        raise UserError("--parts are of --download: leave them out, or add it")
    with _Progress() as progress:
        prepared = prepare(
            data_dir=arguments.data_dir,
            corpus=arguments.corpus or "",
            audio_dir=arguments.audio_dir or "",
            manifest=arguments.manifest or "",
            name=arguments.name or "",
            format=arguments.format or "",
            columns=arguments.columns or "",
            scale=arguments.scale or "",
            overwrite=arguments.overwrite,
            allow_unexpected_count=arguments.allow_unexpected_count,
            allow_outside_paths=arguments.allow_outside_paths,
            processes=arguments.processes,
            shard=shard,
            beam_options=arguments.beam_pipeline_options,
            progress=progress,
            join_progress=progress.of_join,
        )
    if prepared is None:
        print(f"shard {arguments.shard} is done; the last of the others to end writes the corpus")
    else:
        print(table(prepared))
    return 0


def _download(arguments) -> None:
    if arguments.manifest or not arguments.corpus:
        raise UserError("--download is for --corpus NAME: leave it out with a manifest")
    parts = choose_parts(arguments.corpus, arguments.parts or ())
    if not arguments.audio_dir:
        raise UserError("--download needs --audio_dir, the folder to unpack the corpus into")
    with _Progress() as progress:
        download(
            arguments.corpus, arguments.audio_dir, parts=tuple(parts), progress=progress.of_file
        )


def table(prepared: Prepared) -> str:
    """Writes the summary of a prepared corpus for people.

    Args:
      prepared: as `sersl.corpora.prepare.prepare` gives it.

    Returns:
      Lines of text.
    """
    summary = prepared.summary
    done = "was already prepared; nothing to do" if prepared.skipped_work else "is prepared"
    rows = [
        ("utterances", str(summary["num_utterances"])),
        _duration(summary["hours"]),
        ("speakers", str(summary["num_speakers"]) if summary["num_speakers"] else "not known"),
        ("categories", _counts(summary["categories"], "without")),
        ("genders", _counts(summary["genders"], "not known")),
        ("languages", _counts(summary["languages"], "not known")),
        ("folder", str(prepared.folder)),
        ("quality", str(prepared.folder / QUALITY_PAGE)),
        ("look at", ", ".join(f"{name} {n}" for name, n in read_faults(prepared.folder)) or "-"),
        ("fingerprint", summary["fingerprint"][:16]),
        ("licence", summary["licence"]),
    ]
    lines = [f"corpus {summary['corpus']} {summary['version']} {done}"]
    lines += [f"  {name:<12} {value}" for name, value in rows]
    lines += [f"  difference: {text}" for text in summary["differences"]]
    # Summaries of older versions have no notes.
    lines += [f"  note: {text}" for text in summary.get("notes", ())]
    lines += _files("skipped", summary["skipped"])
    lines += _files("left out", summary["left_out"])
    for key, text in (("silent", "silent (kept)"), ("short", "under 0.1 s (kept, not trained on)")):
        if summary[key]:
            lines.append(f"  {text}: {len(summary[key])}: {_some(summary[key])}")
    if summary["identical_audio"]:
        groups = [" = ".join(ids) for ids in summary["identical_audio"]]
        lines.append(f"  identical audio: {len(groups)} groups: {_some(groups)}")
    return "\n".join(lines)


def _duration(hours: float) -> tuple[str, str]:
    return ("hours", f"{hours:.2f}") if hours >= 0.1 else ("minutes", f"{60 * hours:.1f}")


def _counts(counts: dict[str, int], none: str) -> str:
    return ", ".join(f"{name or none} {count}" for name, count in counts.items())


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _files(what: str, items: list[dict]) -> list[str]:
    if not items:
        return []
    lines = [f"  {what}: {len(items)} files, all listed in prepare.json"]
    paths = collections.defaultdict(list)
    for item in items:
        paths[short_reason(item)].append(item["path"])
    for reason, files in sorted(paths.items(), key=lambda pair: -len(pair[1]))[:_LISTED]:
        lines.append(f"    {len(files)} x {reason}: {_some(files)}")
    return lines


class _Progress:
    """A bar on a terminal; elsewhere a line now and then. Both on standard error."""

    def __init__(self):
        self._bar = None
        self._last = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        self._show("prepare", done, total, unit="utterances")

    def of_join(self, done: int, total: int) -> None:
        """Shows how much is written of what several processes encoded."""
        self._show("write", done, total, unit="utterances")

    def of_file(self, name: str, done: int, total: int | None) -> None:
        """Shows how much of a file is there, in bytes."""
        self._show(name, done, total, unit="B")

    def _show(self, name: str, done: int, total: int | None, *, unit: str) -> None:
        if sys.stderr.isatty():
            if self._bar is not None and self._bar.desc.removesuffix(": ") != name:
                self._bar.close()
                self._bar = None
            if self._bar is None:
                self._bar = tqdm(total=total, unit=unit, unit_scale=unit == "B", desc=name)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._last >= _LINE_SECONDS or done == total:
            self._last = time.monotonic()
            of_all = "" if total is None else f" of {total}"
            print(f"{name}: {done}{of_all} {unit}", file=sys.stderr, flush=True)
