"""`sersl predict`: emotions of audio files as a table, CSV or JSONL."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sersl.cli.audio_files import find_audio, growing_file, progress
from sersl.core.errors import UserError, unknown_name
from sersl.release.predict.outputs import OK, UNREADABLE, Answer, Scores
from sersl.release.predict.predictor import Model, load

FORMATS = (".csv", ".jsonl")


def run(arguments) -> int:
    """Predicts files and folders, one row per file or window.

    Every file gives at least one row. Its status is "ok"; "silent" (peak below -80 dBFS: not
    scored, since a score would mean nothing); "too_short" (under 0.1 s); or "unreadable: cause".

    Args:
      arguments: `model`, `inputs`, `output` or None, `window`, `hop`, `frames`.

    Returns:
      The exit code, 0: at least one file was scored.

    Raises:
      UserError: no file could be scored, or wrong arguments.
    """
    suffix = Path(arguments.output).suffix.lower() if arguments.output else ""
    if arguments.output and suffix not in FORMATS:
        raise unknown_name("output format", suffix or arguments.output, FORMATS)
    if arguments.frames and suffix != ".jsonl":
        raise UserError("--frames makes many numbers per file: give --output FILE.jsonl")
    files = find_audio(arguments.inputs)
    model = load(arguments.model)
    counts: Counter[str] = Counter()
    example = ""
    answers = model.answers(
        files, window=arguments.window, hop=arguments.hop, frames=arguments.frames
    )
    with (
        _writer(arguments.output, suffix, model) as write,
        progress(len(files), unit="file") as bar,
    ):
        for answer in answers:
            kind = answer.status.partition(":")[0]
            counts[kind] += 1
            if kind != OK and not example:
                example = f"{answer.source}: {answer.status}"
            write(answer)
            bar.update()
    summary = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    print(f"{len(files)} files: {summary}", file=sys.stderr)
    if not counts[OK]:
        raise UserError(f"none of {len(files)} files could be scored ({example})")
    if arguments.output:
        print(f"written to {arguments.output}", file=sys.stderr)
    return 0


@contextmanager
def _writer(output: str | None, suffix: str, model: Model) -> Iterator[Callable[[Answer], None]]:
    if not output:
        yield _table(model)
        return
    with growing_file(output) as file:
        yield _csv(file, model) if suffix == ".csv" else _jsonl(file)


def _csv(file, model: Model) -> Callable[[Answer], None]:
    writer = csv.writer(file)
    scores = [f"score_{name}" for name in model.categories]
    writer.writerow(["file", "start", "end", "status", "category", *scores, *model.dimensions])

    def write(answer: Answer) -> None:
        for row in _rows(answer):
            if isinstance(row, Scores) and row.status == OK:
                values = [*row.category.values()], [*row.dimensions.values()]
            else:
                values = [""] * len(model.categories), [""] * len(model.dimensions)
            texts = [value if value == "" else f"{value:.6f}" for part in values for value in part]
            writer.writerow([*_head(answer, row), _best(row), *texts])
        file.flush()  # what is done survives an interruption

    return write


def _jsonl(file) -> Callable[[Answer], None]:
    def write(answer: Answer) -> None:
        for row in _rows(answer):
            name, start, end, status = _head(answer, row)
            record = {"file": name, "start": float(start), "end": float(end), "status": status}
            if isinstance(row, Scores) and row.status == OK:
                if row.category:
                    record["category"] = _best(row)
                    record["scores"] = {n: round(v, 6) for n, v in row.category.items()}
                record.update({n: round(v, 6) for n, v in row.dimensions.items()})
                if row.frames is not None:
                    record["frames"] = {
                        n: [round(float(v), 4) for v in values] for n, values in row.frames.items()
                    }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        file.flush()

    return write


def _table(model: Model) -> Callable[[Answer], None]:
    categories = ["category", "score"] if model.categories else []
    heads = ["start", "end", *categories, *model.dimensions]
    print(f"{'file':<40}" + "".join(f"{head:>11}" for head in heads))

    def write(answer: Answer) -> None:
        for row in _rows(answer):
            name, start, end, status = _head(answer, row)
            cells = [start, end]
            name = name if len(name) <= 38 else "…" + name[-37:]
            if status != OK:
                print(f"{name:<40}{start:>11}{end:>11}  {status}")
                continue
            if model.categories:
                best = _best(row)
                cells += [best, f"{row.category[best]:.3f}"]
            cells += [f"{value:.3f}" for value in row.dimensions.values()]
            print(f"{name:<40}" + "".join(f"{cell:>11}" for cell in cells), flush=True)

    return write


def _rows(answer: Answer) -> list[Scores | None]:
    return answer.rows or [None]


def _head(answer: Answer, row: Scores | None) -> tuple[str, str, str, str]:
    if row is None:
        end = 0.0 if answer.status.startswith(UNREADABLE) else answer.end
        return str(answer.source), "0.000", f"{end:.3f}", answer.status
    return str(answer.source), f"{row.start:.3f}", f"{row.end:.3f}", row.status


def _best(row: Scores | None) -> str:
    if row is None or not row.category:
        return ""
    return max(row.category, key=row.category.__getitem__)
