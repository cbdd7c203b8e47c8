"""Labels of single raters: votes, annotators, and ratings of arousal, dominance and valence.

The index's column `votes` holds {category: number}. Its column `extra` holds single raters under
"annotators": {rater: {"category": name, "secondary": [names], "arousal": 0..1, ...}}, with only
what each rater gave.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sersl.core.errors import UserError
from sersl.corpora.labels import LabelView
from sersl.corpora.words import order_categories

ANNOTATORS = "annotators"  # key in the index's column `extra`
SECONDARY = "secondary"  # key of an answer: the other emotions that the rater named, a list
# Lowest and highest rating. IEMOCAP: Busso et al. 2008, self-assessment manikins; MSP: the
# fields EmoAct, EmoDom and EmoVal of labels_consensus.csv.
SCALES: dict[str, tuple[float, float]] = {
    "iemocap": (1.0, 5.0),
    "msp_improv": (1.0, 5.0),
    "msp_podcast": (1.0, 7.0),
    "unit": (0.0, 1.0),
}


def count_votes(annotators: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Counts the categories that raters chose; one who chose two counts half for each.

    Args:
      annotators: rater -> answer, as in `extra`, with `category`, or `categories` for several.

    Returns:
      Category -> number of raters, in the order of `order_categories`; categories without a vote
      are left out.
    """
    votes: dict[str, float] = {}
    for answer in annotators.values():
        chosen = answer.get("categories") or [answer.get("category", "")]
        for name in filter(None, chosen):
            votes[name] = votes.get(name, 0) + (1 if len(chosen) == 1 else 1 / len(chosen))
    return {name: round(votes[name], 6) for name in order_categories(votes)}


def count_named(annotators: Mapping[str, Any]) -> dict[str, float]:
    """Counts the raters who named each category, as their choice or as a secondary emotion.

    Args:
      annotators: as for `count_votes`, with `secondary` where a rater gave some.

    Returns:
      Category -> number of raters. The numbers add up to more than there are raters.
    """
    named: dict[str, float] = {}
    for answer in annotators.values():
        if not isinstance(answer, Mapping):
            continue
        chosen = answer.get("categories") or [answer.get("category", "")]
        for name in dict.fromkeys((*chosen, *answer.get(SECONDARY, ()))):
            if name:
                named[name] = named.get(name, 0) + 1
    return {name: named[name] for name in order_categories(named)}


def plurality(votes: Mapping[str, float]) -> str:
    """Finds the category with most votes; "" without votes, or where two share the first place."""
    most = max(votes.values(), default=0)
    first = [name for name, count in votes.items() if count == most and count > 0]
    return first[0] if len(first) == 1 else ""


def view_report(view: LabelView, corpora: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Counts what a view merges and leaves out of each corpus.

    Args:
      view: the classes.
      corpora: corpus -> [N] categories, "" for none.

    Returns:
      {"classes": [...], "corpora": {corpus: {"classes": {class: utterances}, "merged": {"excited
      > happy": utterances}, "lost": {category: utterances}, "unlabelled": n, "absent": [classes
      that this corpus has no utterance of]}}}.
    """
    parts: dict[str, dict[str, Any]] = {}
    for corpus, column in corpora.items():
        categories = np.asarray(column, dtype=str)
        names, counts = np.unique(categories, return_counts=True)
        count = dict(zip(names.tolist(), counts.tolist(), strict=True))
        classes = dict.fromkeys(view.names, 0)
        merged: dict[str, int] = {}
        lost: dict[str, int] = {}
        for name in order_categories(set(count) - {""}):
            (position,) = view.indices(np.array([name]))
            if position < 0:
                lost[name] = count[name]
                continue
            target = view.names[position]
            classes[target] += count[name]
            if target != name:
                merged[f"{name} > {target}"] = count[name]
        parts[corpus] = {
            "classes": {name: n for name, n in classes.items() if n},
            "merged": merged,
            "lost": lost,
            "unlabelled": count.get("", 0),
            "absent": [name for name, n in classes.items() if not n],
        }
    return {"classes": list(view.names), "corpora": parts}


def describe_view(report: Mapping[str, Any]) -> list[str]:
    """Formats the result of `view_report`: one line per corpus."""
    lines = []
    for corpus, part in report["corpora"].items():
        texts = [", ".join(f"{name} {n}" for name, n in part["classes"].items()) or "no class"]
        if part["merged"]:
            texts.append("merged " + ", ".join(f"{k} {n}" for k, n in part["merged"].items()))
        if part["lost"]:
            lost = ", ".join(f"{name} {n}" for name, n in part["lost"].items())
            texts.append(f"left out {lost}")
        if part["unlabelled"]:
            texts.append(f"{part['unlabelled']} without a category")
        if part["absent"]:
            texts.append(f"has no {', '.join(part['absent'])}")
        lines.append(f"labels of {corpus}: " + "; ".join(texts))
    return lines


def check_scale(low: float, high: float, where: str) -> tuple[float, float]:
    """Checks the scale of ratings.

    Args:
      low: lowest rating, and
      high: highest rating; both NaN where ratings are 0..1 already.
      where: for the message.

    Returns:
      (low, high), without NaN.

    Raises:
      UserError: only one is given, or high is not above low.
    """
    if math.isnan(low) != math.isnan(high):
        raise UserError(f"{where}: scale_low and scale_high are given together or not at all")
    if math.isnan(low):
        return SCALES["unit"]
    if high <= low:
        raise UserError(f"{where}: scale_high {high:g} is not above scale_low {low:g}")
    return low, high
