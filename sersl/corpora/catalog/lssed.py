"""LSSED: 820 speakers in interviews, eleven emotions."""

from pathlib import PurePosixPath

from sersl.core.errors import UserError
from sersl.corpora.catalog.label_files import missing_tables, require_emotions
from sersl.corpora.listing import printable
from sersl.corpora.tables.delimited import read_table
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_LABELS = "metadata_english_all.csv"
_COLUMNS = ("name", "emotion", "faces")  # the second or the third has the emotion
_NO_CANONICAL = {"disappointed": "other"}
_GENDERS = {
    **dict.fromkeys(("f", "F", "female", "Female"), "female"),
    **dict.fromkeys(("m", "M", "male", "Male"), "male"),
    "": "",
}
_KNOWN = {*_COLUMNS, "speaker", "gender", "age"}


class Lssed(FolderBuilder):
    """LSSED's label file and audio.

    Source: file, folder and columns as in Vesper `utils/dataset.py` and `configs/dataset_config.py`
    (the dataset is not public); eleven emotions as in the paper, sec. 3.
    """

    name = "lssed"
    TABLES = (_LABELS,)
    about = About(
        description="LSSED: English speech of 820 people, eleven emotions.",
        citation=(
            "Fan W, Xu X, Xing X, Chen W, Huang D (2021). LSSED: A Large-Scale Dataset and "
            "Benchmark for Speech Emotion Recognition. ICASSP: 641-645."
        ),
        licence="LSSED licence: signed, research, not to be passed on",
        homepage="https://github.com/tobefans/LSSED",
        folder=f"{_LABELS} (columns name, and emotion or faces) and wav_all/NAME.wav",
        how_to_get="sign EULA.pdf of https://github.com/tobefans/LSSED and send it to its authors",
    )

    def read_tables(self) -> list[LeftOut]:
        """Reads the label of every file."""
        if missing_tables(self.audio_dir, [_LABELS]):
            raise UserError(
                f"corpus 'lssed': there is no {_LABELS} in {self.audio_dir}: the labels are in it, "
                "so copy it from the release"
            )
        rows = list(read_table(self.audio_dir / _LABELS, columns=("name",)))
        self._labels = {PurePosixPath(row.text("name")).stem: row for row in rows}
        self._column = next((name for name in ("emotion", "faces") if rows and name in rows[0]), "")
        if not self._column:
            raise UserError(f"{_LABELS} has no column emotion or faces: take the corpus's own file")
        self._categories = require_emotions(rows, self._column, _NO_CANONICAL)
        return []

    def expected_utterances(self) -> int:
        """Counts the labelled files: 147,025 in the paper."""
        return len(self._labels)

    def parse(self, file: str) -> Utterance | LeftOut:
        """Takes the label of a file from the table."""
        stem = PurePosixPath(file).stem
        if stem not in self._labels:
            return LeftOut(printable(file), f"file without a label in {_LABELS}")
        row = self._labels[stem]
        raw = row.text(self._column)
        return Utterance(
            utterance_id=stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=row.name("speaker"),
            gender=row.choice("gender", _GENDERS),
            language="en",
            category=self._categories[raw],
            category_raw=raw,
            extra={
                name: value for name, value in row.values.items() if name and name not in _KNOWN
            },
        )
