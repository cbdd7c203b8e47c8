"""Part I of N of some work, for several jobs that share it."""

import re

from sersl.core.errors import UserError


def read_share(text: str, *, option: str) -> tuple[int, int]:
    """Reads which part of some work to do.

    Args:
      text: I/N, such as 0/4.
      option: that it was given for, such as "--shard".

    Returns:
      I and N.

    Raises:
      UserError: it is not I/N with I from 0 to N - 1.
    """
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if found is None or not int(found[1]) < int(found[2]):
        raise UserError(
            f"{option} {text[:40]} is not I/N with I from 0 to N - 1, such as 0/4 to 3/4"
        )
    return int(found[1]), int(found[2])
