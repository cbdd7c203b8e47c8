"""What a corpus says of each utterance and of itself, before any audio is read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One utterance as a corpus knows it, before its audio is read.

    Attributes:
      utterance_id: unique within the corpus.
      source: audio file, or [N] float32 at 16 kHz.
      path: how to call the source: relative to the corpus's folder.
      start, end: seconds within the source; None: from the first or to the last sample.
      channel: to take, from 0; None: mean of all.
      category: canonical name or ""; category_raw: as the corpus spells it.
      votes: number of raters by canonical category, or None.
      intensity, arousal, dominance, valence: 0..1, NaN where not known.
      scale_low, scale_high: of the corpus's own ratings of the three dimensions.
      fold: official split; extra: anything else, kept as JSON.
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
    """A file that gives no record, and why."""

    path: str
    reason: str


def short_reason(item: Mapping[str, str]) -> str:
    """Says why a file gives no record, without its name, so that equal reasons are equal text.

    Args:
      item: of `LeftOut`: path and reason.

    Returns:
      The reason; where it starts with the file's whole name, what follows.
    """
    _, found, rest = item["reason"].partition(item["path"])
    return rest.strip() if found else item["reason"]


@dataclass(frozen=True, kw_only=True)
class About:
    """What a reader of the prepared corpus must know.

    Attributes:
      description: one or two sentences.
      citation: BibTeX or plain text; licence: its name; homepage: where to get or ask for it.
      folder: how the folder given as --audio_dir must look.
      num_utterances: of a complete copy; None where the corpus has no one size.
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
    """The books of one preparation, complete once all records are written."""

    left_out: list[LeftOut] = field(default_factory=list)  # by the corpus's own rules
    skipped: list[LeftOut] = field(default_factory=list)  # could not be used
    silent: list[str] = field(default_factory=list)  # every sample is zero; kept
    short: list[str] = field(default_factory=list)  # kept
    num_utterances: int = 0
    fingerprint: str = ""
