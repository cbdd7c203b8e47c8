"""`sersl compare`: finished runs in one table, with paired intervals."""

from argparse import Namespace
from pathlib import Path

from sersl.core.display import one_line
from sersl.core.errors import UserError
from sersl.core.files import check_writable
from sersl.eval.comparison import tables
from sersl.eval.comparison.comparison_files import write_comparison
from sersl.eval.comparison.paired import compare
from sersl.eval.comparison.systems import read_systems


def run(arguments: Namespace) -> int:
    """Compares runs, prints the table and writes the files.

    Args:
      arguments: `runs`, `output`, `metric`, `draws`.

    Returns:
      The exit code, 0.

    Raises:
      UserError: a run is missing or damaged, or the runs are not comparable.
    """
    folder = Path(arguments.output) if arguments.output else None
    if folder is not None:
        check_writable(folder, option="--output")
    systems = read_systems(arguments.runs)
    comparison = compare(systems, num_resamples=arguments.draws)
    if not comparison.metrics:
        raise UserError("no utterance has a category or a rating, so there is nothing to compare")
    main = tables.main_metric(comparison, arguments.metric)
    header, rows = tables.table_rows(comparison, main)
    print(tables.as_text(header, rows))
    for note in tables.notes(comparison):
        print(one_line(note))
    if folder is not None:
        print(f"page: {write_comparison(folder, comparison, main)}")
    return 0
