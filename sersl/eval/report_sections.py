"""Tables of a report beside the scores: calibration, uncertainty, groups, robustness."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sersl.eval.analysis.degradation import degradation_rows
from sersl.eval.comparison.paired import compare
from sersl.eval.comparison.systems import read_systems
from sersl.eval.comparison.tables import main_metric, notes, table_rows, title
from sersl.eval.report_tables import DIMENSION_SCORES, LABEL_SCORES, SCORES, interval_text
from sersl.eval.report_tables import number_text as shown

Results = Mapping[str, Any]  # content of results.json
_CALIBRATION = {"ece": "ECE", "nll": "NLL", "brier": "Brier", "aurc": "AURC"}
_SHOWN_GROUPS = 12  # of one attribute; speakers have a figure


def section_tables(results: Results) -> dict[str, Any]:
    """Prepares the values of these sections; empty ones for results of earlier versions."""
    return {
        "calibration_columns": list(_CALIBRATION.values()),
        "calibration_rows": list(_calibration_rows(results)),
        "temperatures": _temperatures(results),
        "uncertainty_rows": list(_uncertainty_rows(results)),
        "group_columns": [title(name) for name in _group_scores(results)],
        "group_rows": list(_group_rows(results)),
        "robustness_header": _robustness(results)[0],
        "robustness_rows": _robustness(results)[1],
        "of_seed": f" of seed {results['seeds'][0]}" if results.get("seeds") else "",
    }


def comparison_table(workdir: Path, others: Sequence[str]) -> dict[str, Any]:
    """Compares a run with others by a paired bootstrap, see `sersl.eval.comparison.paired`.

    Args:
      workdir: of the run.
      others: DIR or NAME=DIR each.

    Returns:
      "header", "rows" and "notes" of the table; the first row is the run.

    Raises:
      UserError: a run cannot be read, or does not test the same utterances.
    """
    comparison = compare(read_systems([f"this run={workdir}", *others]))
    main = main_metric(comparison)
    header, rows = table_rows(comparison, main)
    return {"header": header, "rows": rows, "notes": notes(comparison)}


def _calibration_rows(results: Results) -> Iterator[dict[str, Any]]:
    found = results.get("calibration") or {}
    for key, name in (("as_is", "as it is"), ("with_temperature", "with temperature")):
        if found.get(key):
            yield {"name": name, "cells": [shown(found[key][one]) for one in _CALIBRATION]}


def _temperatures(results: Results) -> str:
    known = (results.get("calibration") or {}).get("temperatures") or {}
    if known:
        return ", ".join(f"{fold} {value:.2f}" for fold, value in known.items())
    released = results["protocol"].get("temperature")
    return "" if released is None else f"{released:.2f}, part of the model"


def _uncertainty_rows(results: Results) -> Iterator[dict[str, Any]]:
    for name, found in (results.get("uncertainty") or {}).items():
        if not found:
            continue
        best = max((one["auroc"] or 0.0 for one in found["measures"].values()), default=0.0)
        for measure, one in found["measures"].items():
            yield {
                "name": name,
                "measure": measure,
                "uar": shown(found["uar"]),
                "cells": [shown(one[key]) for key in ("auroc", "aurc", "mean")],
                "best": bool(best) and one["auroc"] == best,
            }


def _group_scores(results: Results) -> list[str]:
    """Names the scores that a group has: UAR or macro F1, accuracy, and CCC of dimensions."""
    names: dict[str, None] = {}
    for found in (results.get("groups") or {}).values():
        for group in found["groups"].values():
            scores = group["scores"]
            names |= dict.fromkeys(name for name, value in scores.items() if value is not None)
    wanted = ("uar", "accuracy") if "uar" in names else ("macro_f1",)
    kept = [name for name in wanted if name in names]
    kept += [name for name in names if name.startswith("ccc.")]
    known = {*SCORES, *LABEL_SCORES}
    return [n for n in kept if n in known or n.partition(".")[0] in DIMENSION_SCORES]


def _group_rows(results: Results) -> Iterator[dict[str, Any]]:
    columns = _group_scores(results)
    for attribute, found in (results.get("groups") or {}).items():
        groups = found["groups"]
        if len(groups) <= _SHOWN_GROUPS and attribute != "speaker":
            for name, group in groups.items():
                cells = [
                    _cell(group["scores"].get(one), group["intervals"].get(one)) for one in columns
                ]
                sizes = (group["num_utterances"], group["num_speakers"])
                label = f"{attribute.replace('_', ' ')}: {name}"
                yield {"name": label, "sizes": sizes, "cells": cells, "gap": False}
        gaps = [found["gaps"].get(one) for one in columns]
        cells = [_cell(gap["gap"], gap["interval"]) if gap else ("-", "") for gap in gaps]
        label = f"gap by {attribute.replace('_', ' ')} ({len(groups)})"
        yield {"name": label, "sizes": ("", ""), "cells": cells, "gap": True}


def _robustness(results: Results) -> tuple[list[str], list[list[str]]]:
    found = results.get("robustness")
    return degradation_rows(found["conditions"]) if found else ([], [])


def _cell(value: float | None, interval: Sequence[float] | None) -> tuple[str, str]:
    return shown(value), interval_text(interval) if interval else ""
