"""`sersl prepare`: turns audio and labels into records, and prints a summary."""

import collections
import functools
from typing import Any

from sersl.cli.console.progress import Progress
from sersl.core.display import first_few, one_line
from sersl.core.errors import UserError
from sersl.core.share import read_share
from sersl.corpora.download import choose_parts, download
from sersl.corpora.prepare import Prepared, prepare
from sersl.corpora.utterance import short_reason
from sersl.corpora.writing.quality import QUALITY_PAGE, read_faults

_LISTED = 5  # files printed per reason; prepare.json lists all


def run(arguments) -> int:
    """Prepares one corpus and prints its table.

    Args:
      arguments: `corpus`, `audio_dir`, `manifest`, `name`, `format`, `columns`, `scale`,
        `licence`, `data_dir`, `download`, `parts`, `overwrite`, `allow_unexpected_count`,
        `allow_outside_paths`, `processes`, `shard` and `beam_pipeline_options`.

    Returns:
      The exit code, 0.
    """
    shard = None if arguments.shard is None else read_share(arguments.shard, option="--shard")
    if arguments.download:
        if shard is not None:
            raise UserError("--download is for one process: run it first, without --shard")
        _download(arguments)
    elif arguments.parts:
        raise UserError("--parts are of --download: leave them out, or add it")
    with Progress("prepare") as progress:
        prepared = prepare(
            data_dir=arguments.data_dir,
            corpus=arguments.corpus or "",
            audio_dir=arguments.audio_dir or "",
            manifest=arguments.manifest or "",
            name=arguments.name or "",
            format=arguments.format or "",
            columns=arguments.columns or "",
            scale=arguments.scale or "",
            licence=arguments.licence or "",
            overwrite=arguments.overwrite,
            allow_unexpected_count=arguments.allow_unexpected_count,
            allow_outside_paths=arguments.allow_outside_paths,
            processes=arguments.processes,
            shard=shard,
            beam_options=arguments.beam_pipeline_options,
            progress=progress,
            join_progress=functools.partial(progress.show, "write"),
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
    with Progress("download") as progress:
        show = functools.partial(progress.show, unit="B")
        download(arguments.corpus, arguments.audio_dir, parts=tuple(parts), progress=show)


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
        ("licence", summary["licence"] or "not stated"),
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
            lines.append(f"  {text}: {len(summary[key])}: {first_few(summary[key], _LISTED)}")
    if summary["identical_audio"]:
        groups = [" = ".join(ids) for ids in summary["identical_audio"]]
        lines.append(f"  identical audio: {len(groups)} groups: {first_few(groups, _LISTED)}")
    return "\n".join(map(one_line, lines))  # names of speakers and files are from outside


def _duration(hours: float) -> tuple[str, str]:
    return ("hours", f"{hours:.2f}") if hours >= 0.1 else ("minutes", f"{60 * hours:.1f}")


def _counts(counts: dict[str, int], none: str) -> str:
    return ", ".join(f"{name or none} {count}" for name, count in counts.items())


def _files(what: str, items: list[dict[str, Any]]) -> list[str]:
    if not items:
        return []
    lines = [f"  {what}: {len(items)} files, all listed in prepare.json"]
    paths = collections.defaultdict(list)
    for item in items:
        paths[short_reason(item)].append(item["path"])
    reasons = sorted(paths.items(), key=lambda pair: -len(pair[1]))
    for reason, files in reasons[:_LISTED]:
        lines.append(f"    {len(files)} x {reason}: {first_few(files, _LISTED)}")
    others = [file for _, files in reasons[_LISTED:] for file in files]
    if others:
        lines.append(f"    {len(others)} x other reasons: {first_few(others, _LISTED)}")
    return lines
