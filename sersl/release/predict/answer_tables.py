"""Answers as rows of CSV, JSONL and Parquet files."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from sersl.core.cells import to_cell
from sersl.core.display import json_line, one_line
from sersl.core.files import parse_json
from sersl.release.predict.outputs import SCORED, UNREADABLE, Answer, Scores, file_name

FORMATS = (".csv", ".jsonl", ".parquet")
_ROW_GROUP = 50_000  # rows of Parquet in memory


class Columns:
    """The columns of a table of answers: the same names in every format."""

    def __init__(
        self,
        categories: Sequence[str],
        dimensions: Sequence[str],
        *,
        uncertainty: Sequence[str] = (),
        speakers: bool = False,
    ):
        """Takes the names of the model; `speakers`: the rows are turns."""
        self._uncertainty = tuple(uncertainty)
        self._categories, self._dimensions = tuple(categories), tuple(dimensions)
        self.texts = ("file", "start", "end", *(("speaker",) if speakers else ()), "status")
        self._has_speakers = speakers

    @property
    def names(self) -> list[str]:
        """Names of all columns."""
        scores = [f"score_{name}" for name in self._categories]
        return [*self.texts, "category", *scores, *self._dimensions, *self._uncertainty, "error"]

    def header(self) -> str:
        """Writes the first line of a CSV file."""
        return _csv_line([to_cell(name) for name in self.names])

    def csv(self, answer: Answer) -> str:
        """Writes the lines of a CSV file."""
        lines = []
        for row in rows_of(answer):
            texts = [to_cell(one_line(text)) for text in [*self.head(answer, row), best_of(row)]]
            values = [""] * (len(self.names) - len(texts) - 1)
            if row is not None and row.status in SCORED:
                numbers = [*row.category.values(), *row.dimensions.values()]
                numbers += row.uncertainty.values()
                values = [f"{value:.6f}" for value in numbers]
            error = "" if row is not None else to_cell(one_line(answer.problem))
            lines.append(_csv_line([*texts, *values, error]))
        return "".join(lines)

    def jsonl(self, answer: Answer) -> str:
        """Writes the lines of a JSONL file: "category", "scores" by name, dimensions by name."""
        lines = []
        for row in rows_of(answer):
            record: dict[str, Any] = dict(zip(self.texts, self.head(answer, row), strict=True))
            record["start"], record["end"] = float(record["start"]), float(record["end"])
            if row is None:
                record["error"] = answer.problem
            elif row.status in SCORED:
                if row.category:
                    record["category"] = row.named
                    record["scores"] = {n: round(v, 6) for n, v in row.category.items()}
                numbers = row.dimensions | row.uncertainty
                record.update({n: round(v, 6) for n, v in numbers.items()})
                if row.frames is not None:
                    record["frames"] = {
                        n: [round(float(v), 4) for v in values] for n, values in row.frames.items()
                    }
            lines.append(json_line(record) + "\n")
        return "".join(lines)

    def head(self, answer: Answer, row: Scores | None) -> list[str]:
        """Gives the texts of a row: name, start, end, speaker of turns, status."""
        name = file_name(answer.source)
        if row is None:
            end = 0.0 if answer.status == UNREADABLE else answer.end
            times, speaker, status = ["0.000", f"{end:.3f}"], "", answer.status
        else:
            times = [f"{row.start:.3f}", f"{row.end:.3f}"]
            speaker, status = row.speaker, row.status
        return [name, *times, *([speaker] if self._has_speakers else []), status]

    def to_parquet(self, part: Path, target: Path) -> None:
        """Converts a JSONL file to Parquet, some rows at a time."""
        texts = {name for name in self.texts if name not in ("start", "end")}
        schema = pyarrow.schema(
            [
                (name, pyarrow.string() if name in texts | {"category", "error"} else _NUMBER)
                for name in self.names
            ]
        )
        with (
            open(part, encoding="utf-8") as lines,
            pyarrow.parquet.ParquetWriter(target, schema) as writer,
        ):
            rows: list[dict[str, Any]] = []
            for line in lines:
                rows.append(self._flat(parse_json(line)))
                if len(rows) == _ROW_GROUP:
                    writer.write_table(pyarrow.Table.from_pylist(rows, schema))
                    rows = []
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))

    def _flat(self, record: dict[str, Any]) -> dict[str, Any]:
        scores = {f"score_{name}": value for name, value in record.pop("scores", {}).items()}
        flat = record | scores
        if isinstance(flat.get("category"), list):
            flat["category"] = ";".join(flat["category"])
        # Half of a surrogate pair, of a name that is not UTF-8, has no place in Parquet.
        flat["file"] = flat["file"].encode("utf-8", "backslashreplace").decode()
        return flat


_NUMBER = pyarrow.float64()


def rows_of(answer: Answer) -> Sequence[Scores | None]:
    """Gives the rows of an answer; None is an answer without scores."""
    return answer.rows or [None]


def best_of(row: Scores | None) -> str:
    """Names the most probable category of a row; "" without scores."""
    return "" if row is None else row.best


def writer_of(columns: Columns, suffix: str) -> Callable[[Answer], str]:
    """Gives the function that writes an answer in the format of a file's ending."""
    return columns.csv if suffix == ".csv" else columns.jsonl


def _csv_line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()
