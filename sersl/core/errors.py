"""The one error a user can fix, and the sentence that names the nearest known name."""

import difflib
import errno
from collections.abc import Iterable

_ROOM = "make room, and run the same command again"
_ALLOW = "change its permissions, and run the same command again"
_PATH = "give another path"
_LONGEST_NAME = 200  # characters of a name in a message
# Errors of the operating system whose cause the user can fix, and how.
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: _PATH,
    errno.EACCES: _ALLOW,
    errno.EPERM: _ALLOW,
    errno.EFBIG: _ROOM,
    errno.EEXIST: _PATH,
    errno.ENAMETOOLONG: _PATH,
    errno.ENOTDIR: _PATH,
    errno.EISDIR: _PATH,
    errno.ELOOP: _PATH,
    errno.ENXIO: _PATH,
    errno.EOVERFLOW: _PATH,
    errno.EIO: "check the disk, or give another path",
}


class UserError(Exception):
    """Something the user can fix: one sentence saying what, where and what to do.

    The command line prints the sentence without a traceback and exits with code 2.
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Builds the error for a name that is not in a list of choices.

    Args:
      kind: what it names, e.g. "corpus" or "configuration key".
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
    name = _shortened(name)
    hint = f"did you mean {close[0]!r}?" if close else ""
    if not close or len(known) <= 12:
        hint = f"{hint} known: {', '.join(known) or 'none'}".strip()
    return UserError(f"unknown {kind} {name!r}: {hint}")


def as_user_error(error: BaseException) -> UserError | None:
    """Finds the sentence for an error whose cause the user can fix.

    Args:
      error: any.

    Returns:
      The error itself if it is a UserError; one that names the file if the operating system refuses
      to use it for one of the reasons in `_REMEDIES`; None otherwise.
    """
    if isinstance(error, UserError):
        return error
    if not isinstance(error, OSError) or error.errno not in _REMEDIES:
        return None
    name = "a file" if error.filename is None else _shortened(str(error.filename))
    return UserError(f"{name} cannot be used ({error.strerror}): {_REMEDIES[error.errno]}")


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."


def first_line(error: BaseException) -> str:
    """Shortens the message of a library's error to one line; the error's kind where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)
