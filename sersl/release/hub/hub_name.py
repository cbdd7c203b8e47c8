"""Names of models on a hub: OWNER/NAME or OWNER/NAME@REVISION."""

import re
from dataclasses import dataclass
from pathlib import Path

from sersl.core.errors import UserError

PREFIX = "hf://"
DEFAULT_REVISION = "main"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"
_NAME = re.compile(rf"(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9_./-]*))?")
_LONGEST = 96  # characters of OWNER/NAME, the limit of the Hugging Face Hub


@dataclass(frozen=True)
class HubName:
    """A model on a hub.

    Attributes:
      repo: OWNER/NAME.
      revision: branch, tag or commit.
    """

    repo: str
    revision: str = DEFAULT_REVISION

    def __str__(self) -> str:
        at = "" if self.revision == DEFAULT_REVISION else f"@{self.revision}"
        return f"{self.repo}{at}"


def hub_name(given: str | Path) -> HubName | None:
    """Reads the name of a model on a hub.

    Args:
      given: a path, OWNER/NAME, or OWNER/NAME@REVISION; "hf://" before a name makes sure that it is
        never taken for a path.

    Returns:
      The name; None for a path: where the path exists, or the folder OWNER exists here.

    Raises:
      UserError: "hf://" is followed by something else.
    """
    text = str(given)
    if text.startswith(PREFIX):
        name = _parsed(text.removeprefix(PREFIX))
        if name is None:
            raise UserError(f"{text[:120]} is not a model on a hub: write {PREFIX}OWNER/NAME")
        return name
    if isinstance(given, Path) or Path(text).exists() or Path(text.partition("/")[0]).is_dir():
        return None
    return _parsed(text)


def _parsed(text: str) -> HubName | None:
    found = _NAME.fullmatch(text)
    if found is None or len(found["repo"]) > _LONGEST:
        return None
    if any(mark in text for mark in ("..", "--", "//")):  # which the hub refuses
        return None
    return HubName(found["repo"], found["revision"] or DEFAULT_REVISION)
