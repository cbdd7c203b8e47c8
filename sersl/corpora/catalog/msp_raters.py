"""Answers of single raters as the MSP lab's label files have them (MSP-Podcast, WHiSER)."""

import re
from collections.abc import Mapping
from typing import Any

from sersl.core.errors import UserError
from sersl.corpora.catalog.label_files import rater_units
from sersl.corpora.ratings import SCALES, SECONDARY
from sersl.corpora.tables.values import Row, to_number
from sersl.corpora.words import known_category

FIELDS = {"EmoAct": "arousal", "EmoVal": "valence", "EmoDom": "dominance"}
# A letter per consensus; X: the raters did not agree.
LETTERS = {
    "A": "angry",
    "S": "sad",
    "H": "happy",
    "U": "surprise",
    "F": "fear",
    "D": "disgust",
    "C": "contempt",
    "N": "neutral",
    "O": "other",
    "X": "",
    "": "",
}
GENDERS = {"Female": "female", "Male": "male", "Unknown": "", "": ""}
_SCALE = SCALES["msp_podcast"]
_PRIMARY = {"angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral"}
# The rest of the list that raters choose secondary emotions from; "" is "other".
_SECONDARY = {"amused", "depressed", "concerned", "disappointed", "confused", "annoyed"}
_DIMENSIONS = {"A": "arousal", "V": "valence", "D": "dominance"}
# WORKER00000001; Neutral; Neutral,Concerned; A:4.0; V:4.0; D:4.0;
_DETAIL = re.compile(r"(WORKER\w+);\s*([^;]*);\s*(?:([^;:]*);)?.*?((?:\s*[AVD]:[\d.]+;)*)")


def read_rater(row: Row) -> tuple[str, dict[str, Any]]:
    """Reads the labels of one rater, in one value (`EmoDetail`) or with a column each.

    Args:
      row: of labels_detailed.csv.

    Returns:
      (rater, answer), see `read_detail`; the rater is "" where the table does not name raters.

    Raises:
      UserError: the row has neither form.
    """
    if "EmoDetail" in row:
        return read_detail(row.text("EmoDetail"), row.at("EmoDetail"))
    if "EmoClass_Major" not in row:
        raise UserError(
            f"{row.where}: there is neither EmoDetail nor EmoClass_Major: take the release's file"
        )
    ratings = {name: row.number(key) for key, name in FIELDS.items() if row.has(key)}
    rater = row.name("Workers") or row.name("WorkerID")
    chosen, more = row.text("EmoClass_Major"), row.text("EmoClass_Second")
    return rater, _answer(chosen, more, ratings)


def read_detail(text: str, where: str) -> tuple[str, dict[str, Any]]:
    """Reads one rater's line: WORKER; primary; secondary emotions; A:4; V:4; D:4;.

    Args:
      text: the line.
      where: it is, for messages.

    Returns:
      (rater, answer): the answer has the canonical category, the dimensions in 0..1 and, where
      the rater gave them, the secondary emotions as words.

    Raises:
      UserError: the line has another form.
    """
    match = _DETAIL.fullmatch(text.strip())
    if match is None:
        raise UserError(f"{where}: {text!r} is not WORKER; emotion; ...; A:4; ...")
    rater, chosen, more, numbers = match.groups()
    pairs = (part.strip().split(":") for part in numbers.split(";") if part.strip())
    ratings = {_DIMENSIONS[letter]: to_number(value, where) for letter, value in pairs}
    return rater, _answer(chosen, more or "", ratings)


def _answer(chosen: str, more: str, ratings: Mapping[str, float]) -> dict[str, Any]:
    """Raters may write in a word of their own, which is "other"."""
    word = chosen.strip().lower()
    answer: dict[str, Any] = {"category": word if word in _PRIMARY else "other"}
    secondary = [_secondary(part) for part in more.split(",") if part.strip()]
    if secondary:
        answer[SECONDARY] = list(dict.fromkeys(secondary))
    return answer | rater_units(*_SCALE, **ratings)


def _secondary(word: str) -> str:
    own = word.strip().lower()
    return own if own in _SECONDARY else known_category(own) or "other"
