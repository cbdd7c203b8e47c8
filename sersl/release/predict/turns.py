"""Turns of speakers from an RTTM file, as diarization writes them."""

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sersl.core.bounded import read_bounded
from sersl.core.display import one_line
from sersl.core.errors import UserError

_FIELDS = 8  # of a SPEAKER line, at least: type, file, channel, onset, duration, 2 of text, name
_MOST_BYTES = 256 << 20
_MOST_SECONDS = 48 * 3600.0


@dataclass(frozen=True)
class Turn:
    """A stretch of one speaker: seconds, and the speaker's name."""

    start: float
    end: float
    speaker: str


def read_rttm(path: str | Path) -> dict[str, list[Turn]]:
    """Reads the turns of every recording.

    Args:
      path: of the file; lines of another type than SPEAKER, comments and empty lines are skipped.

    Returns:
      {name of a recording: its turns by start}.

    Raises:
      UserError: it cannot be read, a line is wrong, or there are no turns.

    Source: NIST, Rich Transcription 2009 evaluation plan, appendix A.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} has more than {_MOST_BYTES >> 20} MiB: split the RTTM file")
        text = read_bounded(path, most=_MOST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"RTTM file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UserError(f"RTTM file {path} is not UTF-8: save it as UTF-8") from None
    found: dict[str, list[Turn]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].upper() != "SPEAKER" or line.startswith(";"):
            continue
        try:
            if len(words) < _FIELDS:
                raise ValueError(f"{len(words)} fields")
            onset, duration = float(words[3]), float(words[4])
            if not (math.isfinite(onset) and 0 <= onset <= _MOST_SECONDS):
                raise ValueError(f"start {words[3]}")
            if not 0 < duration <= _MOST_SECONDS:
                raise ValueError(f"duration {words[4]}")
        except ValueError as error:
            raise UserError(
                f"{path}, line {number}: {one_line(str(error))} is wrong in an RTTM line: write "
                "SPEAKER FILE CHANNEL START DURATION <NA> <NA> NAME <NA> <NA>, in seconds"
            ) from None
        found.setdefault(words[1], []).append(Turn(onset, onset + duration, words[7]))
    if not found:
        raise UserError(f"{path} has no line that begins with SPEAKER: give an RTTM file")
    return {name: sorted(turns, key=lambda t: (t.start, t.end)) for name, turns in found.items()}


def match_turns(
    turns: dict[str, list[Turn]], names: Iterable[str], *, where: str
) -> dict[str, list[Turn]]:
    """Finds the turns of each recording, by its file name with or without ending.

    Args:
      turns: from `read_rttm`.
      names: paths of the recordings.
      where: name of the RTTM file, for the sentence.

    Returns:
      {path: turns}, empty for a recording that the file does not name.

    Raises:
      UserError: it names none of the recordings.
    """
    found = {}
    for name in names:
        path = Path(name)
        key = next((key for key in (path.stem, path.name, name) if key in turns), None)
        found[name] = [] if key is None else turns[key]
    if not any(found.values()):
        known = ", ".join(one_line(name) for name in sorted(turns)[:3])
        raise UserError(
            f"{where} has turns of other recordings ({known}), none of those given: the second "
            "field of a line is the file name without its ending"
        )
    return found


def turns_of(sources: Sequence[object], rttm: str | Path) -> list[list[Turn]]:
    """Reads the turns of each source, which must be a path, see `match_turns`."""
    names = [os.fspath(source) for source in sources if isinstance(source, str | os.PathLike)]
    if len(names) < len(sources):
        raise UserError("an RTTM file finds the turns by the names of files: give paths")
    found = match_turns(read_rttm(rttm), names, where=str(rttm))
    return [found[name] for name in names]
