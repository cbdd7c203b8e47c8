"""The labels and ratings of one row of a manifest."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sersl.core.errors import UserError
from sersl.core.files import parse_value
from sersl.corpora.labels import DIMENSIONS, to_unit
from sersl.corpora.manifests.columns import own_dimensions
from sersl.corpora.manifests.label_map import Labels
from sersl.corpora.ratings import (
    ANNOTATORS,
    SCALES,
    SECONDARY,
    check_scale,
    count_votes,
    plurality,
)
from sersl.corpora.tables.values import Row, check_printable, clean, is_missing
from sersl.corpora.utterance import Ratings

# Strengths in words, as corpora have them, evenly over 0..1.
_STRENGTHS = {"low": 0.0, "normal": 0.0, "medium": 0.5, "high": 1.0, "strong": 1.0}
# Keys of `extra` that have a meaning, see `sersl.corpora.label_columns`.
EXTRA_KEYS = (
    *(ANNOTATORS, "dimensions", "scales", "categories", "categories_raw", "votes_raw", "folds"),
)

Scales = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of an utterance, as the fields of `sersl.corpora.utterance.Utterance`."""

    category: str
    category_raw: str
    votes: dict[str, float] | None
    intensity: float
    ratings: Ratings
    extra: dict[str, Any]


class RowLabels:
    """Reads the labels and ratings of one row."""

    def __init__(self, row: Row, labels: Labels, scales: Scales):
        """Finds the scale of every dimension.

        Args:
          row: with our names of columns.
          labels: meaning of the labels.
          scales: column -> lowest and highest rating; names that are not known ones are dimensions.

        Raises:
          UserError: a scale is given twice, or is not one.
        """
        self._row, self._labels = row, labels
        self._corpus = row.name("corpus") or row.name("dataset")
        self._own = own_dimensions(scales)
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

    def read(self, raw: str) -> Known:
        """Reads all of them.

        Args:
          raw: the one label of the row; "" where it has none.

        Returns:
          What is known. The category is the label's; without one that of a list with one word;
          without a list the one with most votes; without votes, with most of the raters'.

        Raises:
          UserError: a value that is not what its column takes.
        """
        row = self._row
        category = self._category(raw, row.at("emotion" if "emotion" in row else "category"))
        annotators = self._annotators()
        spelt = self._votes()
        votes, meant = (None, {}) if spelt is None else self._meant(spelt)
        if votes is None and annotators:
            votes = count_votes(annotators) or None
        extra: dict[str, Any] = {ANNOTATORS: annotators} if annotators else {}
        if set(meant) != set(votes or ()) and spelt is not None:
            extra["votes_raw"] = meant
        listed = self._listed()
        if listed is not None:
            named = {word: self._category(word, row.at("categories")) for word in listed}
            listed = [word for word, name in named.items() if name]
            words = list(dict.fromkeys(filter(None, named.values())))
            extra["categories"] = words
            if words != listed:
                extra["categories_raw"] = listed
            if not raw:
                raw, category = ";".join(listed), words[0] if len(words) == 1 else ""
        elif not raw and votes:
            category = plurality(votes)
        return Known(
            category=category,
            category_raw=raw,
            votes=votes,
            intensity=self._intensity(),
            ratings=self._ratings(annotators, extra),
            extra=extra,
        )

    def _category(self, raw: str, where: str) -> str:
        return self._labels.category(raw, where, corpus=self._corpus, emobox="dataset" in self._row)

    def _listed(self) -> list[str] | None:
        """Reads the words of the column `categories`; None where it is empty."""
        value, where = self._row.values.get("categories", ""), self._row.at("categories")
        if isinstance(value, str) and value.strip().startswith("["):
            try:
                value = parse_value(value)
            except ValueError as error:
                raise UserError(f'{where}: not a JSON list such as ["happy"] ({error})') from error
        if isinstance(value, dict):
            raise UserError(f"{where}: an object; numbers of votes belong into the column votes")
        if not isinstance(value, list):
            text = self._row.name("categories")
            if not text:
                return None
            value = re.split(r"[;|]", text)
        words = []
        for item in value:
            if isinstance(item, list | dict | bool):
                raise UserError(f"{where}: {item!r} is not a word")
            word = "" if item is None else str(item).strip()
            check_printable(word, where)
            if not is_missing(word):
                words.append(word)
        return list(dict.fromkeys(words))

    def _votes(self) -> dict[str, float] | None:
        """Reads votes by label as it is spelt; None where the column is empty."""
        given, where = self._row.mapping("votes"), self._row.at("votes")
        for label, count in given.items():
            number = isinstance(count, int | float) and not isinstance(count, bool)
            if not number or count < 0:
                raise UserError(f"{where}: votes for {label!r} are {count!r}, not a number")
        return {label: count for label, count in given.items() if count} if given else None

    def _meant(self, spelt: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
        """Sums up votes by category, and gives those that mean one as they are spelt."""
        where = self._row.at("votes")
        votes: dict[str, float] = {}
        meant: dict[str, float] = {}
        for label, count in spelt.items():
            name = self._category(label, where)
            if name:
                votes[name] = votes.get(name, 0) + count
                meant[label] = count
        return votes, meant

    def _annotators(self) -> dict[str, dict[str, Any]]:
        """Reads raters: a label, or an object with emotion and ratings; ratings to 0..1."""
        where = self._row.at(ANNOTATORS)
        dimensions = (*DIMENSIONS, *self._own)
        raters: dict[str, dict[str, Any]] = {}
        for rater, given in self._row.mapping(ANNOTATORS).items():
            values = given if isinstance(given, dict) else {"emotion": given}
            unknown = sorted(set(values) - {"emotion", "category", SECONDARY, *dimensions})
            if unknown:
                raise UserError(
                    f"{where}: rater {rater!r} has {unknown[0]!r}; known are emotion, {SECONDARY}, "
                    f"{', '.join(dimensions)}"
                )
            more = self._secondary(values.get(SECONDARY, []), f"{where}, rater {rater!r}")
            cleaned = {
                name: clean(value, where) for name, value in values.items() if name != SECONDARY
            }
            answer = Row(f"{where}, rater {rater!r}", cleaned)
            label = answer.name("emotion") or answer.name("category")
            ratings = {name: self._rating(answer, name) for name in dimensions}
            raters[rater] = ({"category": self._category(label, where)} if label else {}) | {
                name: value for name, value in ratings.items() if not math.isnan(value)
            }
            if more:
                raters[rater][SECONDARY] = more
        return raters

    def _secondary(self, given: Any, where: str) -> list[str]:
        """Reads the other emotions that a rater named: a word or a list of words."""
        listed = given if isinstance(given, list) else [given]
        if not all(isinstance(word, str) for word in listed):
            raise UserError(f"{where}: {SECONDARY} {given!r} is not a list of words")
        words = (self._category(word.strip(), where) for word in listed if not is_missing(word))
        return list(dict.fromkeys(filter(None, words)))

    def _ratings(
        self, annotators: Mapping[str, Mapping[str, Any]], extra: dict[str, Any]
    ) -> Ratings:
        """Reads the dimensions, without one the mean of the raters'; own ones go into `extra`."""
        values = {name: self._rating(self._row, name) for name in (*DIMENSIONS, *self._own)}
        for name in values:
            ratings = [answer[name] for answer in annotators.values() if name in answer]
            if math.isnan(values[name]) and ratings:
                values[name] = sum(ratings) / len(ratings)
        own = {name: values[name] for name in self._own if not math.isnan(values[name])}
        if own:
            extra["dimensions"] = own
        # One scale is stored beside the known dimensions: none where they have different ones.
        rated = {name: self._scales[name] for name in DIMENSIONS if self._row.has(name)}
        listed = {name: self._scales[name] for name in own}
        if len(set(rated.values())) > 1:
            listed |= rated
        if listed:
            extra["scales"] = {name: list(scale) for name, scale in listed.items()}
        used = {self._scales[name] for name in DIMENSIONS if not math.isnan(values[name])}
        low, high = used.pop() if len(used) == 1 else (math.nan, math.nan)
        return {
            "arousal": values["arousal"],
            "dominance": values["dominance"],
            "valence": values["valence"],
            "scale_low": low,
            "scale_high": high,
        }

    def _intensity(self) -> float:
        """Reads the strength, 0..1 or in words."""
        if "intensity" in self._row:
            text = self._row.text("intensity").lower()
            if text in _STRENGTHS:
                return _STRENGTHS[text]
        return self._unit(self._row, "intensity", "rescale it, or give --scale intensity=LOW..HIGH")

    def _rating(self, row: Row, name: str) -> float:
        remedy = "give the corpus's scale with --scale, or in columns scale_low and scale_high"
        if name in self._own:
            remedy = f"correct it, or --scale {name}=LOW..HIGH"
        return self._unit(row, name, remedy)

    def _unit(self, row: Row, column: str, remedy: str) -> float:
        low, high = self._scales[column]
        value = row.number(column)
        if value < low or value > high:
            raise UserError(
                f"{row.at(column)}: {value:g} is outside of {low:g} to {high:g}; {remedy}"
            )
        return to_unit(value, low, high)
