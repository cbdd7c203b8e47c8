"""`predictions.csv`: truth and prediction of every tested utterance, in columns by name."""

import csv
import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sersl.core.cells import from_cell, to_cell
from sersl.core.errors import UserError, unknown_name
from sersl.core.files import whole_file
from sersl.corpora.labels import DIMENSIONS, order_dimensions

TEXT_COLUMNS = ("utterance_id", "fold", "speaker", "corpus", "gender", "category", "predicted")
# Of later versions; a file may lack them.
GROUP_COLUMNS = ("language", "age_group")
_REMEDY = "rerun `sersl finetune`, which writes the file again"
_LABELLED = "labelled"  # column of a file in which several categories may apply
_ROUNDING = 1e-5  # probabilities have six digits in the file


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Truth and prediction of N utterances, each tested once.

    Attributes:
      text: {column: str [N]} for every name of `TEXT_COLUMNS`, and of `GROUP_COLUMNS`
        where the file has them; "" where there is none.
      names: C category names, in the order of `scores`.
      scores: float64 [N, C], probabilities.
      rated: names of E dimensions, arousal, dominance and valence among them.
      truth: float64 [N, E] in 0..1; NaN where there is none.
      predicted: float64 [N, E], all NaN for a dimension that the model does not predict; None if it
        predicts none.
      labelled: bool [N], where several categories may apply: whether it is known which do. Their
        names are joined by ";". None where one category applies.
    """

    text: dict[str, np.ndarray]
    names: tuple[str, ...]
    scores: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray | None
    rated: tuple[str, ...] = DIMENSIONS
    labelled: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.text["utterance_id"])

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the dimensions that the model predicts."""
        if self.predicted is None:
            return ()
        found = ~np.isnan(self.predicted).all(0)
        return tuple(name for name, is_found in zip(self.rated, found, strict=True) if is_found)

    def rating(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Gives truth and prediction of one of `dimensions`, each float64 [N]."""
        place = self.rated.index(name)
        assert self.predicted is not None
        return self.truth[:, place], self.predicted[:, place]

    def take(self, rows: np.ndarray) -> "Predictions":
        """Gives some rows, int [n], in their order."""
        return dataclasses.replace(
            self,
            text={name: values[rows] for name, values in self.text.items()},
            scores=self.scores[rows],
            truth=self.truth[rows],
            predicted=None if self.predicted is None else self.predicted[rows],
            labelled=None if self.labelled is None else self.labelled[rows],
        )

    @property
    def groups(self) -> np.ndarray:
        """Names of the speakers of all rows with their corpus, str [N]."""
        pairs = zip(self.text["corpus"], self.text["speaker"], strict=True)
        return np.array([f"{corpus}/{speaker}" for corpus, speaker in pairs])

    @property
    def num_speakers(self) -> int:
        """Number of speakers that are known."""
        return count_speakers(self.groups)


def count_speakers(groups: np.ndarray) -> int:
    """Counts the known speakers of `Predictions.groups`, str [N]."""
    return sum(group.partition("/")[1:] != ("/", "") for group in set(groups.tolist()))


def speakers_of(number: int) -> str:
    """Writes a number of speakers; 0: they are unknown."""
    return f"{number} speaker{'' if number == 1 else 's'}" if number else "unknown speakers"


def no_intervals(number: int) -> str:
    """Says why there are no intervals over speakers, of which one or none is known."""
    why = "there is only one speaker to draw" if number else "the speakers are not known"
    return f"no intervals: {why}"


def read_predictions(path: str | Path) -> Predictions:
    """Reads and checks a `predictions.csv`.

    Args:
      path: the file.

    Returns:
      The predictions, rows in the order of the file.

    Raises:
      UserError: the file, a column or a value is missing or damaged, or an utterance is doubled.
    """
    path = Path(path)
    header, rows = _read_table(path)
    names = tuple(name.removeprefix("score_") for name in header if name.startswith("score_"))
    rated = order_dimensions(name for name in header if _is_rating(name))
    predicted = np.full((len(rows), len(rated)), np.nan)
    for i, name in enumerate(rated):
        column = f"predicted_{name}"
        if column in header and any(row[column] for row in rows):
            predicted[:, i] = _numbers(path, rows, [column], empty=False)[:, 0]
    result = Predictions(
        text={
            name: np.array([from_cell(row[name]) for row in rows])
            for name in (*TEXT_COLUMNS, *GROUP_COLUMNS)
            if name in header
        },
        names=names,
        scores=_numbers(path, rows, [f"score_{name}" for name in names], empty=False),
        labelled=np.array([bool(row[_LABELLED]) for row in rows]) if _LABELLED in header else None,
        rated=rated,
        truth=_numbers(path, rows, rated, empty=True),
        predicted=None if np.isnan(predicted).all() else predicted,
    )
    for line, problem in _problems(result):
        raise UserError(f"{path}, line {line}: {problem}; {_REMEDY}")
    return result


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Writes a `predictions.csv`, whole or not at all.

    Args:
      path: the file.
      predictions: N rows.

    Raises:
      UserError: a prediction is not a finite number.
    """
    _check_finite(predictions)
    columns: dict[str, Sequence[str]] = {
        name: [to_cell(str(text)) for text in predictions.text[name]]
        for name in (*TEXT_COLUMNS, *GROUP_COLUMNS)
        if name in TEXT_COLUMNS or name in predictions.text
    }
    for i, name in enumerate(predictions.names):
        columns[f"score_{name}"] = _texts(predictions.scores[:, i])
    if predictions.labelled is not None:
        columns[_LABELLED] = ["yes" if known else "" for known in predictions.labelled]
    for i, name in enumerate(predictions.rated):
        columns[name] = _texts(predictions.truth[:, i])
    for name in predictions.dimensions:
        columns[f"predicted_{name}"] = _texts(predictions.rating(name)[1])
    with whole_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _is_rating(column: str) -> bool:
    """Tells whether a column of the file is the truth of a dimension."""
    other = (*TEXT_COLUMNS, *GROUP_COLUMNS, _LABELLED)
    return column not in other and not column.startswith(("score_", "predicted_"))


def _read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Reads the header and the rows, which must have as many values as the header."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or [])
            rows = list(reader)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): run `sersl finetune` first"
        ) from error
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error}): {_REMEDY}") from error
    for name in (*TEXT_COLUMNS, *DIMENSIONS):
        if name not in header:
            raise UserError(f"{path} has no column {name!r}: {_REMEDY}")
    for name, count in Counter(header).items():
        if count > 1:
            raise UserError(f"{path} has {count} columns {name!r}: {_REMEDY}")
    if not rows:
        raise UserError(f"{path} has no rows, so there is nothing to score: {_REMEDY}")
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise UserError(f"{path}, line {line} does not have {len(header)} values: {_REMEDY}")
    return header, rows


def _numbers(
    path: Path, rows: Sequence[dict[str, str]], columns: Sequence[str], *, empty: bool
) -> np.ndarray:
    """Converts columns to float64 [N, columns]; NaN for an empty value, if that is allowed."""
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
                    f"{path}, line {i + 2}: column {column!r} has {text[:40]!r}, which is not a "
                    f"finite number; {_REMEDY}"
                )
    return values


def _problems(predictions: Predictions) -> Iterator[tuple[int, str]]:
    """Finds rows that `write_predictions` does not write, each as (line, what is wrong)."""
    text, seen = predictions.text, set()
    for i in range(len(predictions)):
        utterance = str(text["corpus"][i]), str(text["utterance_id"][i])
        if utterance in seen:
            yield i + 2, f"utterance {utterance[1]!r} of corpus {utterance[0]!r} is there twice"
        seen.add(utterance)
        if predictions.labelled is not None:
            problem = _labels_problem(predictions, i)
            if problem:
                yield i + 2, problem
        elif predictions.names:
            problem = _category_problem(
                predictions.names,
                str(text["category"][i]),
                str(text["predicted"][i]),
                predictions.scores[i],
            )
            if problem:
                yield i + 2, problem


def _labels_problem(predictions: Predictions, row: int) -> str:
    """Explains what is wrong with the categories of a row, of which several may apply."""
    for column in ("category", "predicted"):
        for word in filter(None, str(predictions.text[column][row]).split(";")):
            if word not in predictions.names:
                return f"column {column!r}: {unknown_name('category', word, predictions.names)}"
    scores = predictions.scores[row]
    return "" if ((scores >= 0) & (scores <= 1)).all() else "a probability is not between 0 and 1"


def _category_problem(
    names: tuple[str, ...], truth: str, predicted: str, scores: np.ndarray
) -> str:
    """Explains what is wrong with the categories and the probabilities [C] of a row."""
    for column, name in (("category", truth), ("predicted", predicted)):
        if name not in names and (name or column == "predicted"):
            return f"column {column!r}: {unknown_name('category', name, names)}"
    if not ((scores >= 0) & (scores <= 1)).all():
        return "a probability is not between 0 and 1"
    # A released model may give none of the categories of a corpus a probability above 0.
    if scores.any() and abs(scores.sum() - 1) > _ROUNDING * len(names):
        return f"the probabilities add up to {scores.sum():.6g}, not to 1"
    if scores[names.index(predicted)] < scores.max() - _ROUNDING:
        return f"the predicted {predicted!r} does not have the highest probability"
    return ""


def _check_finite(predictions: Predictions) -> None:
    wrong = ~np.isfinite(predictions.scores).all(1)
    for name in predictions.dimensions:
        wrong |= ~np.isfinite(predictions.rating(name)[1])
    if wrong.any():
        example = str(predictions.text["utterance_id"][wrong.argmax()])
        raise UserError(
            f"the predictions for {int(wrong.sum())} of {len(predictions)} utterances, e.g. "
            f"{example!r}, are not finite numbers, so they cannot be scored: the training has "
            "diverged; train again with a lower optimizer.learning_rate"
        )


def _texts(values: np.ndarray) -> list[str]:
    return ["" if math.isnan(value) else f"{value:.6g}" for value in values]
