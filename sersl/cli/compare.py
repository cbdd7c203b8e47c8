"""`sersl compare`: finished runs in one table, with paired intervals."""

from argparse import Namespace
from pathlib import Path

from sersl.core.display import one_line
from sersl.core.errors import UserError
from sersl.core.files import check_writable
from sersl.eval.comparison import tables
from sersl.eval.comparison.comparison_files import write_comparison
from sersl.eval.comparison.curve import curve_table, write_curve
from sersl.eval.comparison.matrix import (
    matrix_metric,
    matrix_notes,
    matrix_table,
    read_matrix,
    write_matrix,
)
from sersl.eval.comparison.paired import compare
from sersl.eval.comparison.systems import read_systems


def run(arguments: Namespace) -> int:
    """Compares runs, prints the table and writes the files.

    Args:
      arguments: `runs`, `output`, `metric`, `draws`, `together`, `matrix`, `curve`.

    Returns:
      The exit code, 0.

    Raises:
      UserError: a run is missing or damaged, or the runs are not comparable.
    """
    folder = Path(arguments.output) if arguments.output else None
    if folder is not None:
        check_writable(folder, option="--output")
    if arguments.matrix:
        return _matrix(arguments, folder)
    systems = read_systems(arguments.runs)
    comparison = compare(systems, num_resamples=arguments.draws, together=arguments.together)
    if not comparison.metrics:
        raise UserError("no utterance has a category or a rating, so there is nothing to compare")
    main = tables.main_metric(comparison, arguments.metric)
    header, rows = tables.table_rows(comparison, main)
    if arguments.curve:
        header, rows = curve_table(comparison, main)
    print(tables.as_text(header, rows))
    for note in tables.notes(comparison):
        print(one_line(note))
    if folder is not None:
        if arguments.curve:
            print(f"curve: {write_curve(folder, comparison, main)}")
        print(f"page: {write_comparison(folder, comparison, main)}")
    return 0


def _matrix(arguments: Namespace, folder: Path | None) -> int:
    """Prints scores across corpora, and writes the files."""
    cells = read_matrix(arguments.runs)
    metric = matrix_metric(cells, arguments.metric)
    header, rows, _ = matrix_table(cells, metric)
    print(tables.as_text(header, rows))
    for note in matrix_notes(cells):
        print(one_line(note))
    if folder is not None:
        print(f"page: {write_matrix(folder, cells, metric)}")
    return 0
