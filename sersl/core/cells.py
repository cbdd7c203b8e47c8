"""Cells of CSV files that no spreadsheet takes for a formula.

A cell that begins with = + - @, a tab or a carriage return may be run when the file is opened
(OWASP, "CSV Injection"); an apostrophe before it makes it text.
"""

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def to_cell(text: str) -> str:
    """Puts an apostrophe before text that a spreadsheet would run; other text stays as it is."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """Undoes `to_cell`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
