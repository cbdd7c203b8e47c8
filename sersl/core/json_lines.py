"""Logs of one JSON object a line, to which a process that may be killed appends."""

import contextlib
from pathlib import Path
from typing import Any

from sersl.core.errors import UserError
from sersl.core.files import parse_json


def read_json_lines(path: str | Path, *, what: str, remedy: str) -> list[dict[str, Any]]:
    """Reads a log strictly, except for a last line that a kill has cut off.

    Args:
      path: of the file; a missing one is empty.
      what: the file is, for the message, e.g. "log of a run".
      remedy: what to do about a damaged one.

    Returns:
      One object per line.

    Raises:
      UserError: the file cannot be read, or a line is not a JSON object.
    """
    path = Path(path)
    try:
        *lines, last = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path} ({what}) cannot be read: {error.strerror}; {remedy}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(parse_json(line))
        except ValueError as error:
            where = f"{path} ({what}), line {number}"
            raise UserError(f"{where} is damaged: {error}; {remedy}") from None
    if last:
        with contextlib.suppress(ValueError):  # the process was killed while it wrote
            found.append(parse_json(last))
    return found
