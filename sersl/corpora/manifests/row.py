"""One row of a manifest as an utterance: every value checked, every label by name."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sersl.audio.decode import probe
from sersl.core.errors import UserError
from sersl.corpora.labels import DIMENSIONS, to_unit
from sersl.corpora.listing import printable
from sersl.corpora.manifests.columns import COLUMNS, SAMPLES
from sersl.corpora.manifests.label_map import Labels
from sersl.corpora.ratings import ANNOTATORS, SCALES, check_scale, count_votes, plurality
from sersl.corpora.tables.values import Row, clean
from sersl.corpora.utterance import Ratings, Utterance

_GENDERS = {
    **dict.fromkeys(("f", "female", "w", "woman"), "female"),
    **dict.fromkeys(("m", "male", "man"), "male"),
    **dict.fromkeys(("", "unknown"), ""),
    **{name: name for name in ("other", "nonbinary")},
}
# Strengths in words, as corpora have them, evenly over 0..1.
_STRENGTHS = {"low": 0.0, "normal": 0.0, "medium": 0.5, "high": 1.0, "strong": 1.0}
_MOST_CHANNELS = 4096

Scales = Mapping[str, tuple[float, float]]


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
      The utterance. Without a label, the category with most votes; without votes, those of the
      raters.

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
    meaning = _Meaning(row, labels or Labels({}), scales or {})
    category = meaning.category(raw, row.at("emotion" if "emotion" in row else "category"))
    annotators = meaning.annotators()
    votes = meaning.votes()
    if votes is None and annotators:
        votes = count_votes(annotators) or None
    if not raw and votes:
        category = plurality(votes)
    used = {*COLUMNS, *SAMPLES}
    extra = {k: v for k, v in row.values.items() if k not in used and v != ""}
    return Utterance(
        utterance_id=row.name("utterance_id") or _make_id(path, start, end, channel),
        source=folder / path,
        path=printable(path),
        start=None if math.isnan(start) else start,
        end=None if math.isnan(end) else end,
        channel=channel,
        speaker=row.name("speaker"),
        gender=_gender(row),
        language=row.name("language"),
        session=row.name("session"),
        text=row.text("text"),
        category=category,
        category_raw=raw,
        votes=votes,
        intensity=meaning.intensity(),
        **meaning.dimensions(annotators),
        fold=row.name("fold"),
        extra=extra | meaning.extra() | ({ANNOTATORS: annotators} if annotators else {}),
    )


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
    text = row.name("gender").lower()
    if text not in _GENDERS:
        raise UserError(f"{row.at('gender')}: {text!r} is not female, male, other or empty")
    return _GENDERS[text]


def _make_id(path: str, start: float, end: float, channel: int | None) -> str:
    name = os.path.splitext(printable(path))[0]
    if not (math.isnan(start) and math.isnan(end)):
        first = "" if math.isnan(start) else f"{start:.3f}"
        last = "" if math.isnan(end) else f"{end:.3f}"
        name += f"#{first}-{last}"
    return name if channel is None else f"{name}#channel{channel}"


class _Meaning:
    """Reads the labels and ratings of one row."""

    def __init__(self, row: Row, labels: Labels, scales: Scales):
        self._row, self._labels = row, labels
        self._corpus = row.name("corpus") or row.name("dataset")
        low, high = row.number("scale_low"), row.number("scale_high")
        given = sorted(set(scales) & set(DIMENSIONS))
        if given and not math.isnan(low):
            raise UserError(
                f"{row.at('scale_low')}: the scale is given here and as --scale {given[0]}=...; "
                "leave one"
            )
        scale = check_scale(low, high, row.at("scale_low"))
        self._scales = {
            "intensity": SCALES["unit"],
            **dict.fromkeys(DIMENSIONS, scale),
            **scales,
        }

    def category(self, raw: str, where: str) -> str:
        return self._labels.category(raw, where, corpus=self._corpus, emobox="dataset" in self._row)

    def votes(self) -> dict[str, float] | None:
        """Reads votes by label; those that mean no category are left out."""
        given = self._row.mapping("votes")
        where = self._row.at("votes")
        votes: dict[str, float] = {}
        for label, count in given.items():
            number = isinstance(count, int | float) and not isinstance(count, bool)
            if not number or count < 0:
                raise UserError(f"{where}: votes for {label!r} are {count!r}, not a number")
            name = self.category(label, where)
            if name and count:
                votes[name] = votes.get(name, 0) + count
        return votes if given else None

    def annotators(self) -> dict[str, dict[str, Any]]:
        """Reads raters: a label, or an object with emotion and ratings; ratings to 0..1."""
        where = self._row.at(ANNOTATORS)
        raters: dict[str, dict[str, Any]] = {}
        for rater, given in self._row.mapping(ANNOTATORS).items():
            values = given if isinstance(given, dict) else {"emotion": given}
            unknown = sorted(set(values) - {"emotion", "category", *DIMENSIONS})
            if unknown:
                raise UserError(
                    f"{where}: rater {rater!r} has {unknown[0]!r}; known are emotion, "
                    f"{', '.join(DIMENSIONS)}"
                )
            cleaned = {name: clean(value, where) for name, value in values.items()}
            answer = Row(f"{where}, rater {rater!r}", cleaned)
            label = answer.name("emotion") or answer.name("category")
            ratings = self._ratings(answer)
            raters[rater] = ({"category": self.category(label, where)} if label else {}) | {
                name: value for name, value in ratings.items() if not math.isnan(value)
            }
        return raters

    def dimensions(self, annotators: Mapping[str, Mapping[str, Any]]) -> Ratings:
        """Reads arousal, dominance and valence; without one, the mean of the raters'."""
        values = self._ratings(self._row)
        for name in DIMENSIONS:
            ratings = [answer[name] for answer in annotators.values() if name in answer]
            if math.isnan(values[name]) and ratings:
                values[name] = sum(ratings) / len(ratings)
        # One scale is stored: none where the rated dimensions have different ones.
        used = {self._scales[name] for name in DIMENSIONS if not math.isnan(values[name])}
        low, high = used.pop() if len(used) == 1 else (math.nan, math.nan)
        return {
            "arousal": values["arousal"],
            "dominance": values["dominance"],
            "valence": values["valence"],
            "scale_low": low,
            "scale_high": high,
        }

    def extra(self) -> dict[str, Any]:
        """Gives the scales of the rated dimensions where they differ."""
        rated = {name: self._scales[name] for name in DIMENSIONS if self._row.has(name)}
        return {"scales": {k: list(v) for k, v in rated.items()}} if _differ(rated) else {}

    def intensity(self) -> float:
        """Reads the strength, 0..1 or in words."""
        if "intensity" in self._row:
            text = self._row.text("intensity").lower()
            if text in _STRENGTHS:
                return _STRENGTHS[text]
        return self._unit(self._row, "intensity", "rescale it, or give --scale intensity=LOW..HIGH")

    def _ratings(self, row: Row) -> dict[str, float]:
        remedy = "give the corpus's scale with --scale, or in columns scale_low and scale_high"
        return {name: self._unit(row, name, remedy) for name in DIMENSIONS}

    def _unit(self, row: Row, column: str, remedy: str) -> float:
        low, high = self._scales[column]
        value = row.number(column)
        if value < low or value > high:
            raise UserError(
                f"{row.at(column)}: {value:g} is outside of {low:g} to {high:g}; {remedy}"
            )
        return to_unit(value, low, high)


def _differ(scales: Scales) -> bool:
    return len(set(scales.values())) > 1
