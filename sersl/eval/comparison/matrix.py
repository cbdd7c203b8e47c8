"""Scores across corpora: which corpora a model was trained on, against the one it is tested on."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sersl.core.display import one_line
from sersl.core.errors import UserError, unknown_name
from sersl.core.files import whole_file, write_json
from sersl.eval.comparison.comparison_files import write_page
from sersl.eval.comparison.systems import Run, read_systems
from sersl.eval.comparison.tables import title
from sersl.eval.figures.diagrams import heat_map
from sersl.eval.report_tables import NONE
from sersl.eval.scorer import Scorer, without_nan
from sersl.eval.workdir_files import read_json

_NAME = "matrix"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Scores of models that were trained on some corpora, tested on one.

    Attributes:
      trained: names of the corpora, joined by "+".
      tested: name of the corpus.
      scores: name to the score of each run.
      num_utterances: tested.
      categories: those that both the model and the corpus have.
      left_out: categories of the corpus that the model does not have.
      within: whether the model was also trained on other speakers of the tested corpus.
    """

    trained: str
    tested: str
    scores: Mapping[str, Sequence[float]]
    num_utterances: int
    categories: tuple[str, ...]
    left_out: tuple[str, ...]
    within: bool


def read_matrix(words: Sequence[str]) -> list[Cell]:
    """Reads the cells that finished runs fill.

    A run of `sersl finetune` with protocol cross-corpus fills a cell for each tested corpus, from
    all its others; with another protocol one within its corpora; and a folder of `sersl evaluate
    --model` one from the corpora of the model. Seeds, and runs of the same cell, are averaged.

    Args:
      words: DIR or NAME=DIR each, see `read_systems`.

    Returns:
      The cells, in the order of the runs.

    Raises:
      UserError: a file is missing or damaged, or runs of one cell have other categories.
    """
    found: dict[tuple[str, str], list[Cell]] = {}
    for system in read_systems(words):
        for run in system.runs:
            for cell in _cells(run):
                found.setdefault((cell.trained, cell.tested), []).append(cell)
    cells = []
    for (trained, tested), parts in found.items():
        for part in parts[1:]:
            if part.categories != parts[0].categories:
                raise UserError(
                    f"two runs from {trained} to {tested} tell different categories apart "
                    f"({', '.join(parts[0].categories)} and {', '.join(part.categories)}): give "
                    "runs with the same labels.view"
                )
        names = [name for name in parts[0].scores if all(name in part.scores for part in parts)]
        scores = {name: [value for part in parts for value in part.scores[name]] for name in names}
        cells.append(
            Cell(
                trained=trained,
                tested=tested,
                scores=scores,
                num_utterances=parts[0].num_utterances,
                categories=parts[0].categories,
                left_out=parts[0].left_out,
                within=parts[0].within,
            )
        )
    return cells


def _cells(run: Run) -> list[Cell]:
    """Scores the rows of each tested corpus of one run."""
    tested = run.predictions.text["corpus"]
    names = list(dict.fromkeys(tested.tolist()))
    trained = _trained_on(run, names)
    protocol = run.results["protocol"]
    left_out = [
        str(text).partition(":")[0] for text in protocol.get("categories_only_in_corpus", ())
    ]
    cells = []
    for name in names:
        own = run.predictions.take(np.flatnonzero(tested == name))
        there = set(own.text["category"].tolist())
        everything = Scorer(own)(np.arange(len(own)))
        cells.append(
            Cell(
                trained="+".join(trained[name]),
                tested=name,
                scores={key: [value] for key, value in everything.items()},
                num_utterances=len(own),
                categories=tuple(one for one in own.names if one in there),
                left_out=tuple(left_out),
                within=name in trained[name],
            )
        )
    return cells


def _trained_on(run: Run, tested: Sequence[str]) -> dict[str, list[str]]:
    """Names, for each tested corpus, the corpora that the model was trained on."""
    config = read_json(run.workdir / "config.json")
    if run.protocol == "released-model":
        corpora = config.get("model", {}).get("corpora", []) if isinstance(config, dict) else []
        own = [one["corpus"] for one in corpora if isinstance(one, dict) and "corpus" in one]
        return {name: own or ["unknown"] for name in tested}
    known = [corpus["corpus"] for corpus in run.results["corpus"]["corpora"]]
    if run.protocol != "cross-corpus":
        return dict.fromkeys(tested, known)
    never = _test_corpora(config)
    return {name: [one for one in known if one != name and one not in never] for name in tested}


def _test_corpora(config: Any) -> tuple[str, ...]:
    protocol = config.get("protocol", {}) if isinstance(config, dict) else {}
    found = protocol.get("test_corpora", ()) if isinstance(protocol, dict) else ()
    return tuple(str(name) for name in found)


def matrix_table(
    cells: Sequence[Cell], metric: str
) -> tuple[list[str], list[list[str]], np.ndarray]:
    """Arranges a score with a row per training side and a column per tested corpus.

    Returns:
      (header, rows of text, means [rows, columns], NaN where there is no run).
    """
    trained = list(dict.fromkeys(cell.trained for cell in cells))
    tested = list(dict.fromkeys(cell.tested for cell in cells))
    # The same order on both sides, so that scores within a corpus are on the diagonal.
    tested.sort(key=lambda name: trained.index(name) if name in trained else len(trained))
    values = np.full((len(trained), len(tested)), np.nan)
    texts = [[NONE] * len(tested) for _ in trained]
    for cell in cells:
        row, column = trained.index(cell.trained), tested.index(cell.tested)
        found = np.array(cell.scores.get(metric, [np.nan]), np.float64)
        values[row, column] = found.mean()
        if not np.isnan(found).any():
            spread = f" ± {found.std(ddof=1):.3f}" if len(found) > 1 else ""
            texts[row][column] = f"{found.mean():.3f}{spread}"
    header = [f"{title(metric)}, trained on", *(one_line(name) for name in tested)]
    rows = [[one_line(name), *row] for name, row in zip(trained, texts, strict=True)]
    return header, rows, values


def matrix_metric(cells: Sequence[Cell], wanted: str = "") -> str:
    """Chooses the score of a matrix: `wanted`, or the first.

    Raises:
      UserError: no run has it.
    """
    known = list(dict.fromkeys(name for cell in cells for name in cell.scores))
    if not known:
        raise UserError("no utterance has a category or a rating, so there is nothing to compare")
    if wanted and wanted not in known:
        raise unknown_name("score in --metric", wanted, known)
    return wanted or known[0]


def matrix_notes(cells: Sequence[Cell]) -> list[str]:
    """Names the classes behind each number, in sentences."""
    notes = ["rows: corpora of training; columns: corpus of the test; ±: over runs, e.g. seeds"]
    if any(cell.within for cell in cells):
        notes.append("within a corpus, the scores are of its own protocol, on other speakers")
    classes = {cell.categories for cell in cells}
    if len(classes) > 1:
        notes.append(
            "the cells have different classes, so compare numbers of one column with care: "
            + "; ".join(
                f"{cell.trained} to {cell.tested}: {', '.join(cell.categories) or 'none'}"
                for cell in cells
            )
        )
    elif any(classes):
        notes.append(f"classes of every cell: {', '.join(cells[0].categories)}")
    for cell in cells:
        if cell.left_out:
            notes.append(
                f"{cell.trained} to {cell.tested}: the model does not know "
                f"{', '.join(cell.left_out)}, which were left out"
            )
    return notes


def write_matrix(folder: Path, cells: Sequence[Cell], metric: str) -> Path:
    """Writes matrix.md, .csv, .tex, .json, .png and .html; returns the page."""
    header, rows, values = matrix_table(cells, metric)
    heat_map(
        folder / f"{_NAME}.png",
        values=values,
        rows=[row[0] for row in rows],
        columns=header[1:],
        title=title(metric),
    )
    with whole_file(folder / f"{_NAME}.csv") as file:
        file.write(_as_csv(cells))
    write_json(folder / f"{_NAME}.json", without_nan({"cells": [vars(cell) for cell in cells]}))
    return write_page(
        folder,
        _NAME,
        (header, rows),
        heading="Scores across corpora",
        notes=matrix_notes(cells),
        caption=f"{title(metric)} of every pair of corpora",
    )


def _as_csv(cells: Sequence[Cell]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["trained", "tested", "num_utterances", "categories", "metric", "run", "score"])
    for cell in cells:
        start = [one_line(cell.trained), one_line(cell.tested), cell.num_utterances]
        for metric, values in cell.scores.items():
            for number, value in enumerate(values):
                digits = "" if np.isnan(value) else f"{value:.6g}"
                writer.writerow([*start, ";".join(cell.categories), metric, number, digits])
    return file.getvalue()
