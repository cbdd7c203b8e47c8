"""Label files of corpora: missing files, unknown values, and ratings on a scale."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from sersl.core.errors import UserError
from sersl.corpora.labels import DIMENSIONS, to_unit
from sersl.corpora.tables.values import Row
from sersl.corpora.utterance import Ratings
from sersl.corpora.words import UnknownLabels, canonical

_RELEASE = "take the file of the corpus itself"


def missing_tables(folder: Path, files: Iterable[str]) -> list[str]:
    """Lists the label files, as paths relative to a corpus's folder, that are missing."""
    return [file for file in files if not (folder / file).is_file()]


def require_choices(rows: Iterable[Row], column: str, known: Iterable[str]) -> None:
    """Raises UserError with every value of a column that is not a known one."""
    known = list(known)
    found: dict[str, str] = {}
    for row in rows:
        if row.text(column) not in known:
            found.setdefault(row.text(column), row.at(column))
    if found:
        listed = ", ".join(f"{value!r} ({where})" for value, where in found.items())
        words = ", ".join(repr(word) for word in known)
        raise UserError(f"unknown values: {listed}; known are {words}: {_RELEASE}")


def require_emotions(
    rows: Iterable[Row], column: str, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Finds the categories of all labels in a column.

    Args:
      rows: of the table.
      column: with the labels.
      more: label in lower case -> category, before the spellings that are the same everywhere.

    Returns:
      Label -> category.

    Raises:
      UserError: with every label that is unknown.
    """
    unknown, found = UnknownLabels(), dict[str, str]()
    for row in rows:
        raw = row.text(column)
        if raw not in found:
            try:
                found[raw] = (more or {}).get(raw.lower()) or canonical(raw)
            except UserError:
                unknown.add(raw, row.at(column))
    unknown.check(_RELEASE)
    return found


def scaled(low: float, high: float, **ratings: float) -> Ratings:
    """Maps ratings to 0..1, for `Utterance` fields.

    Args:
      low: lowest rating of the corpus's scale.
      high: highest.
      **ratings: by dimension; NaN: not rated.

    Returns:
      The dimensions in 0..1 and the scale; {} without any rating. A rating outside of the scale
      is NaN.
    """
    values = {name: ratings.get(name, math.nan) for name in DIMENSIONS}
    values = {k: v if low <= v <= high else math.nan for k, v in values.items()}
    if all(math.isnan(value) for value in values.values()):
        return {}
    return {
        "arousal": to_unit(values["arousal"], low, high),
        "dominance": to_unit(values["dominance"], low, high),
        "valence": to_unit(values["valence"], low, high),
        "scale_low": low,
        "scale_high": high,
    }


def rater_units(low: float, high: float, **ratings: float) -> dict[str, float]:
    """Maps the ratings of one rater to 0..1; those outside of the scale are left out."""
    return {
        name: round(to_unit(value, low, high), 6)
        for name, value in ratings.items()
        if low <= value <= high
    }


def off_scale(low: float, high: float, **ratings: float) -> dict[str, float]:
    """Finds ratings outside of a scale, to keep them beside the others.

    Args:
      low: lowest rating of the scale.
      high: highest.
      **ratings: by dimension; NaN: not rated.
    """
    return {name: value for name, value in ratings.items() if value < low or value > high}
