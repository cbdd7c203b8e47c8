"""The table of a comparison as text, Markdown, CSV and LaTeX."""

import csv
import io
import math
from collections.abc import Sequence

from sersl.core.display import one_line
from sersl.core.errors import unknown_name
from sersl.eval import bootstrap
from sersl.eval.comparison.paired import Comparison, Entry, Value
from sersl.eval.metrics import LOWER_IS_BETTER
from sersl.eval.predictions import speakers_of
from sersl.eval.report_tables import DIMENSION_SCORES, LABEL_SCORES, NONE, SCORES

_CSV_COLUMNS = (
    *("system", "workdir", "seeds", "ensemble", "metric", "mean", "deviation", "low", "high"),
    *("difference", "difference_low", "difference_high", "p"),
)
_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def title(metric: str) -> str:
    """Gives the title of a score, e.g. "UAR (UA)" or "CCC valence"."""
    kind, dot, dimension = metric.partition(".")
    return f"{DIMENSION_SCORES[kind]} {dimension}" if dot else {**SCORES, **LABEL_SCORES}[metric]


def lower_is_better(metric: str) -> bool:
    """Tells whether a score is an error."""
    return metric.partition(".")[0] in LOWER_IS_BETTER


def main_metric(comparison: Comparison, wanted: str = "") -> str:
    """Chooses the score whose differences are shown.

    Args:
      comparison: with scores.
      wanted: its name; "": the first, UAR where there are categories.

    Raises:
      UserError: there is no such score.
    """
    if wanted and wanted not in comparison.metrics:
        raise unknown_name("score in --metric", wanted, comparison.metrics)
    return wanted or comparison.metrics[0]


def shown_metrics(comparison: Comparison, main: str) -> list[str]:
    """Lists the scores of the table for people: all of categories, CCC, and the main one."""
    return [
        name
        for name in comparison.metrics
        if "." not in name or name.startswith("ccc.") or name == main
    ]


def table_rows(comparison: Comparison, main: str) -> tuple[list[str], list[list[str]]]:
    """Formats header and rows: name, seeds, scores, and the difference from the first system."""
    columns = shown_metrics(comparison, main)
    reference = comparison.entries[0].name
    header = [
        "system",
        "seeds",
        *(title(name) for name in columns),
        f"{title(main)} minus {reference}",
        "p",
    ]
    rows = [
        [
            one_line(entry.name),
            str(len(entry.seeds) or "-"),
            *(_score(entry.values[name]) for name in columns),
            _difference(entry.values[main]),
            _p(entry.values[main]),
        ]
        for entry in comparison.entries
    ]
    return [one_line(cell) for cell in header], rows


def notes(comparison: Comparison) -> list[str]:
    """Explains the table, in sentences."""
    return [
        f"{comparison.num_utterances} utterances of {speakers_of(comparison.num_speakers)} "
        f"of {', '.join(comparison.corpora)}, protocol {comparison.protocol}",
        "±: sample standard deviation over seeds; in brackets: "
        f"{100 * bootstrap.LEVEL:.0f} % interval, paired percentile bootstrap over speakers and "
        f"seeds, {comparison.num_resamples} draws; p: two-sided, of no difference",
        *comparison.notes,
    ]


def as_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligns a table for a terminal."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def as_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Writes a table in Markdown."""
    lines = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
        for row in (header, *rows)
    ]
    return "\n".join([lines[0], "|---" * len(header) + "|", *lines[1:]]) + "\n"


def as_latex(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Writes a LaTeX tabular of the package booktabs."""
    lines = [" & ".join(_latex(cell) for cell in row) + r" \\" for row in (header, *rows)]
    return "\n".join(
        [
            f"\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            "\\toprule",
            lines[0],
            "\\midrule",
            *lines[1:],
            "\\bottomrule",
            "\\end{tabular}\n",
        ]
    )


def as_csv(comparison: Comparison) -> str:
    """Writes every score of every system, one a line, with all digits."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for entry in comparison.entries:
        for name, value in entry.values.items():
            writer.writerow(
                [
                    one_line(entry.name),
                    one_line(entry.workdir),
                    " ".join(map(str, entry.seeds)),
                    "yes" if entry.is_ensemble else "no",
                    name,
                    *map(_digits, numbers(value)),
                ]
            )
    return file.getvalue()


def numbers(value: Value) -> list[float | None]:
    """Lists mean, deviation, interval, difference, its interval and p; None where undefined."""
    nothing = (None, None)
    interval, apart = value.interval or nothing, value.difference_interval or nothing
    mean = None if math.isnan(value.mean) else value.mean
    return [mean, value.deviation, *interval, value.difference, *apart, value.p]


def best_of(entries: Sequence[Entry], metric: str) -> Entry | None:
    """Finds the system that is best in a score; None where it is defined for none."""
    known = [entry for entry in entries if not math.isnan(entry.values[metric].mean)]
    if not known:
        return None
    sign = -1 if lower_is_better(metric) else 1
    return max(known, key=lambda entry: sign * entry.values[metric].mean)


def _score(value: Value) -> str:
    if math.isnan(value.mean):
        return NONE
    spread = "" if value.deviation is None else f" ± {value.deviation:.3f}"
    return f"{value.mean:.3f}{spread}{_interval(value.interval)}"


def _difference(value: Value) -> str:
    if value.difference is None:
        return NONE
    return f"{value.difference:+.3f}{_interval(value.difference_interval, sign='+')}"


def _interval(interval: Sequence[float] | None, *, sign: str = "") -> str:
    return f" [{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]" if interval else ""


def _p(value: Value) -> str:
    return NONE if value.p is None else f"{value.p:.3f}"


def _digits(number: float | None) -> str:
    return "" if number is None or math.isnan(number) else f"{number:.6g}"


def _latex(text: str) -> str:
    text = "".join(_LATEX.get(character, character) for character in text)
    return text.replace("±", r"$\pm$")
