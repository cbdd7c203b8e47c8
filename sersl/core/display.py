"""Text from outside, made safe to print: file names, labels, messages of libraries."""

import json
import re
from collections.abc import Sequence
from typing import Any

_LONG_WORD = re.compile(r"(\S{300})\S{100,}(\S{100})")  # such as a name from a damaged list


def one_line(text: str) -> str:
    """Escapes what would move the cursor, end the line or reverse the text, e.g. `\\x1b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_sentence(text: str) -> str:
    """Makes a message safe to print, and cuts the middle out of words of over 500 characters."""
    return _LONG_WORD.sub(r"\1...\2", one_line(text))


def first_few(names: Sequence[str], most: int) -> str:
    """Lists up to `most` names, with the number of the others: "a, b and 3 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def json_line(value: Any) -> str:
    """Writes a value as one line of JSON in which control characters and surrogates are escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # JSON writes characters beyond 16 bits as two surrogates, as json.dumps does.
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
