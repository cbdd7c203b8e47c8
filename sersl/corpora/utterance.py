"""Utterances and descriptions of corpora, before any audio is read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np

SAME_UTTERANCE = "same utterance as"  # begins the reason of a copy; the other file follows


class Ratings(TypedDict, total=False):
    """The ratings of an `Utterance`: 0..1, and the scale that they were given on."""

    arousal: float
    dominance: float
    valence: float
    scale_low: float
    scale_high: float


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """The labels of one utterance and where its audio is.

    Attributes:
      utterance_id: unique within the corpus.
      source: audio file, or [N] float32 at 16 kHz.
      path: name of the source, relative to the corpus's folder.
      start, end: seconds within the source; None: the first or the last sample.
      channel: index from 0; None: mean of all channels.
      category: canonical name or ""; category_raw: as the corpus spells it.
      votes: number of raters by canonical category, or None.
      intensity, arousal, dominance, valence: 0..1, NaN where unknown.
      scale_low, scale_high: scale of the corpus's own ratings of the three dimensions.
      fold: official split; extra: anything else, stored as JSON.
    """

    utterance_id: str
    source: Path | np.ndarray
    path: str
    start: float | None = None
    end: float | None = None
    channel: int | None = None
    speaker: str = ""
    gender: str = ""
    language: str = ""
    session: str = ""
    text: str = ""
    category: str = ""
    category_raw: str = ""
    votes: Mapping[str, float] | None = None
    intensity: float = math.nan
    arousal: float = math.nan
    dominance: float = math.nan
    valence: float = math.nan
    scale_low: float = math.nan
    scale_high: float = math.nan
    fold: str = ""
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class LeftOut:
    """A file without a record, and the reason."""

    path: str
    reason: str


def short_reason(item: Mapping[str, str]) -> str:
    """Gives the reason of a `LeftOut` without names of files, so that reasons can be counted."""
    if item["reason"].startswith(SAME_UTTERANCE):
        return f"{SAME_UTTERANCE} another file"
    _, found, rest = item["reason"].partition(item["path"])
    return rest.strip() if found else item["reason"]


@dataclass(frozen=True, kw_only=True)
class About:
    """Description of a corpus.

    Attributes:
      description: one or two sentences.
      citation: BibTeX or plain text.
      licence: its name.
      homepage: URL of the download or of the request form.
      folder: layout that --audio_dir must have.
      num_utterances: in a complete copy; None if copies differ.
      how_to_get: a clause on what to sign and whom to ask; "": free at the homepage.
    """

    description: str
    citation: str
    licence: str
    homepage: str
    folder: str
    num_utterances: int | None = None
    how_to_get: str = ""


@dataclass
class Account:
    """What one preparation counted, complete once all records are written."""

    left_out: list[LeftOut] = field(default_factory=list)  # by the rules of the corpus
    skipped: list[LeftOut] = field(default_factory=list)  # unusable audio
    silent: list[str] = field(default_factory=list)  # every sample is zero; kept
    short: list[str] = field(default_factory=list)  # kept
    notes: list[str] = field(default_factory=list)  # sentences for the user, e.g. unused columns
    num_utterances: int = 0
    fingerprint: str = ""
