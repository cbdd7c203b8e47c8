"""Labels of a prepared corpus as arrays: words, votes, raters, dimensions, in the classes of a run.

What the columns of the index have no place for is in its column `extra`: "dimensions" {name: 0..1},
"scales" {name: [low, high]}, "categories" [name, ...] where several may apply, "annotators" (see
`sersl.corpora.ratings`), and, where the corpus spells them in another way, "categories_raw" and
"votes_raw".
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sersl.core.errors import UserError
from sersl.core.files import parse_json
from sersl.corpora.anchors import ANCHORED, anchored
from sersl.corpora.index import INDEX_FILE, CorpusIndex
from sersl.corpora.labels import DIMENSIONS, LabelView, order_dimensions
from sersl.corpora.ratings import ANNOTATORS, SECONDARY, count_named


def words(index: CorpusIndex, *, raw: bool = False) -> np.ndarray:
    """Reads the category of each utterance: [n] str, "" where there is none.

    Args:
      index: of the corpus.
      raw: as the corpus spells it.
    """
    category = index.column("category")
    if not raw:
        return category
    spelt = index.column("category_raw")
    found = np.where(spelt == "", category, spelt)
    return np.where(category == "", "", found).astype(object)


def word_lists(index: CorpusIndex, *, raw: bool = False) -> list[list[str] | None]:
    """Reads the categories that apply to each utterance; None where they are not listed."""
    listed = [one if isinstance(one, list) else None for one in index.extra("categories")]
    spelt = index.extra("categories_raw") if raw else np.full(len(listed), None)
    return [
        other if isinstance(other, list) else one for one, other in zip(listed, spelt, strict=True)
    ]


def vote_counts(index: CorpusIndex, *, raw: bool = False) -> list[Mapping[str, float]]:
    """Reads the votes of each utterance: {category: number}; {} without votes."""
    parsed = {text: _parse_votes(index, text) for text in set(index.column("votes"))}
    votes: list[Mapping[str, float]] = [parsed[text] for text in index.column("votes")]
    if not raw:
        return votes
    spelt = index.extra("votes_raw")
    return [
        other if isinstance(other, dict) else one for one, other in zip(votes, spelt, strict=True)
    ]


def _parse_votes(index: CorpusIndex, text: str) -> dict[str, float]:
    try:
        votes = parse_json(text or "{}")
        if not all(type(count) in (int, float) and count >= 0 for count in votes.values()):
            raise ValueError("a count is not a number of at least 0")
    except ValueError as error:
        raise UserError(
            f"{index.folder / INDEX_FILE} is damaged (votes {text[:60]!r}: {error}): prepare the "
            "corpus again with `sersl prepare ... --overwrite`"
        ) from None
    return votes


def named_counts(index: CorpusIndex) -> list[dict[str, float]]:
    """Counts the raters who named each category, secondary emotions included; {} without raters."""
    return [count_named(given) for given in _objects(index, ANNOTATORS)]


def names_secondary(index: CorpusIndex) -> bool:
    """Tells whether any rater named a secondary emotion."""
    return any(
        isinstance(answer, Mapping) and answer.get(SECONDARY)
        for given in _objects(index, ANNOTATORS)
        for answer in given.values()
    )


def all_words(
    index: CorpusIndex, *, raw: bool = False, multi: bool = False, secondary: bool = False
) -> set[str]:
    """Names the categories of a corpus.

    Args:
      index: of the corpus.
      raw: as the corpus spells them.
      multi: those of lists and votes as well.
      secondary: those that raters named as secondary emotions as well.
    """
    found = set(words(index, raw=raw).tolist())
    if multi:
        for one in (*word_lists(index, raw=raw), *vote_counts(index, raw=raw)):
            found.update(one or ())
    if secondary:
        found.update(*named_counts(index))
    return found - {""}


def lists_categories(index: CorpusIndex) -> bool:
    """Tells whether the corpus lists the categories that apply, which may be several."""
    return any(one is not None for one in word_lists(index))


def rated_dimensions(index: CorpusIndex) -> tuple[str, ...]:
    """Names the dimensions of which any utterance has a rating."""
    known = [name for name in DIMENSIONS if np.isfinite(index.column(name)).any()]
    own = {name for given in _objects(index, "dimensions") for name in given}
    return order_dimensions((*known, *own))


def ratings(index: CorpusIndex, names: Sequence[str]) -> np.ndarray:
    """Reads dimensions: float64 [n, D] in 0..1, in the order of `names`; NaN where not rated."""
    found = np.full((len(index), len(names)), np.nan)
    own = _objects(index, "dimensions") if set(names) - {*DIMENSIONS, *ANCHORED} else []
    for place, name in enumerate(names):
        if name in DIMENSIONS:
            found[:, place] = index.column(name)
            continue
        if name in ANCHORED:
            found[:, place] = anchored(words(index), name)
            continue
        for row, given in enumerate(own):
            if name in given:
                found[row, place] = given[name]
    return found


def scales(index: CorpusIndex, names: Sequence[str]) -> dict[str, list[float]]:
    """Finds the scales that dimensions were rated on: name -> [lowest, highest].

    A dimension that was rated on several scales, or on 0..1, is left out.
    """
    own: dict[str, set[tuple[float, float]]] = {name: set() for name in names}
    given = _objects(index, "scales")
    low, high = index.column("scale_low"), index.column("scale_high")
    pairs = {tuple(pair) for pair in np.stack([low, high], axis=1)[np.isfinite(low)].tolist()}
    for name in names:
        listed = {tuple(one[name]) for one in given if name in one}
        own[name] = listed or (pairs if name in DIMENSIONS else set())
    return {name: list(found.pop()) for name, found in own.items() if len(found) == 1}


def soft_labels(index: CorpusIndex, view: LabelView) -> np.ndarray:
    """Turns votes into distributions over classes.

    Args:
      index: of the corpus.
      view: the classes.

    Returns:
      [n, C] float32, rows that sum to 1; NaN where no vote belongs to a class.
    """
    table = np.full((len(index), len(view.names)), np.nan, np.float32)
    for row, votes in enumerate(vote_counts(index, raw=view.raw)):
        shares = view.shares(votes)
        if shares.any():
            table[row] = shares / shares.sum()
    return table


def applying(index: CorpusIndex, view: LabelView) -> np.ndarray:
    """Tells which classes apply to each utterance, of which there may be several.

    They are those of the words that the corpus lists; else those with votes enough
    (`LabelView.votes_at_least`), a share of the votes or, with `LabelView.secondary`, of the
    raters; else that of its one category.

    Args:
      index: of the corpus.
      view: the classes.

    Returns:
      [n, C] float32, 1 where a class applies and 0 where not; NaN in the whole row where nothing
      is known, or where words are known and none belongs to a class.
    """
    table = np.full((len(index), len(view.names)), np.nan, np.float32)
    single = words(index, raw=view.raw)
    listed, votes = word_lists(index, raw=view.raw), vote_counts(index, raw=view.raw)
    totals = [sum(own.values()) for own in votes]
    if view.secondary:
        raters = [len(given) for given in _objects(index, ANNOTATORS)]
        named = named_counts(index)
        votes = [one or own for one, own in zip(named, votes, strict=True)]
        totals = [n if one else own for n, one, own in zip(raters, named, totals, strict=True)]
    for row in range(len(index)):
        chosen, own = listed[row], votes[row]
        if chosen is None and own:
            shares = view.shares(own)
            least = view.votes_at_least * (totals[row] if view.votes_at_least < 1 else 1)
            if shares.any():
                table[row] = shares >= least
            continue
        if chosen is None:
            chosen = [single[row]] if single[row] else None
        if chosen is None:
            continue
        places = [view.positions[word] for word in chosen if word in view.positions]
        if places or not chosen:
            table[row] = 0.0
            table[row, places] = 1.0
    return table


class RaterLabels(NamedTuple):
    """Who chose which class; R is the most answers of an utterance, and -1 fills up.

    Attributes:
      names: of the raters, as "corpus/rater".
      rater: int32 [n, R], positions in `names`.
      category: int32 [n, R], the class of each answer.
    """

    names: tuple[str, ...]
    rater: np.ndarray
    category: np.ndarray


def rater_labels(indexes: Sequence[CorpusIndex], view: LabelView) -> RaterLabels:
    """Reads the class that each rater chose, by row of the indexes one after the other.

    Args:
      indexes: of the corpora, in order.
      view: the classes.

    Raises:
      UserError: no rater chose a class.
    """
    names: dict[str, int] = {}
    answers: list[list[tuple[int, int]]] = []
    for index in indexes:
        for given in _objects(index, ANNOTATORS):
            own = []
            for rater, answer in given.items():
                place = view.positions.get(_chosen(answer), -1)
                if place >= 0:
                    own.append((names.setdefault(f"{index.corpus}/{rater}", len(names)), place))
            answers.append(own)
    if not names:
        raise UserError(
            f"no rater of {', '.join(index.corpus for index in indexes)} chose a class of "
            "labels.view: prepare the corpus with a column annotators, or choose another loss"
        )
    most = max(len(own) for own in answers)
    table = np.full((2, len(answers), most), -1, np.int32)
    for row, own in enumerate(answers):
        for place, pair in enumerate(own):
            table[:, row, place] = pair
    return RaterLabels(tuple(names), table[0], table[1])


def _objects(index: CorpusIndex, key: str) -> list[dict[str, Any]]:
    """Reads the objects under a key of `extra`; {} where there is none.

    Data of earlier versions may have a column of the user's under the same name.
    """
    return [one if isinstance(one, dict) else {} for one in index.extra(key)]


def _chosen(answer: object) -> str:
    """Gives the one category of a rater; "" for none or several."""
    return str(answer.get("category", "")) if isinstance(answer, Mapping) else ""
