"""The files of a comparison: Markdown, CSV, LaTeX, JSON, a plot and an HTML page."""

import base64
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from sersl.core.display import one_line
from sersl.core.files import whole_file, write_json
from sersl.eval import page
from sersl.eval.comparison import tables
from sersl.eval.comparison.paired import Comparison
from sersl.eval.figures import plots
from sersl.eval.scorer import without_nan

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<header><h1>{{ title }}</h1><p>{{ subtitle }}</p></header>
{% for heading, header, rows in sections %}
<section>
<h2>{{ heading }}</h2>
<div class="scroll"><table>
<thead><tr>{% for cell in header %}<th{% if not loop.first %} class="num"{% endif %}>{{ cell }}</th>
{% endfor %}</tr></thead>
<tbody>{% for row in rows %}<tr{% if row[0] == own %} class="own"{% endif %}>
{% for cell in row %}{% if loop.first %}<th>{{ cell }}</th>{% else %}<td class="num">{{ cell }}</td>
{% endif %}{% endfor %}</tr>{% endfor %}</tbody>
</table></div>
{% if loop.first %}
{% for note in notes %}<p class="note">{{ note }}</p>{% endfor %}
{% if image %}<img alt="{{ caption }}" src="data:image/png;base64,{{ image }}">{% endif %}
{% endif %}
</section>
{% endfor %}
</main>
</body>
</html>
"""

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def write_comparison(folder: Path, comparison: Comparison, main: str) -> Path:
    """Writes comparison.md, .csv, .tex, .json, .png and .html.

    Args:
      folder: that gets them.
      comparison: of systems.
      main: the score whose differences are shown.

    Returns:
      The page.
    """
    table = tables.table_rows(comparison, main)
    all_scores = [
        (
            f"{tables.title(name)}{', lower is better' if tables.lower_is_better(name) else ''}",
            *tables.table_rows(dataclasses.replace(comparison, metrics=(name,)), name),
        )
        for name in comparison.metrics
        if name != main
    ]
    with whole_file(folder / "comparison.csv") as file:
        file.write(tables.as_csv(comparison))
    write_json(folder / "comparison.json", without_nan(dataclasses.asdict(comparison)))
    plots.intervals(
        folder / "comparison.png",
        names=[entry.name for entry in comparison.entries],
        values=[entry.values[main].mean for entry in comparison.entries],
        intervals=[entry.values[main].interval for entry in comparison.entries],
        title=tables.title(main),
    )
    best = tables.best_of(comparison.entries, main)
    return write_page(
        folder,
        "comparison",
        table,
        heading=f"Comparison of {len(comparison.entries)} systems",
        notes=tables.notes(comparison),
        caption=f"{tables.title(main)} of every system with its interval",
        own="" if best is None else one_line(best.name),
        more=all_scores,
    )


def write_page(
    folder: Path,
    name: str,
    table: Table,
    *,
    heading: str,
    notes: Sequence[str],
    caption: str,
    own: str = "",
    more: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = (),
) -> Path:
    """Writes a table as Markdown, LaTeX and a page with the figure `<name>.png`.

    Args:
      folder: that has the figure.
      name: of the files, without suffix.
      table: header and rows.
      heading: of the page.
      notes: sentences below the table.
      caption: of the figure.
      own: name of the row to highlight.
      more: (heading, header, rows) of further tables of the page.

    Returns:
      The page.
    """
    header, rows = table
    notes = [one_line(note) for note in notes]
    with whole_file(folder / f"{name}.md") as file:
        file.write(tables.as_markdown(header, rows) + "\n" + "\n".join(f"- {n}" for n in notes))
        file.write("\n")
    with whole_file(folder / f"{name}.tex") as file:
        file.write(tables.as_latex(header, rows))
    image = base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string(_TEMPLATE).render(
        style=Markup(page.STYLE),
        title=heading,
        subtitle=notes[0] if notes else "",
        notes=notes[1:],
        sections=[(caption.split(" of ")[0], header, rows), *more],
        image=image,
        caption=caption,
        own=own,
    )
    path = folder / f"{name}.html"
    with whole_file(path) as file:
        file.write(text)
    return path
