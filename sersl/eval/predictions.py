"""`predictions.csv`: truth and prediction of every tested utterance, by name."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sersl.core.cells import from_cell, to_cell
from sersl.core.errors import UserError
from sersl.core.files import whole_file
from sersl.corpora.labels import DIMENSIONS

TEXT_COLUMNS = ("utterance_id", "fold", "speaker", "corpus", "gender", "category", "predicted")


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Truth and prediction of N utterances, each tested once.

    Attributes:
      text: {column: str [N]} for every name of `TEXT_COLUMNS`; "" where there is none.
      names: C category names, in the order of `scores`.
      scores: float64 [N, C], probabilities.
      truth: float64 [N, 3] in 0..1, arousal, dominance, valence; NaN where there is none.
      predicted: float64 [N, 3], NaN throughout where the model does not predict a dimension; None
        when it predicts none.
    """

    text: dict[str, np.ndarray]
    names: tuple[str, ...]
    scores: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray | None

    def __len__(self) -> int:
        return len(self.text["utterance_id"])

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the dimensions that the model predicts."""
        if self.predicted is None:
            return ()
        there = ~np.isnan(self.predicted).all(0)
        return tuple(name for name, any_ in zip(DIMENSIONS, there, strict=True) if any_)

    @property
    def groups(self) -> np.ndarray:
        """Names every row's speaker, told apart by corpus: str [N]."""
        pairs = zip(self.text["corpus"], self.text["speaker"], strict=True)
        return np.array([f"{corpus}/{speaker}" for corpus, speaker in pairs])


def read_predictions(path: str | Path) -> Predictions:
    """Reads and checks a `predictions.csv`.

    Args:
      path: the file.

    Returns:
      The predictions, rows in the order of the file.

    Raises:
      UserError: missing file or column, a row without rest, no number, or an utterance twice.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or [])
            rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"predictions {path} cannot be read: {error}; run `sersl finetune` first"
        ) from error
    for name in (*TEXT_COLUMNS, *DIMENSIONS):
        if name not in header:
            raise UserError(
                f"{path} has no column {name!r} (columns: {', '.join(header) or 'none'})"
            )
    if not rows:
        raise UserError(f"{path} has no rows: nothing was predicted, so nothing can be scored")
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise UserError(f"{path}, line {line}: {len(header)} values are expected")
    names = tuple(name.removeprefix("score_") for name in header if name.startswith("score_"))
    predicted = np.full((len(rows), len(DIMENSIONS)), np.nan)
    for i, name in enumerate(DIMENSIONS):
        column = f"predicted_{name}"
        if column in header and any(row[column] for row in rows):
            predicted[:, i] = _numbers(path, rows, [column], empty=False)[:, 0]
    result = Predictions(
        text={name: np.array([from_cell(row[name]) for row in rows]) for name in TEXT_COLUMNS},
        names=names,
        scores=_numbers(path, rows, [f"score_{name}" for name in names], empty=False),
        truth=_numbers(path, rows, DIMENSIONS, empty=True),
        predicted=None if np.isnan(predicted).all() else predicted,
    )
    seen = set()
    for line, key in enumerate(
        zip(result.text["corpus"], result.text["utterance_id"], strict=True), start=2
    ):
        if key in seen:
            raise UserError(
                f"{path}, line {line}: utterance {str(key[1])!r} of corpus "
                f"{str(key[0])!r} is there twice; "
                "every utterance must be tested once"
            )
        seen.add(key)
    return result


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Writes a `predictions.csv`, whole or not at all.

    Args:
      path: the file.
      predictions: N rows.
    """
    columns: dict[str, Sequence[str]] = {
        name: [to_cell(str(text)) for text in predictions.text[name]] for name in TEXT_COLUMNS
    }
    for i, name in enumerate(predictions.names):
        columns[f"score_{name}"] = _texts(predictions.scores[:, i])
    for i, name in enumerate(DIMENSIONS):
        columns[name] = _texts(predictions.truth[:, i])
    if predictions.predicted is not None:
        for name in predictions.dimensions:
            values = predictions.predicted[:, DIMENSIONS.index(name)]
            columns[f"predicted_{name}"] = _texts(values)
    with whole_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _texts(values: np.ndarray) -> list[str]:
    return ["" if math.isnan(value) else f"{value:.6g}" for value in values]


def _numbers(path, rows, columns, *, empty: bool) -> np.ndarray:
    values = np.full((len(rows), len(columns)), np.nan)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            text = row[column]
            if text == "" and empty:
                continue
            try:
                values[i, j] = float(text)
            except ValueError:
                values[i, j] = math.nan
            if not math.isfinite(values[i, j]):
                raise UserError(
                    f"{path}, line {i + 2}: column {column!r} has {text!r}, which is no number"
                )
    return values
