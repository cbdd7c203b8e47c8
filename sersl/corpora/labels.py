"""Labels by name: the classes of a run, views of the categories, and scales of dimensions.

Everything is by name, because projects disagree on the order of classes and of dimensions
(s3prl: neutral first; emotion2vec: angry first; IEMOCAP files: valence first).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sersl.core.errors import UserError, unknown_name
from sersl.corpora.words import category_of, check_categories, order_categories

DIMENSIONS = ("arousal", "dominance", "valence")
OTHERS = "*"  # in a mapping: every category that it does not name
_DIMENSION = re.compile(r"[^\W\d][\w-]{0,63}")
_REMEDY = "give one of them another name with labels.mapping"
_RAW = "raw"  # the view of the words as they are
_FROM_DATA = ("corpus", "shared", _RAW)  # views whose classes follow from the corpora


def order_dimensions(names: Iterable[str]) -> tuple[str, ...]:
    """Orders dimensions: arousal, dominance and valence, then the others by name."""
    given = set(names)
    return (*(name for name in DIMENSIONS if name in given), *sorted(given - set(DIMENSIONS)))


def check_dimension(name: str, where: str) -> str:
    """Checks that a word can be the name of a dimension, and gives it.

    Raises:
      UserError: it is not a word of letters, digits, "_" and "-" that begins with a letter.
    """
    if not _DIMENSION.fullmatch(name) or name.startswith(("score_", "predicted_")):
        raise UserError(
            f"{where}: {name[:80]!r} cannot be the name of a dimension: use at most 64 letters, "
            "digits, _ and -, a letter first, and not score_ or predicted_ before it"
        )
    return name


def _named(*names: str, **merged: str) -> dict[str, str]:
    return {name: name for name in names} | merged


# View -> category -> class. The order of first appearance is the order of the classes.
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
    """The classes of one training run, and the categories that belong to each.

    Attributes:
      names: classes in the order of the model's scores; empty: no categories are predicted.
      classes: (category, class) pairs; empty: every class is its own category.
      raw: whether categories are the words as the corpus spells them.
      multi: whether several classes of one utterance may apply.
      votes_at_least: with `multi`, of raters' votes: a class applies from this many votes, or,
        below 1, from this share of them.
      secondary: with `multi`, whether the secondary emotions of raters count as votes.
    """

    names: tuple[str, ...]
    classes: tuple[tuple[str, str], ...] = ()
    raw: bool = False
    multi: bool = False
    votes_at_least: float = 0.5
    secondary: bool = False

    @cached_property
    def positions(self) -> dict[str, int]:
        """Category -> position of its class in `names`."""
        pairs = self.classes or tuple((name, name) for name in self.names)
        return {category: self.names.index(name) for category, name in pairs}

    def indices(self, categories: np.ndarray) -> np.ndarray:
        """Turns categories into positions within `names`.

        Args:
          categories: [N] names, "" where there is none.

        Returns:
          [N] int32; -1 where the category is "" or belongs to no class of this view.
        """
        unique, inverse = np.unique(np.asarray(categories, dtype=str), return_inverse=True)
        # In a batch, -1 means "no label".
        table = np.array([self.positions.get(name, -1) for name in unique.tolist()], np.int32)
        return table[inverse.reshape(-1)] if len(table) else np.zeros(0, np.int32)

    def shares(self, votes: Mapping[str, float]) -> np.ndarray:
        """Sums up votes by class: category -> number to float32 [C]."""
        counts = np.zeros(len(self.names), np.float32)
        for category, count in votes.items():
            if category in self.positions:
                counts[self.positions[category]] += count
        return counts

    def only(self, names: Sequence[str]) -> "LabelView":
        """Gives a view of some of the classes, in this order."""
        pairs = self.classes or tuple((name, name) for name in self.names)
        kept = tuple((category, name) for category, name in pairs if name in names)
        return replace(self, names=tuple(names), classes=kept)


def make_view(
    name: str,
    index_categories: Iterable[str] | Mapping[str, Iterable[str]],
    *,
    mapping: Mapping[str, str] | None = None,
    names: Sequence[str] = (),
) -> LabelView:
    """Makes the view of a configuration.

    Args:
      name: a key of `VIEWS`, "corpus" (the categories present, in the order of
        `order_categories`), "raw" (the same of words as they are), "shared" (those that every
        corpus has) or "none".
      index_categories: the categories of every utterance, "" where there is none; or corpus -> its
        categories, which "shared" needs.
      mapping: category -> another one, "" for none, before the view is applied; "*" stands for
        every category that is not in it.
      names: classes to keep, in this order; empty: all of them.

    Raises:
      UserError: the name is unknown; no utterance, or for "shared" no two corpora, give a category;
        a name cannot be that of a category, or is twice in it; or one of `names` is not there.
    """
    mapping = mapping or {}
    if name == "none":
        return LabelView(())
    if name in _FROM_DATA:
        view = _view_of_data(name, index_categories, mapping)
    elif name in VIEWS:
        view = _named_view(name, index_categories, mapping)
    else:
        raise unknown_name("label view", name, (*VIEWS, *_FROM_DATA, "none"))
    if not names:
        return view
    for one in names:
        if one not in view.names:
            raise unknown_name("category in labels.categories", one, view.names)
    if len(set(names)) < len(names):
        raise UserError("labels.categories names a category twice: name each once")
    return view.only(names)


def _view_of_data(
    name: str,
    index_categories: Iterable[str] | Mapping[str, Iterable[str]],
    mapping: Mapping[str, str],
) -> LabelView:
    if not isinstance(index_categories, Mapping):
        if name == "shared":
            raise UserError(
                "labels.view='shared' is for several corpora: set it to 'corpus', or name more "
                "corpora in data.corpora"
            )
        index_categories = {"": index_categories}
    words = {corpus: _present(given) for corpus, given in index_categories.items()}
    pairs = {word: _mapped(word, mapping) for word in set().union(*words.values())}
    sets = [{pairs[word] for word in given} - {""} for given in words.values()]
    present = set.intersection(*sets) if name == "shared" else set().union(*sets)
    names = order_categories(present)
    if not names and name == "shared":
        raise UserError(
            f"{', '.join(index_categories)} have no emotion category in common: choose another "
            "labels.view"
        )
    if not names:
        raise UserError(
            "no utterance has an emotion category: set labels.view to 'none', or prepare the "
            "corpus with an emotion column"
        )
    check_categories(names, where=f"labels.view={name}", remedy=_REMEDY)
    merged = any(word != pairs[word] for word in pairs)
    classes = tuple((word, pairs[word]) for word in order_categories(pairs) if pairs[word] in names)
    return LabelView(names, classes if merged else (), raw=name == _RAW)


def _named_view(
    name: str,
    index_categories: Iterable[str] | Mapping[str, Iterable[str]],
    mapping: Mapping[str, str],
) -> LabelView:
    view = VIEWS[name]
    classes = (*dict.fromkeys(view.values()), *_EMPTY_CLASSES.get(name, ()))
    if not mapping:
        return LabelView(classes, tuple(view.items()))
    given = index_categories.values() if isinstance(index_categories, Mapping) else ()
    words = set(view).union(mapping, *(_present(one) for one in given)) - {OTHERS}
    mapped = {word: view.get(_mapped(word, mapping), "") for word in order_categories(words)}
    return LabelView(classes, tuple((word, one) for word, one in mapped.items() if one))


def _present(categories: Iterable[str]) -> set[str]:
    """Names the categories that occur."""
    return set(np.unique(np.asarray(list(categories), dtype=str)).tolist()) - {""}


def _mapped(word: str, mapping: Mapping[str, str]) -> str:
    return mapping.get(word, mapping.get(OTHERS, word))


def make_mapping(pairs: Iterable[tuple[str, str]], *, raw: bool) -> dict[str, str]:
    """Makes the mapping of `make_view`; known spellings meet on both sides unless `raw`.

    Raises:
      UserError: a word is given two categories.
    """
    mapping: dict[str, str] = {}
    for word, target in pairs:
        key = word if raw or word == OTHERS else category_of(word)
        value = target if raw else category_of(target)
        if not key:
            raise UserError(f"labels.mapping: {word!r} is not a category: leave it out")
        if mapping.setdefault(key, value) != value:
            raise UserError(
                f"labels.mapping gives {key!r} two categories, {mapping[key]!r} and {value!r}: "
                "leave one"
            )
    return mapping


def to_unit(value: float, low: float, high: float) -> float:
    """Maps a rating on the scale low..high to 0..1; NaN stays NaN."""
    return (value - low) / (high - low)
