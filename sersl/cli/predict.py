"""`sersl predict`: emotions of audio files as a table, CSV or JSONL."""

import contextlib
import csv
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from sersl.cli.audio_files import find_audio, progress
from sersl.core.cells import to_cell
from sersl.core.display import json_line, one_line
from sersl.core.errors import UserError, unknown_name
from sersl.core.growing import growing_file
from sersl.release.predict.outputs import OK, UNREADABLE, Answer, Scores, source_name
from sersl.release.predict.predictor import Model, load

FORMATS = (".csv", ".jsonl")
Write = Callable[[Answer], None]


def run(arguments: Namespace) -> int:
    """Predicts files and folders, one row per file or window.

    Every file gives at least one row. Its status is "ok"; "silent" (peak below -80 dBFS, which is
    not scored); "too_short" (under 0.1 s); or "unreadable: cause".

    Args:
      arguments: `model`, `inputs`, `output` or None, `window`, `hop`, `frames`, `no_verify`.

    Returns:
      The exit code, 0: at least one file was scored.

    Raises:
      UserError: no file could be scored, the output cannot be written, or wrong arguments.
    """
    suffix = Path(arguments.output).suffix.lower() if arguments.output else ""
    if arguments.output and suffix not in FORMATS:
        raise unknown_name("output format", suffix or arguments.output, FORMATS)
    if arguments.frames and suffix != ".jsonl":
        raise UserError("--frames makes many numbers per file: give --output FILE.jsonl")
    files = find_audio(arguments.inputs)
    counts: Counter[str] = Counter()
    example = ""
    with _opened(arguments.output) as file:
        # Opened first: what cannot be written is found before the work.
        model = load(arguments.model, verify_weights=not getattr(arguments, "no_verify", False))
        answers = model.answers(
            files, window=arguments.window, hop=arguments.hop, frames=arguments.frames
        )
        write = _writer(file, suffix, model)
        with progress(len(files), unit="file") as bar:
            for answer in answers:
                kind = answer.status.partition(":")[0]
                counts[kind] += 1
                if kind != OK and not example:
                    example = f"{source_name(answer.source)}: {answer.status}"
                write(answer)
                bar.update()
    summary = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    print(f"{len(files)} files: {summary}", file=sys.stderr)
    if not counts[OK]:
        raise UserError(f"none of {len(files)} files could be scored ({example})")
    if arguments.output:
        print(f"written to {one_line(arguments.output)}", file=sys.stderr)
    return 0


@contextlib.contextmanager
def _opened(output: str | None) -> Iterator[TextIO | None]:
    if output:
        with growing_file(output) as file:
            yield file
    else:
        yield None


def _writer(file: TextIO | None, suffix: str, model: Model) -> Write:
    if file is None:
        return _table(model)
    return _csv(file, model) if suffix == ".csv" else _jsonl(file)


def _csv(file: TextIO, model: Model) -> Write:
    writer = csv.writer(file)
    scores = [f"score_{name}" for name in model.categories]
    header = ["file", "start", "end", "status", "category", *scores]
    header += [*model.dimensions, *model.uncertainty]
    writer.writerow([to_cell(name) for name in header])

    def write(answer: Answer) -> None:
        for row in _rows(answer):
            name, start, end, status = _head(answer, row)
            values = [""] * (len(header) - 5)
            if row is not None and row.status == OK:
                numbers = [*row.category.values(), *row.dimensions.values()]
                numbers += row.uncertainty.values()
                values = [f"{value:.6f}" for value in numbers]
            texts = [to_cell(text) for text in (one_line(name), start, end, status, _best(row))]
            writer.writerow([*texts, *values])
        file.flush()  # what is done survives an interruption

    return write


def _jsonl(file: TextIO) -> Write:
    def write(answer: Answer) -> None:
        for row in _rows(answer):
            name, start, end, status = _head(answer, row)
            record: dict[str, Any] = {
                "file": name,
                "start": float(start),
                "end": float(end),
                "status": status,
            }
            if row is not None and row.status == OK:
                if row.category:
                    record["category"] = row.applies if row.thresholds else row.best
                    record["scores"] = {n: round(v, 6) for n, v in row.category.items()}
                record.update({n: round(v, 6) for n, v in row.dimensions.items()})
                record.update({n: round(v, 6) for n, v in row.uncertainty.items()})
                if row.frames is not None:
                    record["frames"] = {
                        n: [round(float(v), 4) for v in values] for n, values in row.frames.items()
                    }
            file.write(json_line(record) + "\n")
        file.flush()

    return write


def _table(model: Model) -> Write:
    categories = ["category", "score"] if model.categories else []
    heads = ["start", "end", *categories, *map(one_line, model.dimensions)]
    print(f"{'file':<40}" + "".join(f"{head:>11}" for head in heads))

    def write(answer: Answer) -> None:
        for row in _rows(answer):
            name, start, end, status = map(one_line, _head(answer, row))
            cells = [start, end]
            name = name if len(name) <= 38 else "…" + name[-37:]
            if row is None or status != OK:
                print(f"{name:<40}{start:>11}{end:>11}  {status}")
                continue
            if model.categories:
                cells += [one_line(row.best), f"{max(row.category.values()):.3f}"]
            cells += [f"{value:.3f}" for value in row.dimensions.values()]
            print(f"{name:<40}" + "".join(f" {cell:>10}" for cell in cells), flush=True)

    return write


def _rows(answer: Answer) -> list[Scores | None]:
    return [*answer.rows] or [None]


def _head(answer: Answer, row: Scores | None) -> tuple[str, str, str, str]:
    """Gives name, start, end and status of a row."""
    name = str(answer.source)
    if row is None:
        end = 0.0 if answer.status.startswith(UNREADABLE) else answer.end
        return name, "0.000", f"{end:.3f}", answer.status
    return name, f"{row.start:.3f}", f"{row.end:.3f}", row.status


def _best(row: Scores | None) -> str:
    return "" if row is None else row.best
