"""One row of a manifest as an utterance: every value checked, every label by name."""

import math
import os
import unicodedata
from pathlib import Path

from sersl.audio.decode import probe
from sersl.core.errors import UserError
from sersl.corpora.dialogues import DIALOGUE, TURN
from sersl.corpora.listing import printable
from sersl.corpora.manifests.columns import COLUMNS, FOLDS, SAMPLES, own_dimensions
from sersl.corpora.manifests.label_map import Labels
from sersl.corpora.manifests.row_labels import EXTRA_KEYS, RowLabels, Scales
from sersl.corpora.tables.values import Row
from sersl.corpora.utterance import Utterance

_GENDERS = {
    **dict.fromkeys(("f", "female", "w", "woman"), "female"),
    **dict.fromkeys(("m", "male", "man"), "male"),
    **dict.fromkeys(("", "unknown"), ""),
    **{name: name for name in ("other", "nonbinary")},
}
_MOST_CHANNELS = 4096


def parse_row(
    row: Row, folder: Path, *, labels: Labels | None = None, scales: Scales | None = None
) -> Utterance:
    """Turns one row into an utterance.

    Args:
      row: as `read_rows` gives it.
      folder: that paths are relative to.
      labels: meaning of the labels; None for the spellings that are the same everywhere.
      scales: column -> lowest and highest rating, as the user gives them.

    Returns:
      The utterance, with the labels of `RowLabels.read`.

    Raises:
      UserError: a value that is not what its column takes, or times that cannot be.
    """
    path = row.values["path"]
    start, end = _segment(row, folder / path)
    raw = row.name("emotion") or row.name("category")
    if row.name("category") not in ("", raw):
        raise UserError(f"{row.where}: emotion and category differ; keep one of the two columns")
    channel = row.whole("channel")
    if channel is not None and channel > _MOST_CHANNELS:
        raise UserError(f"{row.at('channel')}: {channel} is not a channel of a recording")
    known = RowLabels(row, labels or Labels({}), scales or {}).read(raw)
    used = {*COLUMNS, *SAMPLES, *own_dimensions(scales or {})}
    extra = {
        (f"other_{name}" if name in EXTRA_KEYS else name): value
        for name, value in row.values.items()
        if value != "" and name not in used and not name.startswith(FOLDS)
    }
    return Utterance(
        utterance_id=row.name("utterance_id") or _make_id(path, start, end, channel),
        source=folder / path,
        path=printable(path),
        start=None if math.isnan(start) else start,
        end=None if math.isnan(end) else end,
        channel=channel,
        speaker=_name(row, "speaker"),
        gender=_gender(row),
        language=row.name("language"),
        session=_name(row, "session"),
        text=row.text("text"),
        category=known.category,
        category_raw=known.category_raw,
        votes=known.votes,
        intensity=known.intensity,
        **known.ratings,
        fold=_name(row, "fold"),
        extra=extra | known.extra | _folds(row) | _dialogue(row),
    )


def _name(row: Row, column: str) -> str:
    """Reads the name of a group of rows in NFC: in NFD it would be another speaker."""
    return unicodedata.normalize("NFC", row.name(column))


def _folds(row: Row) -> dict[str, dict[str, str]]:
    """Reads the columns of repeated divisions: {"folds": {name in the file: word}}."""
    columns = [name for name in row.values if name == "fold" or name.startswith(FOLDS)]
    if len(columns) < 2:
        return {}
    return {"folds": {row.names.get(name, name): _name(row, name) for name in columns}}


def _dialogue(row: Row) -> dict[str, str | float]:
    """Reads the name of the dialogue and the number of the turn, where there are such."""
    name, number = _name(row, DIALOGUE), row.number(TURN)
    found: dict[str, str | float] = {DIALOGUE: name} if name else {}
    if not math.isnan(number):
        found[TURN] = int(number) if number.is_integer() else number
    return found


def _segment(row: Row, source: Path) -> tuple[float, float]:
    """Reads start and end in seconds, NaN for the first or last sample."""
    start, end = row.seconds("start"), row.seconds("end")
    first, last = (row.whole(name) for name in SAMPLES)
    if first is not None or last is not None:
        try:
            rate = probe(source).sample_rate
        except UserError:  # preparation skips the file, with the reason
            rate = 16_000
        start = math.nan if first is None else first / rate
        end = math.nan if last is None else last / rate
    if start < 0 or end < 0 or end <= start or (math.isnan(start) and end == 0):
        raise UserError(
            f"{row.at('start' if row.has('start') else 'end')}: segment from {start:g} to {end:g} "
            "s is impossible; start is at least 0 and end is after it"
        )
    return start, end


def _gender(row: Row) -> str:
    text = row.name("gender")
    if text.lower() not in _GENDERS:
        raise UserError(
            f"{row.at('gender')}: {text!r} is not female, male, other or empty: write one of these"
        )
    return _GENDERS[text.lower()]


def _make_id(path: str, start: float, end: float, channel: int | None) -> str:
    name = os.path.splitext(printable(path))[0]
    if not (math.isnan(start) and math.isnan(end)):
        first = "" if math.isnan(start) else f"{start:.3f}"
        last = "" if math.isnan(end) else f"{end:.3f}"
        name += f"#{first}-{last}"
    return name if channel is None else f"{name}#channel{channel}"
