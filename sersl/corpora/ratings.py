"""What raters said: votes, single raters, and ratings of arousal, dominance and valence.

Votes are in the index's column `votes` as {category: number}. Single raters are in `extra` under
"annotators": {rater: {"category": name, "arousal": 0..1, ...}} with only what the rater gave.
"""

import json
import math
from collections.abc import Iterable, Mapping

import numpy as np

from sersl.core.errors import UserError
from sersl.corpora.labels import CANONICAL, DIMENSIONS, LabelView

ANNOTATORS = "annotators"  # key in the index's column `extra`
# Lowest and highest rating. IEMOCAP: Busso et al. 2008, self-assessment manikins; MSP: the
# fields EmoAct, EmoDom and EmoVal of labels_consensus.csv.
SCALES: dict[str, tuple[float, float]] = {
    "iemocap": (1.0, 5.0),
    "msp_improv": (1.0, 5.0),
    "msp_podcast": (1.0, 7.0),
    "unit": (0.0, 1.0),
}


def annotator_labels(extra: Iterable[str]) -> dict[str, dict[str, np.ndarray]]:
    """Reads what each rater said of each utterance.

    Args:
      extra: [N] the column `extra`, a JSON object or "".

    Returns:
      rater -> {"category": [N] str, "" where not given; "arousal", "dominance", "valence": [N]
      float64 in 0..1, NaN where not given}, raters in sorted order.
    """
    rows = [json.loads(text) if text else {} for text in extra]
    rated = [row.get(ANNOTATORS, {}) for row in rows]
    tables = {}
    for rater in sorted({rater for row in rated for rater in row}):
        said = [row.get(rater, {}) for row in rated]
        categories = [answer.get("category", "") for answer in said]
        tables[rater] = {"category": np.array(categories, dtype=object)}
        for name in DIMENSIONS:
            values = [answer.get(name, math.nan) for answer in said]
            tables[rater][name] = np.array(values, np.float64)
    return tables


def count_votes(annotators: Mapping[str, Mapping]) -> dict[str, int]:
    """Counts the categories that raters gave.

    Args:
      annotators: rater -> answer, as in `extra`.

    Returns:
      Category -> number of raters, in canonical order, without those who gave none.
    """
    given = [a["category"] for a in annotators.values() if a.get("category")]
    return {name: given.count(name) for name in CANONICAL if name in given}


def plurality(votes: Mapping[str, float]) -> str:
    """Names the category with most votes.

    Args:
      votes: number of votes by category.

    Returns:
      The category; "" where two share the first place, or there are no votes.
    """
    most = max(votes.values(), default=0)
    first = [name for name, count in votes.items() if count == most and count > 0]
    return first[0] if len(first) == 1 else ""


def view_report(view: LabelView, corpora: Mapping[str, np.ndarray]) -> dict:
    """Says what a view makes of several corpora, and what it loses.

    Args:
      view: the classes.
      corpora: corpus -> [N] canonical categories, "" for none.

    Returns:
      {"classes": [...], "corpora": {corpus: {"classes": {class: utterances}, "merged": {"excited
      > happy": utterances}, "lost": {category: utterances}, "unlabelled": n, "absent": [classes
      that this corpus has no utterance of]}}}.
    """
    report = {"classes": list(view.names), "corpora": {}}
    for corpus, column in corpora.items():
        categories = np.asarray(column, dtype=str)
        names, counts = np.unique(categories, return_counts=True)
        count = dict(zip(names.tolist(), counts.tolist(), strict=True))
        classes = dict.fromkeys(view.names, 0)
        merged, lost = {}, {}
        for name in (category for category in CANONICAL if category in count):
            (position,) = view.indices(np.array([name]))
            if position < 0:
                lost[name] = count[name]
                continue
            target = view.names[position]
            classes[target] += count[name]
            if target != name:
                merged[f"{name} > {target}"] = count[name]
        report["corpora"][corpus] = {
            "classes": {name: n for name, n in classes.items() if n},
            "merged": merged,
            "lost": lost,
            "unlabelled": count.get("", 0),
            "absent": [name for name, n in classes.items() if not n],
        }
    return report


def describe_view(report: Mapping) -> list[str]:
    """Writes a view's report for people.

    Args:
      report: of `view_report`.

    Returns:
      One line per corpus.
    """
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
      low: lowest rating; high: highest rating; both NaN: ratings are 0..1 already.
      high: see low.
      where: for the sentence.

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
