"""Objects in JSON: one per line, or as an array, or one document."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sersl.core.bounded import MOST_BYTES
from sersl.core.errors import UserError
from sersl.core.files import check_depth, json_decoder, parse_value
from sersl.corpora.tables.text import check_file, open_text, read_lines, read_text
from sersl.corpora.tables.values import Row, clean

_BETWEEN = re.compile(r"[\s,]*")  # objects of an array
_AFTER = re.compile(r"\s*[,\]]")
_CHUNK = 1 << 20  # characters of an array decoded at once


def read_objects(path: Path, *, label: str = "") -> Iterator[Row]:
    """Reads JSON lines, or an array of objects.

    Args:
      path: of the file; blank lines are passed over.
      label: what to call the file in messages; "" for its name.

    Yields:
      Rows with the values of an object, keys as they are.

    Raises:
      UserError: a line or an element that is not a JSON object.
    """
    label = label or path.name
    if starts_with(path) == "[":
        for line, value in read_array(path, label=label):
            yield make_row(value, f"{label} line {line}")
        return
    for line, text in enumerate(read_lines(path), start=1):
        if not text.strip():
            continue
        where = f"{label} line {line}"
        try:
            value = parse_value(text, allow_nan=True)
        except ValueError as error:
            raise UserError(f"{where}: not JSON ({_reason(error)})") from error
        yield make_row(value, where)


def make_row(value: Any, where: str) -> Row:
    """Makes a row of a JSON object.

    Raises:
      UserError: it is another value than an object.
    """
    if not isinstance(value, dict):
        raise UserError(f"{where}: not a JSON object with keys such as 'path'")
    row = {key: clean(item, f"{where}, key {key!r}") for key, item in value.items()}
    return Row(where, row)


def read_document(path: Path) -> Any:
    """Reads a whole JSON file of at most `MOST_BYTES`.

    Raises:
      UserError: not JSON, or too large.
    """
    check_file(path)
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"{path} is larger than {MOST_BYTES // 2**20} MiB: write JSON lines")
    try:
        return parse_value(read_text(path), allow_nan=True)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise UserError(f"{path.name} line {line}: not JSON ({_reason(error)})") from error


def read_array(path: Path, key: str = "", *, label: str = "") -> Iterator[tuple[int, Any]]:
    """Reads the elements of one array, one at a time, of a file of any size.

    Args:
      path: JSON whose outermost value is the array or an object that has it.
      key: of the array, anywhere before its elements; "": the array is the outermost value.
      label: what to call the file in messages; "" for its name.

    Yields:
      (line, element).

    Raises:
      UserError: there is no such array, or the file is damaged or cut off.
    """
    label = label or path.name
    start = re.compile(rf'"{re.escape(key)}"\s*:\s*\[' if key else r"\s*\[")
    decoder, buffer, line = json_decoder(allow_nan=True), "", 1
    with open_text(path) as (file, _):
        while not (found := start.search(buffer)):
            more = file.read(_CHUNK)
            if not more:
                raise UserError(f"{label}: there is no array {key!r}: take the original file")
            buffer += more
        line += buffer.count("\n", 0, found.end())
        position = found.end()
        while True:
            between = _BETWEEN.match(buffer, position)
            assert between is not None  # the pattern matches the empty text
            line += buffer.count("\n", position, between.end())
            position = between.end()
            if buffer.startswith("]", position):
                return
            try:
                value, end = decoder.raw_decode(buffer, position)
                check_depth(value)
                reason = "it ends in the middle"
            except RecursionError:
                raise UserError(f"{label} line {line}: nested too deep") from None
            except json.JSONDecodeError as error:
                end, reason = len(buffer), error.msg
            except ValueError as error:
                raise UserError(f"{label} line {line}: {error}") from error
            if not _AFTER.match(buffer, end):  # the value may go on in what is not read yet
                more = file.read(max(_CHUNK, len(buffer)))
                if not more:
                    raise UserError(f"{label} line {line}: damaged or cut off ({reason})")
                buffer, position = buffer[position:] + more, 0
                continue
            yield line, value
            line += buffer.count("\n", position, end)
            position = end


def starts_with(path: Path) -> str:
    """Gives the first character of a text file that is not blank; "" where there is none."""
    with open_text(path) as (file, _):
        while text := file.read(_CHUNK):
            if text.strip():
                return text.strip()[0]
    return ""


def _reason(error: ValueError) -> str:
    """Says what is wrong, without Python's count of characters."""
    return str(getattr(error, "msg", error))
