"""Words for emotions: the known categories and their spellings, and words of one's own.

Known spellings meet in one category (joy, happiness -> happy); any other word is a category of its
own.
"""

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable

from sersl.core.cells import to_cell
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
MOST_CATEGORIES = 1000  # of a corpus or a run; more are probably ids
_MOST_CHARACTERS = 100  # of a category; longer ones are probably transcripts

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


def known_category(raw: str, corpus: str = "") -> str | None:
    """Finds the category of a known spelling.

    Args:
      raw: a label in any case, e.g. "Anger", "hap", "fearful", or a mark such as "xxx".
      corpus: its codes are tried first, e.g. "emodb" or "MSP-Podcast"; "" or a corpus without
        codes: only spellings that mean the same everywhere.

    Returns:
      One of `CANONICAL`; "" for no agreement or no label; None for any other word.
    """
    word = re.sub(r"[\s_-]+", "_", raw.strip().lower())
    codes = re.sub(r"[^a-z0-9]", "", corpus.lower())
    if codes in CORPUS_CODES and word in CORPUS_CODES[codes]:
        return CORPUS_CODES[codes][word]
    if word in _NO_CATEGORY or is_missing(raw):
        return ""
    return _MEANINGS.get(word)


def canonical(raw: str, corpus: str = "") -> str:
    """Finds the known category of a label, as `known_category`; raises UserError without one."""
    found = known_category(raw, corpus)
    if found is None:
        # Where no spelling is near, the list of categories is more useful than that of spellings.
        near = difflib.get_close_matches(raw, _MEANINGS, n=1)
        raise unknown_name("emotion label", raw, _MEANINGS if near else CANONICAL)
    return found


def category_of(raw: str, corpus: str = "") -> str:
    """Finds the category of a label: a known one, "" for none, or the word itself (NFC)."""
    found = known_category(raw, corpus)
    return unicodedata.normalize("NFC", raw.strip()) if found is None else found


def near_spelling(word: str) -> str:
    """Finds the known spelling that is most like a word; "" where none is."""
    return next(iter(difflib.get_close_matches(word.lower(), _MEANINGS, n=1)), "")


def order_categories(words: Iterable[str]) -> tuple[str, ...]:
    """Orders categories: the known ones as in `CANONICAL`, then the others, numbers by size."""
    given = set(words)
    own = sorted(given - set(CANONICAL), key=_own_order)
    return (*(name for name in CANONICAL if name in given), *own)


def _own_order(word: str) -> tuple[bool, float, str, str]:
    number = re.fullmatch(r"[+-]?\d{1,9}(\.\d{1,9})?", word, re.ASCII)
    return not number, float(word) if number else 0.0, word.casefold(), word


def check_category(word: str, where: str, *, remedy: str) -> None:
    """Checks that a word can be the name of a category.

    Args:
      word: not empty.
      where: it is, for the message.
      remedy: how to give it another name.

    Raises:
      UserError: it is long, lists several words, or could be taken for a path or a formula.
    """
    # Names of levels, such as -1, are numbers; in CSV files they are written as text.
    formula = to_cell(word) != word and not re.fullmatch(r"[+-]?\d+(\.\d+)?", word, re.ASCII)
    if len(word) > _MOST_CHARACTERS:
        problem = f"has more than {_MOST_CHARACTERS} characters"
    elif ";" in word or "|" in word:
        problem = (
            "lists several words, which a column 'categories' may have (--columns categories=NAME)"
        )
    elif "/" in word or "\\" in word or word in (".", ".."):
        problem = "could be taken for a path"
    elif formula:
        problem = "could be taken for a formula by a spreadsheet"
    else:
        return
    raise UserError(
        f"{where}: {word[:80]!r} cannot be the name of a category: it {problem}: {remedy}"
    )


class OwnWords:
    """Gathers the categories that are not known ones, and checks them together."""

    def __init__(self, *, remedy: str):
        """Starts without words; `remedy` is how to give a label another name, for messages."""
        self._remedy = remedy
        self.counts: dict[str, int] = {}
        self._forms: dict[str, tuple[str, str]] = {}  # folded -> (spelling, first place)
        self._others: dict[str, tuple[str, str]] = {}  # folded -> (other spelling, its place)

    def add(self, raw: str, where: str) -> str:
        """Adds a label that is not a known spelling, and gives its category.

        Args:
          raw: the label, without spaces around it.
          where: it is, for messages.

        Another spelling, which differs only in case, spaces or Unicode normalization, counts as
        the first one until `check`.

        Raises:
          UserError: see `check_category`; or there are more than `MOST_CATEGORIES`.
        """
        folded = fold_spelling(raw)
        form, _ = self._forms.setdefault(folded, (raw, where))
        if form != raw:
            self._others.setdefault(folded, (raw, where))
            raw = form
        word = unicodedata.normalize("NFC", raw)
        if word not in self.counts:
            check_category(word, where, remedy=self._remedy)
            if len(self.counts) >= MOST_CATEGORIES:
                raise _too_many(where)
        self.counts[word] = self.counts.get(word, 0) + 1
        return word

    def check(self) -> None:
        """Refuses words that are spelled in several ways; the sentence has a map for all of them.

        Raises:
          UserError: there are such words.
        """
        if not self._others:
            return
        words = {folded: self._forms[folded][0] for folded in self._others}
        given = json.dumps(words, ensure_ascii=False)
        remedy = f"map them in label_map.json beside the list, as {given}"
        folded, (other, where) = next(iter(self._others.items()))
        raise _same_word(*self._forms[folded], other, where, remedy, more=len(words) - 1)

    def notes(self) -> list[str]:
        """Lists the words, those like a known spelling with it."""
        if not self.counts:
            return []
        texts = []
        for word in order_categories(self.counts)[:_LISTED]:
            near = near_spelling(word)
            texts.append(f"{word} {self.counts[word]}" + (f" (is it {near}?)" if near else ""))
        more = len(self.counts) - len(texts)
        texts += [f"and {more} more"] if more else []
        return [f"categories of your own: {', '.join(texts)}"]


def check_categories(words: Iterable[str], *, where: str, remedy: str) -> None:
    """Checks the categories of a run together.

    Args:
      words: of all its corpora.
      where: they come from, for messages.
      remedy: how to give a category another name.

    Raises:
      UserError: as for `OwnWords.add` and `OwnWords.check`.
    """
    forms: dict[str, str] = {}
    for word in words:
        check_category(word, where, remedy=remedy)
        form = forms.setdefault(fold_spelling(word), word)
        if form != word:
            raise _same_word(form, where, word, where, remedy)
        if len(forms) > MOST_CATEGORIES:
            raise _too_many(where)


def fold_spelling(word: str) -> str:
    """Folds what two spellings of one word differ in: case, Unicode normalization and spaces."""
    return " ".join(unicodedata.normalize("NFKC", word).casefold().split())


def _same_word(
    one: str, first: str, other: str, where: str, remedy: str, *, more: int = 0
) -> UserError:
    places = where if first == where else f"{first} and {where}"
    # Escapes tell apart what looks the same.
    alike = unicodedata.normalize("NFKC", one) == unicodedata.normalize("NFKC", other)
    shown = [f"{word!r} ({word!a})" if alike else repr(word) for word in (one, other)]
    others = f" (and {more} more)" if more else ""
    return UserError(
        f"{places}: labels {shown[0]} and {shown[1]}{others} differ only in case, spaces or "
        f"Unicode normalization: write them in one way, or {remedy}"
    )


def _too_many(where: str) -> UserError:
    return UserError(
        f"{where}: there are more than {MOST_CATEGORIES} different categories, so this is probably "
        "a column of ids: name the column of labels with --columns emotion=NAME"
    )


class UnknownLabels:
    """Gathers labels without a known meaning, to report all of them in one message."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}  # label -> (times, first place)

    def add(self, label: str, where: str) -> None:
        """Notes a label and where it is."""
        count, first = self._found.get(label, (0, where))
        self._found[label] = (count + 1, first)

    def check(self, remedy: str) -> None:
        """Raises UserError with all labels, their number, first place and what to do, if any."""
        if not self._found:
            return
        texts = []
        for label, (count, first) in list(self._found.items())[:_LISTED]:
            near = near_spelling(label)
            hint = f"; did you mean {near!r}?" if near else ""
            times = "" if count == 1 else f", {count} times"
            texts.append(f"{label!r} ({first}{times}{hint})")
        more = len(self._found) - len(texts)
        texts += [f"and {more} more"] if more else []
        number = "" if len(self._found) == 1 else "s"
        raise UserError(
            f"unknown emotion label{number} {', '.join(texts)}: {remedy}; categories are "
            f"{', '.join(CANONICAL)}"
        )
