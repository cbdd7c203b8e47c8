"""Text from outside, made safe to print: file names, labels, messages of libraries."""

import json
from typing import Any


def one_line(text: str) -> str:
    """Escapes what would move the cursor, end the line or reverse the text, e.g. `\\x1b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def json_line(value: Any) -> str:
    """Writes a value as one line of JSON in which control characters and surrogates are escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # JSON writes characters beyond 16 bits as two surrogates, as json.dumps does.
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
