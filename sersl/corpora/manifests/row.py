"""One row of a manifest as an utterance: every value checked, every label by name."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from sersl.core.errors import UserError
from sersl.corpora.labels import DIMENSIONS, canonical, to_unit
from sersl.corpora.listing import printable
from sersl.corpora.ratings import ANNOTATORS, check_scale, count_votes, plurality
from sersl.corpora.utterance import Utterance

COLUMNS = (
    *("path", "start", "end", "channel", "utterance_id", "speaker", "gender", "language"),
    *("session", "text", "emotion", "category", "votes", ANNOTATORS, "intensity", *DIMENSIONS),
    *("scale_low", "scale_high", "fold"),
)
_GENDERS = {"f": "female", "female": "female", "w": "female", "m": "male", "male": "male", "": ""}
# Strengths in words, as corpora have them, evenly over 0..1.
_STRENGTHS = {"low": 0.0, "normal": 0.0, "medium": 0.5, "high": 1.0, "strong": 1.0}


def parse_row(
    row: dict, folder: Path, where: str, *, label_map: Mapping[str, str] | None = None
) -> Utterance:
    """Turns one row into an utterance.

    Args:
      row: as `read_rows` gives it.
      folder: that paths are relative to.
      where: file and line, for sentences.
      label_map: raw label -> category; asked before the spellings that everyone knows.

    Returns:
      The utterance. Where there is no label but there are votes, the one with most votes; where
      there are no votes but there are raters, theirs.

    Raises:
      UserError: a value that is not what its column takes, or times that cannot be.
    """
    start, end = (_number(row, column, where) for column in ("start", "end"))
    if start < 0 or end < 0 or end <= start or (math.isnan(start) and end == 0):
        raise UserError(
            f"{where}: segment from {start:g} to {end:g} s is impossible; start is at least 0 and "
            "end is after it"
        )
    raw = _text(row, "emotion") or _text(row, "category")
    if _text(row, "category") not in ("", raw):
        raise UserError(f"{where}: emotion and category differ; keep one of the two columns")
    path = row["path"]
    channel = _number(row, "channel", where)
    if channel < 0 or (channel != channel // 1 and not math.isnan(channel)):
        raise UserError(f"{where}: channel {channel:g} is not a whole number from 0")
    meaning = _Meaning(row, where, label_map or {})
    category = meaning.category(raw)
    annotators = meaning.annotators()
    votes = meaning.votes()
    if votes is None and annotators:
        votes = count_votes(annotators) or None
    if not raw and votes:
        category = plurality(votes)
    extra = {k: v for k, v in row.items() if k not in COLUMNS and v not in ("", None)}
    return Utterance(
        utterance_id=_text(row, "utterance_id") or _make_id(path, start, end, channel),
        source=folder / path,
        path=printable(path),
        start=None if math.isnan(start) else start,
        end=None if math.isnan(end) else end,
        channel=None if math.isnan(channel) else int(channel),
        speaker=_text(row, "speaker"),
        gender=_gender(row, where),
        language=_text(row, "language"),
        session=_text(row, "session"),
        text=_text(row, "text"),
        category=category,
        category_raw=raw,
        votes=votes,
        intensity=_intensity(row, where),
        **meaning.dimensions(annotators),
        fold=_text(row, "fold"),
        extra=extra | ({ANNOTATORS: annotators} if annotators else {}),
    )


def _text(row: Mapping, column: str) -> str:
    if column not in row or row[column] is None or row[column] != row[column]:  # NaN
        return ""
    if isinstance(row[column], float) and row[column].is_integer():
        return str(int(row[column]))  # pandas writes whole numbers as floats where some are missing
    return str(row[column]).strip()


def _number(row: Mapping, column: str, where: str) -> float:
    text = _text(row, column)
    if not text or text.lower() == "nan":
        return math.nan
    try:
        value = float(text)
    except ValueError as error:
        raise UserError(f"{where}: {column} {text!r} is not a number") from error
    if math.isinf(value):
        raise UserError(f"{where}: {column} {text!r} is not finite")
    return value


def _gender(row: dict, where: str) -> str:
    text = _text(row, "gender").lower()
    if text in _GENDERS:
        return _GENDERS[text]
    if text in ("other", "unknown", "nonbinary", "nan"):
        return "" if text in ("unknown", "nan") else text
    raise UserError(f"{where}: gender {text!r} is not female, male, other or empty")


def _intensity(row: dict, where: str) -> float:
    text = _text(row, "intensity").lower()
    if text in _STRENGTHS:
        return _STRENGTHS[text]
    value = _number(row, "intensity", where)
    if value < 0 or value > 1:
        raise UserError(f"{where}: intensity {value:g} is outside of 0 to 1; rescale it")
    return value


def _make_id(path: str, start: float, end: float, channel: float) -> str:
    name = os.path.splitext(printable(path))[0]
    if not (math.isnan(start) and math.isnan(end)):
        first = "" if math.isnan(start) else f"{start:.3f}"
        last = "" if math.isnan(end) else f"{end:.3f}"
        name += f"#{first}-{last}"
    return name if math.isnan(channel) else f"{name}#channel{channel:g}"


class _Meaning:
    """What the labels and ratings of one row mean."""

    def __init__(self, row: dict, where: str, label_map: Mapping[str, str]):
        self._row, self._where, self._map = row, where, label_map
        self._corpus = _text(row, "corpus") or _text(row, "dataset")
        low, high = (_number(row, column, where) for column in ("scale_low", "scale_high"))
        self._scale = check_scale(low, high, where)

    def category(self, raw: str) -> str:
        if raw in self._map:
            return self._map[raw]
        try:
            return canonical(raw, self._corpus)
        except UserError as error:
            raise UserError(
                f"{self._where}: {error}; leave it empty for none, or give it a category in "
                "label_map.json beside the manifest"
            ) from error

    def votes(self) -> dict[str, float] | None:
        """Reads votes by label; those that mean no category are left out."""
        given = self._object("votes")
        votes: dict[str, float] = {}
        for label, count in given.items():
            if not isinstance(count, int | float) or not math.isfinite(count) or count < 0:
                raise UserError(f"{self._where}: votes for {label!r} are {count!r}, not a number")
            name = self.category(label)
            if name and count:
                votes[name] = votes.get(name, 0) + count
        return votes if given else None

    def annotators(self) -> dict[str, dict]:
        """Reads raters: a label, or an object with emotion and ratings; ratings to 0..1."""
        raters = {}
        for rater, said in self._object(ANNOTATORS).items():
            answer = said if isinstance(said, dict) else {"emotion": said}
            unknown = sorted(set(answer) - {"emotion", "category", *DIMENSIONS})
            if unknown:
                raise UserError(
                    f"{self._where}: rater {rater!r} has {unknown[0]!r}; known are emotion, "
                    f"{', '.join(DIMENSIONS)}"
                )
            label = _text(answer, "emotion") or _text(answer, "category")
            ratings = self._ratings(answer)
            raters[rater] = ({"category": self.category(label)} if label else {}) | {
                name: value for name, value in ratings.items() if not math.isnan(value)
            }
        return raters

    def dimensions(self, annotators: Mapping[str, Mapping]) -> dict[str, float]:
        """Reads arousal, dominance and valence; without one, the mean of the raters'."""
        values = self._ratings(self._row)
        for name in DIMENSIONS:
            ratings = [answer[name] for answer in annotators.values() if name in answer]
            if math.isnan(values[name]) and ratings:
                values[name] = sum(ratings) / len(ratings)
        rated = not all(math.isnan(value) for value in values.values())
        scale = self._scale if rated else (math.nan, math.nan)
        return values | {"scale_low": scale[0], "scale_high": scale[1]}

    def _ratings(self, row: Mapping) -> dict[str, float]:
        low, high = self._scale
        values = {}
        for name in DIMENSIONS:
            value = _number(row, name, self._where)
            if value < low or value > high:
                raise UserError(
                    f"{self._where}: {name} {value:g} is outside of {low:g} to {high:g}; give the "
                    "corpus's scale in columns scale_low and scale_high"
                )
            values[name] = to_unit(value, low, high)
        return values

    def _object(self, column: str) -> dict:
        """Reads an object, in CSV as JSON text; without the names that have no value."""
        value = self._row.get(column)
        if isinstance(value, str) and value.strip():
            try:
                value = json.loads(value)
            except json.JSONDecodeError as error:
                raise UserError(
                    f'{self._where}: {column} is not JSON such as {{"happy": 3, "sad": 1}}'
                ) from error
        if value in (None, ""):
            return {}
        if not isinstance(value, dict):
            raise UserError(f"{self._where}: {column} is not an object with a value per name")
        # A Parquet struct has all names in every row.
        return {str(key): item for key, item in value.items() if item is not None}
