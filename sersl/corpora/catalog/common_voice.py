"""Common Voice: sentences read by volunteers in many languages; no emotions."""

from pathlib import PurePosixPath

from sersl.core.errors import UserError
from sersl.corpora.listing import list_files, printable
from sersl.corpora.tables.delimited import read_table
from sersl.corpora.tables.values import Row
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_COLUMNS = ("client_id", "path", "sentence", "gender", "age", "locale")
_VALID = "validated.tsv"
_FOLDS = {"train.tsv": "train", "dev.tsv": "validation", "test.tsv": "test"}
# Since release 17 the answers are female_feminine, male_masculine and others of their own.
_GENDERS = {
    "female": "female",
    "female_feminine": "female",
    "male": "male",
    "male_masculine": "male",
}


class CommonVoice(FolderBuilder):
    """The validated clips of one or more languages, with the official sets as folds.

    Source: layout and columns as in lhotse `recipes/commonvoice.py`.
    """

    name = "common_voice"
    EXTENSIONS = (".mp3", ".wav", ".flac")
    about = About(
        description="Common Voice: sentences read by volunteers in many languages.",
        citation=(
            "Ardila R, Branson M, Davis K, et al. (2020). Common Voice: A Massively-Multilingual "
            "Speech Corpus. LREC: 4218-4222."
        ),
        licence="CC0 1.0",
        homepage="https://commonvoice.mozilla.org/datasets",
        folder="en/validated.tsv and en/clips/common_voice_en_1.mp3 and so on, any languages",
    )

    def tables(self) -> list[str]:
        """Finds validated.tsv and the official sets of every language."""
        files = list_files(self.audio_dir, (".tsv",))
        return [file for file in files if PurePosixPath(file).name in (_VALID, *_FOLDS)]

    def read_tables(self) -> list[LeftOut]:
        """Reads the validated clips and which set each is in."""
        self._clips: dict[str, Row] = {}
        self._folds: dict[str, str] = {}
        for file in self.tables():
            path = PurePosixPath(file)
            for row in read_table(self.audio_dir / file, columns=_COLUMNS, quotes=False):
                clip = str(path.parent / "clips" / row.text("path"))
                if path.name == _VALID:
                    self._clips[clip] = row
                else:
                    self._folds[clip] = _FOLDS[path.name]
        if not self._clips:
            raise UserError(
                f"corpus 'common_voice': there is no {_VALID} in {self.audio_dir}: give the folder "
                "of one language or of the release, with its tables"
            )
        return []

    def expected_utterances(self) -> int:
        """Counts the validated clips."""
        return len(self._clips)

    def parse(self, file: str) -> Utterance | LeftOut:
        """Takes the labels of a clip from the tables."""
        if file not in self._clips:
            return LeftOut(printable(file), f"clip is not in {_VALID}")
        row = self._clips[file]
        kept = ("age", "accents", "accent", "variant")
        return Utterance(
            utterance_id=PurePosixPath(file).stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=row.name("client_id"),
            gender=_GENDERS.get(row.text("gender"), ""),  # others: no answer, or neither
            language=row.text("locale").split("-")[0],
            text=row.text("sentence"),
            fold=self._folds.get(file, ""),
            extra={name: row.text(name) for name in kept if row.has(name)},
        )
