"""Emotion labels by name: canonical categories, spellings, views for training, and scales.

Everything is by name, because projects disagree on the order of classes and of dimensions
(s3prl: neutral first; emotion2vec: angry first; IEMOCAP files: valence first).
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from sersl.core.errors import UserError, unknown_name
from sersl.corpora.tables.values import is_missing

CANONICAL = (
    "angry",
    "happy",
    "sad",
    "neutral",
    "fear",
    "disgust",
    "surprise",
    "contempt",
    "calm",
    "boredom",
    "excited",
    "frustrated",
    "other",
)
DIMENSIONS = ("arousal", "dominance", "valence")

# Spellings seen in corpora and projects, one meaning each. Single letters are left out: "A" is
# anger in MSP-Podcast and fear (Angst) in EMO-DB; they are in CORPUS_CODES, by corpus.
_SPELLINGS = {
    "angry": "anger ang 生气 愤怒",
    "happy": "happiness hap joy joyful joyous 开心 高兴 快乐",
    "sad": "sadness 难过 悲伤 伤心",
    "neutral": "neutrality neu 中立 中性",
    "fear": "fearful fea afraid scared 恐惧 害怕",
    "disgust": "disgusted dis 厌恶",
    "surprise": "surprised surprize sur ps pleasant_surprise pleasant_surprised 吃惊 惊讶 惊奇",
    "contempt": "contemptuous con",
    "calm": "calmness",
    "boredom": "bored boredem bor",  # "boredem" is EmoBox's spelling of EMO-DB
    "excited": "excitement excite exc",
    "frustrated": "frustration fru",
    "other": "others oth 其他",
}
_MEANINGS = {name: name for name in CANONICAL} | {
    spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings.split()
}
# Labels for "raters did not agree" or "not labelled", besides the marks of missing values.
_NO_CATEGORY = ("xxx", "no_agreement", "unknown", "unk", "<unk>", "未知")
_LISTED = 40  # unknown labels in a message

# Codes that mean something only within one corpus: corpus -> code -> category, "" for none.
CORPUS_CODES: dict[str, dict[str, str]] = {
    corpus: dict(pair.split("=") for pair in pairs.split())
    for corpus, pairs in {
        "aesdd": "a=angry d=disgust f=fear h=happy s=sad",
        "cremad": "a=angry d=disgust f=fear h=happy n=neutral s=sad",
        # the initials of the German words, but E for Ekel
        "emodb": "w=angry l=boredom e=disgust a=fear f=happy t=sad n=neutral",
        "emovo": "gio=happy pau=fear rab=angry sor=surprise tri=sad",  # Italian
        "mspimprov": "a=angry h=happy n=neutral s=sad o=other x=",
        "msppodcast": "a=angry s=sad h=happy u=surprise f=fear d=disgust c=contempt n=neutral "
        "o=other x=",
        "savee": "a=angry d=disgust f=fear h=happy n=neutral sa=sad su=surprise",
    }.items()
}


def canonical(raw: str, corpus: str = "") -> str:
    """Finds the canonical category of a label.

    Args:
      raw: a label in any case, e.g. "Anger", "hap", "fearful", or a mark such as "xxx".
      corpus: its codes are tried first, e.g. "emodb" or "MSP-Podcast"; "" or a corpus without
        codes: only spellings that mean the same everywhere.

    Returns:
      One of `CANONICAL`, or "" for no agreement or no label.

    Raises:
      UserError: the label is unknown.
    """
    word = re.sub(r"[\s_-]+", "_", raw.strip().lower())
    codes = re.sub(r"[^a-z0-9]", "", corpus.lower())
    if codes in CORPUS_CODES and word in CORPUS_CODES[codes]:
        return CORPUS_CODES[codes][word]
    if word in _NO_CATEGORY or is_missing(raw):
        return ""
    if word not in _MEANINGS:
        # Where no spelling is near, the list of categories is more useful than that of spellings.
        near = difflib.get_close_matches(raw, _MEANINGS, n=1)
        raise unknown_name("emotion label", raw, _MEANINGS if near else CANONICAL)
    return _MEANINGS[word]


class UnknownLabels:
    """Gathers labels without a known meaning, to report all of them in one message."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}  # label -> (times, first place)

    def add(self, label: str, where: str) -> None:
        """Notes a label and where it is."""
        count, first = self._found.get(label, (0, where))
        self._found[label] = (count + 1, first)

    def first(self) -> str:
        """Gives the first unknown label; "" where there is none."""
        return next(iter(self._found), "")

    def check(self, remedy: str) -> None:
        """Raises UserError with all labels, their number, first place and what to do, if any."""
        if not self._found:
            return
        texts = []
        for label, (count, first) in list(self._found.items())[:_LISTED]:
            near = difflib.get_close_matches(label.lower(), _MEANINGS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            times = "" if count == 1 else f", {count} times"
            texts.append(f"{label!r} ({first}{times}{hint})")
        more = len(self._found) - len(texts)
        texts += [f"and {more} more"] if more else []
        number = "" if len(self._found) == 1 else "s"
        raise UserError(
            f"unknown emotion label{number} {', '.join(texts)}: {remedy}; categories are "
            f"{', '.join(CANONICAL)}"
        )


def _named(*names: str, **merged: str) -> dict[str, str]:
    return {name: name for name in names} | merged


# View -> canonical category -> class. The order of first appearance is the order of the classes.
VIEWS: dict[str, dict[str, str]] = {
    # IEMOCAP as SUPERB and most papers use it: excited counts as happy
    "4class": _named("angry", "happy", "sad", "neutral", excited="happy"),
    # CREMA-D
    "6class": _named("angry", "happy", "sad", "neutral", "fear", "disgust"),
    # MELD
    "7class": _named("angry", "happy", "sad", "neutral", "fear", "disgust", "surprise"),
    # MSP-Podcast challenges: "other" and "no agreement" are left out
    "8class_msp": _named(
        "angry", "happy", "sad", "neutral", "fear", "disgust", "surprise", "contempt"
    ),
    "8class_ravdess": _named(
        "angry", "happy", "sad", "neutral", "fear", "disgust", "surprise", "calm"
    ),
    # emotion2vec+ in its order; its ninth class is below
    "e2v9": _named(
        *("angry", "disgust", "fear", "happy", "neutral", "other", "sad", "surprise"),
        excited="happy",
    ),
}
# Classes of a view without a category: they occur in imported models only and are never trained.
_EMPTY_CLASSES = {"e2v9": ("unknown",)}


@dataclass(frozen=True)
class LabelView:
    """The classes of one training run, and the canonical categories that belong to each.

    Attributes:
      names: classes in the order of the model's scores; empty: no categories are predicted.
      classes: (canonical category, class) pairs; empty: every class is its own category.
    """

    names: tuple[str, ...]
    classes: tuple[tuple[str, str], ...] = ()

    def indices(self, categories: np.ndarray) -> np.ndarray:
        """Turns categories into positions within `names`.

        Args:
          categories: [N] canonical names, "" where there is none.

        Returns:
          [N] int32; -1 where the category is "" or belongs to no class of this view.
        """
        pairs = self.classes or tuple((name, name) for name in self.names)
        positions = {category: self.names.index(name) for category, name in pairs}
        unique, inverse = np.unique(np.asarray(categories, dtype=str), return_inverse=True)
        # In a batch, -1 means "no label".
        table = np.array([positions.get(name, -1) for name in unique.tolist()], np.int32)
        return table[inverse.reshape(-1)] if len(table) else np.zeros(0, np.int32)


def make_view(
    name: str, index_categories: Iterable[str] | Mapping[str, Iterable[str]]
) -> LabelView:
    """Makes the view of a configuration.

    Args:
      name: a key of `VIEWS`, "corpus" (the categories present, in canonical order), "shared"
        (those that every corpus has) or "none".
      index_categories: the canonical categories of every utterance, "" where there is none; or
        corpus -> its categories, which "shared" needs.

    Raises:
      UserError: the name is unknown, or no utterance, or for "shared" no two corpora, give a
        category.
    """
    if name == "none":
        return LabelView(())
    if name in ("corpus", "shared"):
        if not isinstance(index_categories, Mapping):
            if name == "shared":
                raise UserError(
                    "labels.view='shared' is for several corpora: set it to 'corpus', or name "
                    "more corpora in data.corpora"
                )
            index_categories = {"": index_categories}
        sets = [set(np.unique(np.asarray(list(c), dtype=str))) for c in index_categories.values()]
        present = set.intersection(*sets) if name == "shared" else set().union(*sets)
        names = tuple(category for category in CANONICAL if category in present)
        if not names and name == "shared":
            raise UserError(
                f"{', '.join(index_categories)} have no emotion category in common: choose "
                "another labels.view"
            )
        if not names:
            raise UserError(
                "no utterance has an emotion category: set labels.view to 'none', or prepare the "
                "corpus with an emotion column"
            )
        return LabelView(names)
    if name not in VIEWS:
        raise unknown_name("label view", name, (*VIEWS, "corpus", "shared", "none"))
    mapping = VIEWS[name]
    extra = _EMPTY_CLASSES.get(name, ())
    return LabelView((*dict.fromkeys(mapping.values()), *extra), tuple(mapping.items()))


def to_unit(value: float, low: float, high: float) -> float:
    """Maps a rating on the scale low..high to 0..1; NaN stays NaN."""
    return (value - low) / (high - low)


def soft_label_table(votes: np.ndarray, view: LabelView) -> np.ndarray:
    """Turns the votes of a whole index into distributions over classes.

    Args:
      votes: [N] JSON objects canonical name -> number, "" without votes.
      view: the classes.

    Returns:
      [N, C] float32, rows that sum to 1; NaN where no vote belongs to a class.
    """
    unique, inverse = np.unique(np.asarray(votes, dtype=str), return_inverse=True)
    table = np.full((len(unique), len(view.names)), np.nan, np.float32)
    for number, text in enumerate(unique.tolist()):
        shares = soft_labels(json.loads(text), view) if text else np.zeros(0)
        if shares.any():
            table[number] = shares
    return table[inverse.reshape(-1)]


def soft_labels(votes: Mapping[str, float], view: LabelView) -> np.ndarray:
    """Turns rater votes into a distribution over the classes of a view.

    Args:
      votes: number of votes by canonical category.
      view: the classes.

    Returns:
      [C] float32 that sums to 1; all zero where no vote belongs to a class.
    """
    shares = np.zeros(len(view.names), np.float32)
    positions = view.indices(np.array(list(votes), dtype=str))
    for position, count in zip(positions, votes.values(), strict=True):
        if position >= 0:
            shares[position] += count
    total = shares.sum()
    return shares / total if total > 0 else shares
