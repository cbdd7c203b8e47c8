"""The tables of a report, for the terminal and for the page."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sersl.core.display import first_few, one_line
from sersl.eval.metrics import UNRATED
from sersl.eval.predictions import no_intervals

SCORES = {
    "uar": "UAR (UA)",
    "accuracy": "accuracy (WA)",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
}
# Where several categories may apply.
LABEL_SCORES = {
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "average_precision": "average precision",
}
DIMENSION_SCORES = {"ccc": "CCC", "pearson": "Pearson", "rmse": "RMSE", "mae": "MAE"}
# What two sides of a fold may share, see sersl.corpora.protocols.division.check_overlap.
CHECKS = {"speakers": "speakers", "audio": "recordings", "texts": "sentences"}
_OTHERS = {kind: title for kind, title in DIMENSION_SCORES.items() if kind != "ccc"}
NONE = "-"  # for a score that is not defined; a note has the reason
_MOST_NAMES = 30

Results = Mapping[str, Any]  # content of results.json


def score_table(results: Results) -> str:
    """Formats the scores next to those of guessing, several lines for a terminal."""
    lines = []
    rows = _score_rows(results)
    if rows:
        titles = score_titles(results["metrics"]).values()
        lines.append(f"{'':<13}" + "".join(f"{title + 5 * ' ':>21}" for title in titles).rstrip())
        for row in rows:
            cells = [f"{value} {note:<14}" for value, note in row["cells"]]
            lines.append(f"{row['name']:<13}" + "".join(f"{cell:>21}" for cell in cells).rstrip())
    for row in _dimension_rows(results):
        rest = ", ".join(f"{title} {row[kind]}" for kind, title in _OTHERS.items())
        lines.append(f"CCC {row['name']:<10}{row['value']:>10} {row['interval']:<14}  {rest}")
    if not lines:
        return "nothing to score: no utterance has a category or a rating"
    notes = [_spread_note(results), _missing_intervals_note(results), *_undefined_notes(results)]
    return "\n".join([*lines, *(one_line(note) for note in notes if note)])


def score_titles(scores: Results) -> dict[str, str]:
    """Names the scores over all categories: {key in the metrics: title}; {} without categories."""
    if "labels" in scores:
        return LABEL_SCORES
    return SCORES if "confusion" in scores else {}


def page_tables(results: Results) -> dict[str, Any]:
    """Prepares the values of the template in `sersl.eval.page`."""
    scores, protocol = results["metrics"], dict(results["protocol"])
    columns = score_titles(scores)
    dimensions = [name for name in scores["ccc"] if scores["ccc"][name] is not None]

    def cells(entry: Results) -> list[str]:
        values = [entry[key] for key in columns]
        return [number_text(value) for value in [*values, *(entry["ccc"][d] for d in dimensions)]]

    fold_rows = [
        {
            "name": fold["fold"],
            "own": False,
            "train": fold["num_train"],
            "test": fold["num_test"],
            "cells": cells(fold["metrics"]),
            "speakers": first_few(fold["test_speakers"], _MOST_NAMES),
        }
        for fold in results["folds"]
    ]
    together = {
        "name": "together",
        "own": True,
        "train": "",
        "test": results["corpus"]["num_utterances"],
        "cells": cells(scores),
        "speakers": "",
    }
    class_rows = _class_rows(scores)
    return {
        "cards": _cards(results),
        "score_columns": list(columns.values()),
        "scores": _score_rows(results),
        "interval_note": _interval_note(results),
        "spread_note": _spread_note(results),
        "dimension_columns": _OTHERS,
        "dimension_rows": _dimension_rows(results),
        "undefined_notes": _undefined_notes(results),
        "class_rows": class_rows,
        "label_rows": _label_rows(scores),
        "absent": [row["name"] for row in class_rows if not row["total"]],
        "fold_columns": [*columns.values(), *(f"CCC {name}" for name in dimensions)],
        "fold_rows": [*fold_rows, together] if len(fold_rows) > 1 else fold_rows,
        "fold_notes": [
            f"fold {fold['fold']}: {note}"
            for fold in results["folds"]
            for note in _reasons(fold["metrics"], dimensions)
        ],
        "gender_rows": [
            {"name": name, "total": entry["num_utterances"], "cells": cells(entry)}
            for name, entry in results["by_gender"].items()
        ],
        "gender_notes": [
            f"{name}: {note}"
            for name, entry in results["by_gender"].items()
            for note in _reasons(entry, dimensions)
        ],
        "protocol_rows": [
            (name.replace("_", " "), plain(value))
            for name, value in protocol.items()
            if name != "warnings"
        ],
        "warnings": protocol.get("warnings", ()),  # there are none for a released model
        "check_columns": list(CHECKS.values()),
        "check_rows": [
            {"name": fold["fold"], "cells": [_check(fold["checks"], kind) for kind in CHECKS]}
            for fold in results["folds"]
            if fold["checks"]
        ],
    }


def plain(value: Any) -> str:
    """Formats a setting."""
    match value:
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return first_few([str(item) for item in value], _MOST_NAMES) or "none"
        case float():
            return f"{value:g}"
    return str(value)


def _cards(results: Results) -> list[dict[str, str]]:
    scores, confidence = results["metrics"], results["confidence"]
    cards = []
    cards += [
        {"name": title, "value": number_text(scores[key]), "note": interval_text(confidence[key])}
        for key, title in score_titles(scores).items()
    ]
    if "chance" in results["baseline"]:
        chance = number_text(results["baseline"]["chance"]["uar"])
        cards.append({"name": "chance UAR", "value": chance, "note": "guessing"})
    known = {name: value for name, value in scores["ccc"].items() if value is not None}
    if known:
        value = number_text(sum(known.values()) / len(known))
        cards.append({"name": "mean CCC", "value": value, "note": "over " + ", ".join(known)})
    return cards


def _score_rows(results: Results) -> list[dict[str, Any]]:
    scores, confidence = results["metrics"], results["confidence"]
    titles = score_titles(scores)
    if not titles:
        return []
    own = [(number_text(scores[key]), interval_text(confidence[key])) for key in titles]
    rows: list[dict[str, Any]] = [{"name": "this model", "own": True, "cells": own}]
    rows += _seed_rows(results)
    if _has_spread(results):
        mean = results["mean_over_folds"]
        spread = [
            (number_text(mean[key]["mean"]), f"± {number_text(mean[key]['std'])}") for key in titles
        ]
        rows.append({"name": "mean of folds", "own": False, "cells": spread})
    for name, entry in results["baseline"].items():
        cells = [(number_text(entry[key]), "") for key in titles]
        rows.append({"name": name, "own": False, "cells": cells})
    return rows


def _seed_rows(results: Results) -> list[dict[str, Any]]:
    """Gives the deviation over seeds, and each seed; nothing for a run of one seed."""
    found, titles = results.get("over_seeds"), score_titles(results["metrics"])
    if not found or not all(key in found for key in titles):
        return []
    spread = [
        (number_text(found[key]["mean"]), f"± {number_text(found[key]['std'])}") for key in titles
    ]
    rows = [{"name": "mean of seeds", "own": False, "cells": spread}]
    for number, seed in enumerate(results["seeds"]):
        cells = [(number_text(found[key]["values"][number]), "") for key in titles]
        rows.append({"name": f"seed {seed}", "own": False, "cells": cells})
    return rows


def _dimension_rows(results: Results) -> list[dict[str, str]]:
    scores, intervals = results["metrics"]["ccc"], results["confidence"]["ccc"]
    reasons = results["metrics"].get("undefined", {})
    if all(
        value is None and reasons.get(f"ccc.{name}", UNRATED) == UNRATED
        for name, value in scores.items()
    ):
        return []  # nothing was rated, or nothing predicted
    return [
        {
            "name": name,
            "value": number_text(value) + _seed_deviation(results, name),
            "interval": interval_text(intervals[name]),
            **{kind: number_text(results["metrics"][kind][name]) for kind in _OTHERS},
        }
        for name, value in scores.items()
    ]


def _seed_deviation(results: Results, dimension: str) -> str:
    found = results.get("over_seeds", {}).get("ccc", {}).get(dimension)
    return f" ± {number_text(found['std'])}" if found else ""


def _class_rows(scores: Results) -> list[dict[str, Any]]:
    if "confusion" not in scores:
        return []
    confusion = scores["confusion"]
    return [
        {
            "name": name,
            "total": sum(row),
            "found": row[i],
            **{kind: number_text(scores[kind][name]) for kind in ("recall", "precision", "f1")},
            "percent": round(100 * (scores["recall"][name] or 0)),
        }
        for i, (name, row) in enumerate(zip(confusion["names"], confusion["counts"], strict=True))
    ]


def _label_rows(scores: Results) -> list[dict[str, Any]]:
    """Rows of categories of which several may apply."""
    return [
        {
            "name": name,
            "total": entry["num_utterances"],
            "predicted": entry["num_predicted"],
            "f1": number_text(entry["f1"]),
            "average_precision": number_text(entry["average_precision"]),
        }
        for name, entry in scores.get("labels", {}).items()
    ]


def _has_spread(results: Results) -> bool:
    return len(results["folds"]) > 1 and bool(results["mean_over_folds"])


def _spread_note(results: Results) -> str:
    if not score_titles(results["metrics"]):
        return ""
    notes = []
    if results.get("over_seeds"):
        notes.append(f"sample standard deviation over the {len(results['seeds'])} seeds")
    if _has_spread(results):
        # Earlier versions did not write the number of folds.
        count = results["mean_over_folds"]["macro_f1"].get("num_folds", len(results["folds"]))
        notes.append(f"population standard deviation over the {count} folds with a category")
    return f"±: {', '.join(notes)}" if notes else ""


def _interval_note(results: Results) -> str:
    confidence = results["confidence"]
    return _missing_intervals_note(results) or (
        f"intervals: {100 * confidence['level']:.0f} %, {confidence['method']}, "
        f"{confidence['num_resamples']} draws"
    )


def _missing_intervals_note(results: Results) -> str:
    scores, confidence = results["metrics"], results["confidence"]
    number = results["corpus"]["num_speakers"]
    if number < 2 and not any(confidence.get(key) for key in score_titles(scores)):
        return no_intervals(number)
    pairs = [(scores.get(key), confidence.get(key)) for key in score_titles(scores)]
    pairs += [(value, confidence["ccc"].get(name)) for name, value in scores["ccc"].items()]
    if any(value is not None and interval is None for value, interval in pairs):
        return "no interval where a score is not defined in many draws of speakers"
    return ""


def _undefined_notes(results: Results) -> list[str]:
    if not _dimension_rows(results):
        return []
    return list(_reasons(results["metrics"], tuple(results["metrics"]["ccc"])))


def _reasons(scores: Results, dimensions: Sequence[str]) -> Iterator[str]:
    """Explains the scores that are not defined."""
    reasons = scores.get("undefined", {})
    if "categories" in reasons:
        titles = LABEL_SCORES if "micro_f1" in scores else SCORES
        yield f"{', '.join(titles.values())} are not defined, because {reasons['categories']}"
    for name in dimensions:
        if f"ccc.{name}" in reasons:
            yield f"CCC {name} is not defined, because {reasons[f'ccc.{name}']}"


def _check(checks: Results, kind: str) -> dict[str, str]:
    shared = {sides: count for sides, count in checks[kind].items() if count}
    text = ", ".join(f"{count} in {sides.replace('/', ' and ')}" for sides, count in shared.items())
    # In acted corpora all speakers say the same sentences, which is not a fault.
    mark = "" if kind == "texts" and shared else "bad" if shared else "ok"
    return {"mark": mark, "text": text or "none"}


def number_text(value: float | None) -> str:
    """Formats a score with three digits; "-" where it is not defined."""
    return NONE if value is None or math.isnan(value) else f"{value:.3f}"


def interval_text(interval: Sequence[float] | None) -> str:
    """Formats the ends of an interval; "-" for none."""
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]" if interval else NONE
