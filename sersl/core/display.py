"""Text from outside, made safe to print: file names, labels, messages of libraries."""


def one_line(text: str) -> str:
    """Escapes what would move the cursor, end the line or reverse the text, e.g. `\\x1b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
