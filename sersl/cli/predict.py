"""`sersl predict`: emotions of audio files as a table, CSV, JSONL or Parquet."""

import contextlib
import hashlib
import json
import os
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sersl
from sersl.cli.console.audio_files import (
    STDIN,
    Inputs,
    find_audio,
    of_share,
    progress,
    share_of_output,
)
from sersl.cli.console.dialogue_list import DialogueList, read_dialogue_list
from sersl.cli.console.model_arguments import tables_of
from sersl.core.display import one_line
from sersl.core.errors import UserError, unknown_name
from sersl.core.growing import Convert, GrowingFile, growing_file
from sersl.core.share import read_share
from sersl.corpora.remote import cache_folder, is_remote
from sersl.corpora.remote_files import store
from sersl.release.predict.answer_tables import FORMATS, Columns, rows_of, writer_of
from sersl.release.predict.outputs import OK, SCORED, Answer, source_name
from sersl.release.predict.precision import check_precision
from sersl.release.predict.turns import turns_of
from sersl.release.predict.windows import Cutting


def run(arguments: Namespace) -> int:
    """Predicts files and folders, one row per file, window, stretch of speech or turn.

    Every file gives at least one row. Its status is "ok"; "no_speech" (scored, though no speech was
    found); "silent" (peak below -80 dBFS, which is not scored); "too_short" (under 0.1 s);
    "no_turns" (not in the RTTM file); or "unreadable". Rows without scores have an error.

    Args:
      arguments: `model`, `inputs`, `list`, `dialogues`, `output` or None, `shard`, `window`, `hop`,
        `speech`, `rttm`, `frames`, `table`, `precision`, `no_average`,
        `no_verify`.

    Returns:
      The exit code, 0: at least one file was scored.

    Raises:
      UserError: no file could be scored, files of a list are missing, the output cannot be written,
        or wrong arguments.
    """
    suffix = Path(arguments.output).suffix.lower() if arguments.output else ""
    if arguments.output and suffix not in FORMATS:
        raise unknown_name("output format", suffix or arguments.output, FORMATS)
    if arguments.frames and suffix != ".jsonl":
        raise UserError("--frames makes many numbers per file: give --output FILE.jsonl")
    check_precision(arguments.precision)
    cutting = Cutting(window=arguments.window, hop=arguments.hop, speech=arguments.speech)
    if arguments.rttm and not cutting.whole:
        raise UserError("--rttm goes with neither --window nor --speech: give one of them")
    if arguments.dialogues is not None:
        return _dialogues(arguments, suffix)
    share = None if arguments.shard is None else read_share(arguments.shard, option="--shard")
    found = of_share(find_audio(arguments.inputs, arguments.list), share)
    turns = turns_of(found.sources, arguments.rttm) if arguments.rttm else None
    output = share_of_output(arguments.output, share) if arguments.output else None
    columns: list[Columns] = []  # known once the model is

    def convert(part: Path, target: Path) -> None:
        columns[0].to_parquet(part, target)

    tables = tables_of(arguments.table)
    counts: Counter[str] = Counter()
    resumable = STDIN not in found.names
    with opened(
        output, resumable=resumable, convert=convert if suffix == ".parquet" else None
    ) as file:
        # Opened first: what cannot be written is found before the work.
        model = sersl.load(
            arguments.model,
            verify_weights=not arguments.no_verify,
            precision=arguments.precision,
            average=not arguments.no_average,
            needs_heads=True,
            tables=tables,
        )
        if file is not None and resumable:
            versions = [_version(path) for path in tables.values()]
            file.resume(digest(arguments, found, model.about, turns, versions))
        done = 0 if file is None else file.done
        columns.append(
            Columns(
                model.categories,
                model.dimensions,
                uncertainty=model.uncertainty,
                speakers=turns is not None,
            )
        )
        answers = model.answers(
            found.sources[done:],
            window=arguments.window,
            hop=arguments.hop,
            speech=arguments.speech,
            turns=None if turns is None else turns[done:],
            frames=arguments.frames,
            embedding=False,
        )
        write = _table(model) if file is None else _writer(file, columns[0], suffix)
        example = _write(answers, write, counts, file=file, total=len(found.sources), done=done)
    _report(found, counts, example, output=output, done=done)
    return 0


def _dialogues(arguments: Namespace, suffix: str) -> int:
    """Predicts the turns of a list of dialogues, one row per turn in the order of the list."""
    given = read_dialogue_list(arguments)
    for note in given.dialogues.notes:
        print(note, file=sys.stderr)
    model = sersl.load(
        arguments.model,
        verify_weights=not arguments.no_verify,
        precision=arguments.precision,
        needs_heads=True,
    )
    columns = Columns(
        model.categories, model.dimensions, uncertainty=model.uncertainty, speakers=True
    )

    def convert(part: Path, target: Path) -> None:
        columns.to_parquet(part, target)

    inputs = Inputs()
    inputs.sources.extend(given.paths)
    counts: Counter[str] = Counter()
    with opened(
        arguments.output, resumable=False, convert=convert if suffix == ".parquet" else None
    ) as file:
        # Opened first: what cannot be written is found before the work.
        write = _table(model) if file is None else _writer(file, columns, suffix)
        answers = _dialogue_answers(model, given)
        example = _write(iter(answers), write, counts, file=file, total=len(answers), done=0)
    _report(inputs, counts, example, output=arguments.output, done=0)
    return 0


def _dialogue_answers(model: Any, given: DialogueList) -> list[Answer]:
    """Answers every turn, in the order of the list."""
    answers: dict[int, Answer] = {}
    with progress(len(given.dialogues.rows), unit="dialogue") as bar:
        for rows in given.dialogues.rows:
            turns = rows.tolist()
            found = model.dialogue_answers(
                [given.paths[row] for row in turns], [given.speakers[row] for row in turns]
            )
            answers |= dict(zip(turns, found, strict=True))
            bar.update()
    return [answers[row] for row in range(len(given.paths))]


@contextlib.contextmanager
def opened(
    output: str | None,
    *,
    resumable: bool,
    convert: Convert | None = None,
    folder: bool = False,
) -> Iterator[GrowingFile | None]:
    """Opens the output of a verb, which may be in a bucket.

    Args:
      output: path, URL, or None.
      resumable: see `growing_file`.
      convert: see `growing_file`.
      folder: see `growing_file`.

    Yields:
      The file; None without an output. That of a bucket grows in the cache of this machine, and is
      copied there when it is complete.
    """
    if output is None:
        yield None
        return
    path = Path(output)
    if is_remote(output):
        name = f"{hashlib.sha256(output.encode()).hexdigest()[:16]}-{output.rsplit('/', 1)[-1]}"
        path = cache_folder() / "outputs" / name
    with growing_file(path, resumable=resumable, convert=convert, folder=folder) as file:
        yield file
    if is_remote(output):
        store(path, output)
        path.unlink()


def digest(arguments: Namespace, found: Inputs, about: Mapping[str, Any], *more: object) -> str:
    """Hashes what an output follows from.

    Args:
      arguments: of the verb.
      found: the audio; of local files also size and time of the last change count.
      about: the description of the model that was loaded, with the checksum of its weights. A name
        on a hub may stand for another model tomorrow.
      *more: anything with a `str`.
    """
    unrelated = ("model", "inputs", "list", "output", "shard", "no_verify", "verb", "overrides")
    settings = {n: str(v) for n, v in sorted(vars(arguments).items()) if n not in unrelated}
    audio = [[os.fsencode(name).hex(), *_version(name)] for name in found.names]
    content = json.dumps([about, audio, settings, str(more)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _version(name: str) -> tuple[int, ...]:
    """Gives size and time of the last change of a file; () of what is none here."""
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return ()
    return status.st_size, status.st_mtime_ns


def _write(
    answers: Iterator[Answer],
    write: Callable[[Answer], None],
    counts: Counter[str],
    *,
    file: GrowingFile | None,
    total: int,
    done: int,
) -> str:
    """Writes all answers and counts their statuses; returns an example of one without scores."""
    example = ""
    with progress(total, unit="file", initial=done) as bar:
        for number, answer in enumerate(answers, start=done + 1):
            counts[answer.status] += 1
            if not answer.scored and not example:
                example = f"{source_name(answer.source)}: {answer.status}: {answer.problem}"
            write(answer)
            if file is not None:
                file.commit(number)
            bar.update()
    return example


def _report(
    found: Inputs, counts: Counter[str], example: str, *, output: str | None, done: int
) -> None:
    summary = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    resumed = f"{done} done before, " if done else ""
    print(f"{len(found.sources)} files: {resumed}{summary}", file=sys.stderr)
    for note in found.notes:
        print(note, file=sys.stderr)
    if output:
        print(f"written to {one_line(output)}", file=sys.stderr)
    if not done and not any(counts[status] for status in SCORED):
        raise UserError(f"none of {len(found.sources)} files could be scored ({example})")
    if counts["no_speech"] and not counts[OK] and not done:
        print(
            "no speech was found in any file: the scores mean nothing for music or noise",
            file=sys.stderr,
        )
    if found.missing:
        raise UserError(
            f"{len(found.missing)} of {len(found.sources)} files do not exist (the first: "
            f"{one_line(found.missing[0])}): their rows have an error, the others are complete; "
            "correct the list"
        )


def _writer(file: GrowingFile, columns: Columns, suffix: str) -> Callable[[Answer], None]:
    text = writer_of(columns, suffix)
    if suffix == ".csv" and not file.done:
        file.write(columns.header())

    return lambda answer: file.write(text(answer))


def _table(model: Any) -> Callable[[Answer], None]:
    categories = ["category", "score"] if model.categories else []
    heads = ["start", "end", *categories, *map(one_line, model.dimensions)]
    header = [f"{'file':<40}" + "".join(f"{head:>11}" for head in heads)]

    def write(answer: Answer) -> None:
        while header:  # once, and not where the model cannot answer
            print(header.pop())
        columns = Columns(model.categories, model.dimensions)
        for row in rows_of(answer):
            name, start, end, status = map(one_line, columns.head(answer, row))
            cells = [start, end]
            name = name if len(name) <= 38 else "…" + name[-37:]
            if row is None or status not in SCORED:
                cause = f": {one_line(answer.error)}" if answer.error else ""
                print(f"{name:<40}{start:>11}{end:>11}  {status}{cause}")
                continue
            if model.categories:
                cells += [one_line(row.best), f"{max(row.category.values()):.3f}"]
            cells += [f"{value:.3f}" for value in row.dimensions.values()]
            flag = "" if status == OK else f"  {status}"
            speaker = f"  {one_line(row.speaker)}" if row.speaker else ""
            line = f"{name:<40}" + "".join(f" {cell:>10}" for cell in cells)
            print(f"{line}{flag}{speaker}", flush=True)

    return write
