"""Logs of one JSON object a line, to which a process that may be killed appends.

Each line ends with the CRC-32 of its other fields, so that a changed digit is an error.
"""

import contextlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sersl.core.bounded import MOST_TABLE_BYTES, read_bounded
from sersl.core.errors import UserError
from sersl.core.files import parse_json

_CHECKSUM = "crc32"


def json_line(values: Mapping[str, Any]) -> str:
    """Formats an object as one line of a log, with its checksum and the line end."""
    return json.dumps({**values, _CHECKSUM: _checksum(values)}) + "\n"


def read_json_lines(path: str | Path, *, what: str, remedy: str) -> list[dict[str, Any]]:
    """Reads a log strictly, except for a last line that a kill has cut off.

    Args:
      path: of the file; a missing one is empty.
      what: the file is, for the message, e.g. "log of a run".
      remedy: what to do about a damaged one.

    Returns:
      One object per line, without the checksums. Logs of earlier versions have none.

    Raises:
      UserError: the file cannot be read, or a line is not a JSON object or differs from its
        checksum.
    """
    path = Path(path)
    try:
        *lines, last = read_bounded(path, most=MOST_TABLE_BYTES).split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path} ({what}) cannot be read: {error.strerror}; {remedy}") from error
    found: list[dict[str, Any]] = []
    summed: bool | None = None  # whether lines have checksums
    for number, line in enumerate(lines, start=1):
        try:
            values, has_sum = _parse(line)
            if summed not in (None, has_sum):
                raise ValueError(f"only some lines have a {_CHECKSUM}")
            found.append(values)
            summed = has_sum
        except ValueError as error:
            where = f"{path} ({what}), line {number}"
            raise UserError(f"{where} is damaged: {error}; {remedy}") from None
    if last:
        with contextlib.suppress(ValueError):  # the process was killed while it wrote
            found.append(_parse(last)[0])
    return found


def _parse(line: bytes) -> tuple[dict[str, Any], bool]:
    """Parses a line: its fields without the checksum, and whether it has one."""
    values = parse_json(line)
    stored = values.pop(_CHECKSUM, None)
    if stored is not None and stored != _checksum(values):
        raise ValueError(f"it differs from its {_CHECKSUM}")
    return values, stored is not None


def _checksum(values: Mapping[str, Any]) -> str:
    """CRC-32 of the JSON text, 8 hexadecimal digits; numbers keep their text when parsed."""
    return f"{zlib.crc32(json.dumps(values).encode()):08x}"
