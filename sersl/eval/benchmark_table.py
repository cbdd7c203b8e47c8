"""The table of `sersl benchmark`: one row for each model and corpus, beside published scores."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from sersl.core.display import one_line
from sersl.core.files import whole_file
from sersl.eval import page
from sersl.eval.published_scores import has_published, published_scores

HEADER = (
    "corpus",
    "model",
    "folds",
    "UAR (UA)",
    "95 % interval",
    "accuracy (WA)",
    "macro F1",
    "seeds",
    "parameters (M)",
    "seconds",
    "note",
)
NONE = "-"
EMOBOX = "EmoBox"
_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Benchmark of frozen encoders</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<header><h1>Benchmark of frozen encoders</h1><p>{{ subtitle }}</p></header>
{% for corpus, rows in sections %}
<section>
<h2>{{ corpus }}</h2>
<div class="scroll"><table>
<thead><tr>{% for cell in header %}<th{% if not loop.first %} class="num"{% endif %}>{{ cell }}</th>
{% endfor %}</tr></thead>
<tbody>{% for own, row in rows %}<tr{% if own %} class="own"{% endif %}>
{% for cell in row %}{% if loop.first %}<th>{{ cell }}</th>
{% elif loop.last %}<td class="wide{% if "LEAK" in cell %} bad{% endif %}">{{ cell }}</td>
{% else %}<td class="num">{{ cell }}</td>{% endif %}{% endfor %}</tr>{% endfor %}</tbody>
</table></div>
</section>
{% endfor %}
<section>{% for note in notes %}<p class="note">{{ note }}</p>{% endfor %}</section>
</main>
</body>
</html>
"""
NOTES = (
    "Each encoder is frozen; a head is trained on its kept outputs in every fold, and the scores "
    "are over all test utterances, means over the seeds. Intervals: bootstrap over speakers, 95 %.",
    "Rows of EmoBox are published scores of other encoders for the same test speakers, with "
    "another head (arXiv:2406.07162). They have no intervals.",
    "Seconds: wall time of this machine, encoder outputs included where they were not kept before.",
)


class Cell(NamedTuple):
    """One model on one corpus.

    Attributes:
      model: name of the row.
      corpus: name.
      protocol: that was run.
      parameters: of the encoder.
      seconds: wall time.
      note: leaks, or why there are no scores.
      results: content of results.json; {} without scores.
    """

    model: str
    corpus: str
    protocol: str
    parameters: int
    seconds: float
    note: str
    results: Mapping[str, Any]


def table_rows(cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    """Lists the rows below `HEADER`, by corpus; after each corpus the published ones."""
    rows = []
    for corpus in dict.fromkeys(cell.corpus for cell in cells):
        own = [cell for cell in cells if cell.corpus == corpus]
        rows += [_row(cell) for cell in own]
        if has_published(corpus) and any(cell.protocol == "emobox" for cell in own):
            rows += [
                (
                    corpus,
                    f"{one.model} ({EMOBOX})",
                    "emobox",
                    _number(one.uar),
                    NONE,
                    _number(one.accuracy),
                    _number(one.macro_f1),
                    NONE,
                    NONE,
                    NONE,
                    "published",
                )
                for one in sorted(published_scores(corpus), key=lambda one: -one.uar)
            ]
    return rows


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """Lines the columns up for a terminal."""
    lines = [HEADER, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(one_line(cell).ljust(width) for cell, width in zip(line, widths, strict=True))
        .rstrip()
        for line in lines
    )  # fmt: skip


def write_tables(folder: Path, cells: Sequence[Cell], *, subtitle: str) -> Path:
    """Writes benchmark.md, benchmark.csv and benchmark.html, whole or not at all.

    Args:
      folder: that gets them.
      cells: in the order of the rows.
      subtitle: of the page.

    Returns:
      The page.
    """
    rows = table_rows(cells)
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += [
        "| " + " | ".join(one_line(c).replace("|", "\\|") for c in row) + " |" for row in rows
    ]
    with whole_file(folder / "benchmark.md") as file:
        file.write("\n".join([*lines, "", *NOTES]) + "\n")
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([HEADER, *rows])
    with whole_file(folder / "benchmark.csv") as file:
        file.write(content.getvalue())
    sections = [(one_line(corpus), _section(corpus, rows)) for corpus in _corpora(rows)]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string(_TEMPLATE).render(
        style=Markup(page.STYLE),
        subtitle=one_line(subtitle),
        header=HEADER[1:],
        sections=sections,
        notes=NOTES,
    )
    path = folder / "benchmark.html"
    with whole_file(path) as file:
        file.write(text)
    return path


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _corpora(rows: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(row[0] for row in rows))


def _section(corpus: str, rows: Sequence[Sequence[str]]) -> list[tuple[bool, list[str]]]:
    """Lists the rows of a corpus without its name, and whether each is of this benchmark."""
    return [
        (_is_own(row), [one_line(cell) for cell in row[1:]]) for row in rows if row[0] == corpus
    ]


def _is_own(row: Sequence[str]) -> bool:
    return row[-1] != "published"


def _row(cell: Cell) -> tuple[str, ...]:
    scores = cell.results.get("metrics", {})
    over = cell.results.get("over_seeds", {})
    interval = cell.results.get("confidence", {}).get("uar")
    spread = f" ± {_number(over['uar']['std'])}" if "uar" in over else ""
    seeds = cell.results.get("seeds") or [cell.results["seed"]] if cell.results else []
    return (
        cell.corpus,
        cell.model,
        cell.protocol,
        _number(scores.get("uar")) + spread,
        f"[{interval[0]:.3f}, {interval[1]:.3f}]" if interval else NONE,
        _number(scores.get("accuracy")),
        _number(scores.get("macro_f1")),
        str(len(seeds)) if seeds else NONE,
        f"{cell.parameters / 1e6:.1f}" if cell.parameters else NONE,
        f"{cell.seconds:.0f}" if cell.seconds else NONE,
        cell.note,
    )


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"
