"""The one error a user can fix, and the sentence that names the nearest known name."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can fix: one sentence saying what, where and what to do.

    The command line prints the sentence without a traceback and exits with code 2.
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Builds the error for a name that is not in a list of choices.

    Args:
      kind: what the name stands for, e.g. "corpus" or "configuration key".
      name: what the user wrote.
      known: every accepted name.

    Returns:
      A UserError naming the closest known name, if any is close, and a short list of them whole.
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    if not close:
        # "lr" for "learning_rate": a dotted key may be right but for its last part.
        last = name.rsplit(".", 1)[-1]
        close = [k for k in known if k.rsplit(".", 1)[-1] == last][:1]
    hint = f"did you mean {close[0]!r}?" if close else ""
    if not close or len(known) <= 12:
        hint = f"{hint} known: {', '.join(known) or 'none'}".strip()
    return UserError(f"unknown {kind} {name!r}: {hint}")
