"""The report of a run: figures, and one page to read on any screen or to mail."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from sersl.core.errors import UserError
from sersl.core.files import whole_file
from sersl.corpora.labels import DIMENSIONS
from sersl.eval import metrics, page, plots
from sersl.eval.predictions import Predictions, read_predictions
from sersl.eval.results import score_workdir
from sersl.eval.workdir_files import read_json

__all__ = ["score_table", "score_workdir", "write_report"]

SCORES = {"uar": "UAR (UA)", "accuracy": "accuracy (WA)", "macro_f1": "macro F1"}
# What two sides of a fold may have in common, see sersl.corpora.protocols.protocol.check_overlap.
CHECKS = {"speakers": "speakers", "audio": "recordings", "texts": "sentences"}
NONE = "–"


def write_report(workdir: str | Path) -> Path:
    """Draws `plots/*.png` and writes `report.html` from a scored run.

    Args:
      workdir: with results.json (see `score_workdir`), predictions.csv and config.json.

    Returns:
      The path of the page; it holds its figures and needs no network.

    Raises:
      UserError: a file is missing or damaged.
    """
    workdir = Path(workdir)
    results = read_json(workdir / "results.json")
    config = read_json(workdir / "config.json")
    predictions = read_predictions(workdir / "predictions.csv")
    logs = {fold["fold"]: _read_log(workdir / "folds" / fold["fold"]) for fold in results["folds"]}
    figures = _draw(workdir / "plots", results, predictions, logs)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)

    def figure(name: str, description: str) -> Markup:
        if name not in figures:
            return Markup()
        data = base64.b64encode(figures[name].read_bytes()).decode()
        image = '<img alt="{}" src="data:image/png;base64,{}">'
        return Markup(image).format(description, data)

    text = environment.from_string(page.TEMPLATE).render(
        style=Markup(page.STYLE),
        title=config["name"],
        figure=figure,
        figures=figures,
        no_curves=[fold for fold, log in logs.items() if not log],
        config_rows=list(_flat(config)),
        **results,
        **_tables(results),
    )
    path = workdir / "report.html"
    with whole_file(path) as file:
        file.write(text)
    return path


def score_table(results: Mapping) -> str:
    """Lays the scores out beside majority and chance, for a terminal.

    Args:
      results: content of `results.json`.

    Returns:
      Several lines without a final newline.
    """
    lines = []
    rows = _score_rows(results)
    if rows:
        lines.append(
            f"{'':<14}" + "".join(f"{title + 5 * ' ':>24}" for title in SCORES.values()).rstrip()
        )
        for row in rows:
            cells = [f"{value} {note:<14}" for value, note in row["cells"]]
            lines.append(f"{row['name']:<14}" + "".join(f"{cell:>24}" for cell in cells).rstrip())
    for row in _dimension_rows(results):
        lines.append(f"CCC {row['name']:<10}{row['value']:>10} {row['interval']:>13}")
    return "\n".join(lines) or "nothing to score: no utterance has a category or a rating"


def _draw(folder: Path, results: Mapping, predictions: Predictions, logs: Mapping) -> dict:
    figures = {}

    def target(name: str) -> Path:
        figures[name] = folder / f"{name}.png"
        return figures[name]

    scores = results["metrics"]
    if "confusion" in scores:
        counts = np.array(scores["confusion"]["counts"])
        plots.confusion(target("confusion"), names=scores["confusion"]["names"], counts=counts)
        names, values = _uar_by_speaker(predictions)
        plots.speakers(
            target("speakers"),
            names=names,
            uar=values,
            overall=scores["uar"],
            chance=results["baseline"]["chance"]["uar"],
        )
    if predictions.predicted is not None and scores["num_with_dimensions"]:
        columns = [DIMENSIONS.index(name) for name in predictions.dimensions]
        plots.dimensions(
            target("dimensions"),
            names=predictions.dimensions,
            truth=predictions.truth[:, columns],
            predicted=predictions.predicted[:, columns],
        )
    if any(logs.values()):
        plots.training(target("training"), logs={fold: log for fold, log in logs.items() if log})
    return figures


def _uar_by_speaker(predictions: Predictions) -> tuple[list[str], np.ndarray]:
    text = predictions.text
    labelled = text["category"] != ""
    truth = metrics.indices(text["category"][labelled], predictions.names)
    predicted = metrics.indices(text["predicted"][labelled], predictions.names)
    speakers = predictions.groups[labelled]
    names = sorted(set(speakers))
    one_corpus = len(set(text["corpus"])) == 1
    values = [
        metrics.uar(
            metrics.confusion_matrix(
                truth[speakers == name], predicted[speakers == name], len(predictions.names)
            )
        )
        for name in names
    ]
    return [name.split("/", 1)[1] if one_corpus else name for name in names], np.array(values)


def _tables(results: Mapping) -> dict:
    scores, protocol = results["metrics"], dict(results["protocol"])
    has_categories = "confusion" in scores
    columns = dict(SCORES) if has_categories else {}
    dimensions = [name for name in DIMENSIONS if scores["ccc"].get(name) is not None]
    fold_columns = [*columns.values(), *(f"CCC {name}" for name in dimensions)]

    def cells(entry: Mapping) -> list[str]:
        values = [entry[key] for key in columns]
        return [_number(value) for value in [*values, *(entry["ccc"][d] for d in dimensions)]]

    fold_rows = [
        {
            "name": fold["fold"],
            "own": False,
            "train": fold["num_train"],
            "test": fold["num_test"],
            "cells": cells(fold["metrics"]),
            "speakers": _shortened(fold["test_speakers"]),
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
    return {
        "cards": _cards(results),
        "scores": _score_rows(results),
        "interval_note": _interval_note(results),
        "dimension_rows": _dimension_rows(results),
        "class_rows": _class_rows(scores),
        "fold_columns": fold_columns,
        "fold_rows": [*fold_rows, together] if len(fold_rows) > 1 else fold_rows,
        "gender_rows": [
            {"name": name, "total": entry["num_utterances"], "cells": cells(entry)}
            for name, entry in results["by_gender"].items()
        ],
        "protocol_rows": [
            (name.replace("_", " "), _plain(value))
            for name, value in protocol.items()
            if name != "warnings"
        ],
        "warnings": protocol.get("warnings", ()),  # a released model tested as a whole has none
        "check_columns": list(CHECKS.values()),
        "check_rows": [
            {"name": fold["fold"], "cells": [_check(fold["checks"], kind) for kind in CHECKS]}
            for fold in results["folds"]
            if fold["checks"]
        ],
    }


def _cards(results: Mapping) -> list[dict]:
    scores, confidence = results["metrics"], results["confidence"]
    cards = []
    if "confusion" in scores:
        cards += [
            {"name": title, "value": _number(scores[key]), "note": _interval(confidence[key])}
            for key, title in SCORES.items()
        ]
    if results["baseline"]:
        chance = _number(results["baseline"]["chance"]["uar"])
        cards.append({"name": "chance UAR", "value": chance, "note": "guessing"})
    known = {name: value for name, value in scores["ccc"].items() if value is not None}
    if known:
        value = _number(sum(known.values()) / len(known))
        cards.append({"name": "mean CCC", "value": value, "note": "over " + ", ".join(known)})
    return cards


def _score_rows(results: Mapping) -> list[dict]:
    scores, confidence = results["metrics"], results["confidence"]
    if "confusion" not in scores:
        return []
    rows = [
        {
            "name": "this model",
            "own": True,
            "cells": [(_number(scores[k]), _interval(confidence[k])) for k in SCORES],
        }
    ]
    mean = results["mean_over_folds"]
    if len(results["folds"]) > 1 and mean:
        spread = [(_number(mean[k]["mean"]), f"± {_number(mean[k]['std'])}") for k in SCORES]
        rows.append({"name": "mean of folds", "own": False, "cells": spread})
    for name, entry in results["baseline"].items():
        rows.append(
            {"name": name, "own": False, "cells": [(_number(entry[k]), "") for k in SCORES]}
        )
    return rows


def _dimension_rows(results: Mapping) -> list[dict]:
    intervals = results["confidence"]["ccc"]
    if all(value is None for value in results["metrics"]["ccc"].values()):
        return []  # nothing was rated, or nothing predicted
    return [
        {"name": name, "value": _number(value), "interval": _interval(intervals[name]) or NONE}
        for name, value in results["metrics"]["ccc"].items()
    ]


def _class_rows(scores: Mapping) -> list[dict]:
    if "confusion" not in scores:
        return []
    return [
        {
            "name": name,
            "total": sum(row),
            "found": row[i],
            "recall": _number(scores["recall"][name]),
            "percent": round(100 * (scores["recall"][name] or 0)),
        }
        for i, (name, row) in enumerate(
            zip(scores["confusion"]["names"], scores["confusion"]["counts"], strict=True)
        )
    ]


def _interval_note(results: Mapping) -> str:
    confidence = results["confidence"]
    if results["corpus"]["num_speakers"] < 2:
        return "none, there is only one speaker to draw"
    return (
        f"{100 * confidence['level']:.0f} %, {confidence['method']}, "
        f"{confidence['num_resamples']} draws"
    )


def _check(checks: Mapping, kind: str) -> dict:
    shared = {sides: count for sides, count in checks[kind].items() if count}
    text = ", ".join(f"{count} in {sides.replace('/', ' and ')}" for sides, count in shared.items())
    # In acted corpora everyone says the same sentences, which is told but no fault.
    mark = "" if kind == "texts" and shared else "bad" if shared else "ok"
    return {"mark": mark, "text": text or "none"}


def _read_log(folder: Path) -> list[dict]:
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []  # the report says which folds have no curve
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line]
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}; remove it to report without it") from error


def _flat(value, prefix: str = ""):
    if not isinstance(value, Mapping):
        yield prefix, value
        return
    for key, item in value.items():
        yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))


def _plain(value) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return _shortened([str(item) for item in value]) or "none"
        case float():
            return f"{value:g}"
    return str(value)


def _shortened(names: Sequence[str], *, most: int = 30) -> str:
    shown = ", ".join(str(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _number(value: float | None) -> str:
    return NONE if value is None or math.isnan(value) else f"{value:.3f}"


def _interval(interval: Sequence[float] | None) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
