"""Cells of tables: which of them are empty, and their text, numbers, times and objects."""

import datetime
import difflib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sersl.core.errors import UserError
from sersl.core.files import parse_value

# Spellings of "no value", in any case: those of pandas (`pandas._libs.parsers.STR_NA_VALUES`), of
# R and spreadsheets, and dashes and question marks, which people write.
MISSING = frozenset(
    [
        *("", "nan", "-nan", "+nan", "na", "<na>", "n/a", "#n/a", "#n/a n/a", "#na", "nat", "none"),
        *("null", "#null!", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "-", "--", "---"),
        *("\u2013", "\u2014", "?", "??", "???"),  # en and em dash
    ]
)
MOST_NAME = 4096  # characters; as long as paths may be
MOST_SECONDS = 1e8  # of a time: three years
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
# pandas and Python: "0 days 00:00:02.5", "0 days", "1 day, 0:00:02", "00:00:02.500000000".
_CLOCK = re.compile(
    r"(?:(?P<days>[+-]?\d{1,6}) days?(?:,? ?\+?(?=\d)|$))?"
    r"(?:(?P<hours>\d{1,6}):(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2}(?:\.\d*)?))?",
    re.ASCII,
)
_ISO = re.compile(  # "P0DT0H0M2.5S", as pandas writes JSON
    r"P(?:(?P<days>\d{1,6})D)?(?:T(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,6})M)?"
    r"(?:(?P<seconds>\d{1,9}(?:\.\d*)?)S)?)?",
    re.ASCII,
)
# Control characters, halves of a pair of code units, separators of lines and paragraphs.
_NOT_IN_NAMES = ("Cc", "Cs", "Zl", "Zp")
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")  # turn the text around them about


def is_missing(text: str) -> bool:
    """Tells whether a cell's text marks a missing value, see `MISSING`."""
    return text.strip().casefold() in MISSING


@dataclass
class Row:
    """One row of a table.

    Attributes:
      where: file and line, for messages, e.g. "own.csv line 2".
      values: by column; "" where the value is missing, however the file marks it.
      names: column -> its name in the file, where it has another there.
      decimal_comma: whether a comma may be the decimal sign, as in files with semicolons.
      header: where the names of the columns are; "" where each row has them.
    """

    where: str
    values: dict[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    decimal_comma: bool = False
    header: str = ""

    def at(self, column: str) -> str:
        """Names the place of a value, for messages."""
        return f"{self.where}, column {self.names.get(column, column)!r}"

    def __contains__(self, column: str) -> bool:
        return column in self.values

    def has(self, column: str) -> bool:
        """Tells whether this row has a value in a column."""
        return self.values.get(column, "") != ""

    def text(self, column: str) -> str:
        """Reads text; "" where the column or the value is missing."""
        value = self.values.get(column, "")
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, list | dict):
            kind = "a list" if isinstance(value, list) else "an object"
            raise UserError(f"{self.at(column)}: {kind} instead of text")
        if isinstance(value, float) and value.is_integer():
            return str(int(value))  # pandas writes whole numbers as floats where some are missing
        return str(value)

    def name(self, column: str) -> str:
        """Reads a name, such as a speaker's, which will be printed and compared.

        Raises:
          UserError: it has control characters or line ends, or over `MOST_NAME` characters.
        """
        text = self.text(column)
        if len(text) > MOST_NAME:
            raise UserError(
                f"{self.at(column)}: {text[:40]!r}... has {len(text):,} characters: shorten it to "
                f"at most {MOST_NAME:,}"
            )
        if not (text.isascii() and text.isprintable()):  # rare, so the place is not made for all
            check_printable(text, self.at(column))
        return text

    def number(self, column: str) -> float:
        """Reads a finite number; NaN where the column or the value is missing."""
        value = self.values.get(column, "")
        if value == "":
            return math.nan
        return to_number(value, self.at(column), comma=self.decimal_comma)

    def whole(self, column: str) -> int | None:
        """Reads a whole number of at least 0; None where the column or the value is missing."""
        value = self.number(column)
        if math.isnan(value):
            return None
        if value < 0 or not value.is_integer() or value > 2**53:
            raise UserError(f"{self.at(column)}: {value:g} is not a whole number from 0")
        return int(value)

    def seconds(self, column: str) -> float:
        """Reads a time in seconds; NaN where the column or the value is missing.

        Numbers, and time deltas as pandas and Python write them: "0 days 00:00:02.5", "00:00:02.5".
        """
        value = self.values.get(column, "")
        if value == "":
            return math.nan
        return to_seconds(value, self.at(column), comma=self.decimal_comma)

    def choice(self, column: str, known: Mapping[str, str]) -> str:
        """Reads one of some words.

        Args:
          column: its name.
          known: word -> what it means; "" must be among them where the value may be missing.

        Returns:
          The meaning.

        Raises:
          UserError: another word.
        """
        word = self.text(column)
        if word not in known:
            listed = ", ".join(repr(name) for name in known if name)
            raise UserError(
                f"{self.at(column)}: {word!r} is none of {listed}" + (", or empty" * ("" in known))
            )
        return known[word]

    def mapping(self, column: str) -> dict[str, Any]:
        """Reads an object, in CSV as JSON text; {} where the value is missing.

        Keys without a value are left out: a Parquet struct has all keys in every row.
        """
        value = self.values.get(column, "")
        if isinstance(value, str) and value:
            try:
                value = parse_value(value, allow_nan=True)
            except ValueError as error:
                raise UserError(
                    f'{self.at(column)}: not JSON such as {{"happy": 3, "sad": 1}} ({error})'
                ) from error
        if value in ("", None):
            return {}
        if not isinstance(value, dict):
            raise UserError(f"{self.at(column)}: not an object with a value per name")
        cleaned = {str(key): clean(item, self.at(column)) for key, item in value.items()}
        for key in cleaned:
            check_printable(key, self.at(column))
        return {key: item for key, item in cleaned.items() if item != ""}


def clean(value: Any, where: str) -> Any:
    """Makes a value what JSON can hold, and "" where it is missing.

    Args:
      value: as a file gives it.
      where: for the sentence.

    Returns:
      bool, int, float, str, or a list or dict of them, in which a missing number is None.

    Raises:
      UserError: bytes, an infinite number, or text that is not valid Unicode.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return "" if is_missing(value) else _plain(value, where)
    return _plain(value, where)


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise UserError(f"{where}: {value!r} is not valid Unicode text: write it as UTF-8")
        return value
    if isinstance(value, float):
        if math.isinf(value):
            raise UserError(f"{where}: {value} is not finite")
        return None if math.isnan(value) else value
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if isinstance(value, dict):
        return {_plain(str(key), where): _plain(item, where) for key, item in value.items()}
    if isinstance(value, bytes):
        raise UserError(f"{where} holds bytes: write audio to files, and name them in 'path'")
    return str(value)


def to_number(value: Any, where: str, *, comma: bool = False) -> float:
    """Reads a cleaned value as a finite number.

    Args:
      value: a number or text; "" gives NaN.
      where: for the sentence.
      comma: whether a comma may be the decimal sign.

    Returns:
      The number, or NaN.

    Raises:
      UserError: it is not a finite number.
    """
    if value == "":
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UserError(f"{where}: {value!r} is not a number")
    if isinstance(value, str):
        text = value.strip()
        if comma and _COMMA.fullmatch(text):
            text = text.replace(",", ".")
        if text.lower().lstrip("+-") not in ("inf", "infinity") and not _NUMBER.fullmatch(text):
            raise UserError(f"{where}: {value[:80]!r} is not a number")
        value = text
    number = float(value)
    if math.isinf(number):
        raise UserError(f"{where}: {str(value)[:80]!r} is not finite")
    return number


def to_seconds(value: Any, where: str, *, comma: bool = False) -> float:
    """Reads a cleaned value as a time in seconds, see `Row.seconds`."""
    match = None
    if isinstance(value, str) and value:
        text = value.strip()
        match = _CLOCK.fullmatch(text) or (_ISO.fullmatch(text) if len(text) > 2 else None)
    if match is not None:
        parts = {name: float(part or 0) for name, part in match.groupdict().items()}
        hours = 24 * parts["days"] + parts["hours"]
        seconds = 60 * (60 * hours + parts["minutes"]) + parts["seconds"]
    else:
        try:
            seconds = to_number(value, where, comma=comma)
        except UserError as error:
            raise UserError(
                f"{error}: write seconds, or a time such as '0 days 00:00:02.5'"
            ) from error
    if abs(seconds) > MOST_SECONDS:
        raise UserError(f"{where}: {seconds:g} s is too long for a recording")
    return seconds


def check_printable(text: str, where: str) -> None:
    """Raises UserError where a name has control characters, line ends or changes of direction."""
    for letter in text:
        if unicodedata.category(letter) in _NOT_IN_NAMES or _DIRECTION.match(letter):
            raise UserError(
                f"{where}: {text!r} has the control character {letter!r}: remove it from the name"
            )


def nearest(name: str, known: Iterable[str]) -> str:
    """Finds the known name that is most like another; "" where none is."""
    folded = {one.casefold(): one for one in known}
    words = set(re.split(r"[^a-z]+", name.casefold()))
    inside = [one for one in folded if one in words]
    near = inside or difflib.get_close_matches(name.casefold(), folded, n=1)
    return folded[near[0]] if near else ""
