"""SAMSEMO: scenes of videos in five languages, with the emotions that three raters named."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from sersl.core.errors import UserError
from sersl.corpora.catalog.label_files import require_choices
from sersl.corpora.listing import list_files, printable
from sersl.corpora.ratings import ANNOTATORS, SECONDARY, count_named
from sersl.corpora.tables.delimited import read_table
from sersl.corpora.tables.text import read_lines
from sersl.corpora.tables.values import Row
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.words import UnknownLabels, known_category
from sersl.corpora.writing.builder import FolderBuilder

_TABLE = "samsemo.tsv"
_SPLIT = re.compile(r"(train|valid|test)_split_[A-Z]{2}\.txt")
_FOLDS = {"train": "train", "valid": "validation", "test": "test"}
_LANGUAGES = {"EN": "en", "DE": "de", "ES": "es", "PL": "pl", "KO": "ko"}
_SEXES = {"male": "male", "female": "female", "other": "", "": ""}
# emotion_1_annotator_2: the first emotion that the second rater named.
_RATER = re.compile(r"emotion_(\d+)_annotator_(\d+)")
_AGGREGATED = "aggregated_emotions"
_ID = "utterance_id"
_MOST = 2  # raters who agree, of three
_TITLE = ("movie_title", "movie_type", "age")


class Samsemo(FolderBuilder):
    """Scenes of SAMSEMO; several emotions may apply to one.

    The emotions are those of the column aggregated_emotions; without it those that two raters
    named. Speakers are not marked, so that a video counts as one; the published split has scenes
    of one video on several sides.

    Source: layout as the README of huggingface.co/datasets/SamsungNLP/SAMSEMO gives it, columns as
    in its copy cairocode/samsemo-audio; audio.wav in a folder per scene and the names of the split
    files as in the authors' `preprocessing/prep_aud.py` and `prep_raw.py`
    (github.com/samsungnlp/samsemo).
    """

    name = "samsemo"
    CONTAINERS = (".mp4",)
    about = About(
        description="SAMSEMO: video scenes in English, German, Spanish, Polish and Korean.",
        citation=(
            "Bujnowski P, Kuzma B, Paziewski B, Rutkowski J, Marhula J, Bordzicka Z, "
            "Andruszkiewicz P (2024). SAMSEMO: New dataset for multilingual and multimodal "
            "emotion recognition. Interspeech: 2925-2929. doi:10.21437/Interspeech.2024-212"
        ),
        licence="see the homepage; the scenes keep the licences of their videos",
        homepage="https://huggingface.co/datasets/SamsungNLP/SAMSEMO",
        folder=(
            "samsemo.tsv, splits/train_split_EN.txt and so on, and the unpacked archives of data/: "
            "a folder per scene, EN/p1lutabubu_15/audio.wav"
        ),
    )

    def tables(self) -> list[str]:
        """Finds the table and the lists of the splits, wherever they were put."""
        files = list_files(self.audio_dir, (".tsv", ".txt"))
        names = {file: PurePosixPath(file).name for file in files}
        return [f for f, name in names.items() if name == _TABLE or _SPLIT.fullmatch(name)]

    def read_tables(self) -> list[LeftOut]:
        """Reads the scenes and the split of each."""
        files = self.tables()
        found = [file for file in files if PurePosixPath(file).name == _TABLE]
        if len(found) != 1:
            there = f"are {' and '.join(found)}" if found else f"is no {_TABLE}"
            raise UserError(
                f"corpus 'samsemo': there {there} in {self.audio_dir}: leave or copy the one of "
                "the release, which has the labels"
            )
        columns = (_ID, "language", "sex")
        table = list(read_table(self.audio_dir / found[0], columns=columns, quotes=False))
        require_choices(table, "language", _LANGUAGES)
        require_choices(table, "sex", _SEXES)
        self._scenes = {row.text(_ID): row for row in table}
        self._emotions = _read_emotions(table)
        self._folds: dict[str, str] = {}
        for file in files:
            split = _SPLIT.fullmatch(PurePosixPath(file).name)
            if split:
                lines = read_lines(self.audio_dir / file)
                self._folds |= {line.strip(): _FOLDS[split[1]] for line in lines if line.strip()}
        if self._folds:
            return []
        return [LeftOut("splits", "the lists of the splits are missing: folds are left empty")]

    def expected_utterances(self) -> int:
        """Counts the scenes of the table."""
        return len(self._scenes)

    def parse(self, file: str) -> Utterance | LeftOut:
        """Finds the scene of a file by the name of its folder, or of the file itself."""
        path = PurePosixPath(file)
        names = (path.parent.name, path.stem)
        scene = next((name for name in names if name in self._scenes), None)
        if scene is None:
            return LeftOut(printable(file), f"file without a scene in {_TABLE}")
        row = self._scenes[scene]
        raters, categories = self._emotions[scene]
        extra: dict[str, Any] = {name: row.text(name) for name in _TITLE if row.has(name)}
        if categories is not None:
            extra["categories"] = categories
        if raters:
            extra[ANNOTATORS] = raters
        one = categories[0] if categories and len(categories) == 1 else ""
        video = scene.rpartition("_")[0]
        return Utterance(
            utterance_id=scene,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=video,
            gender=_SEXES[row.text("sex")],
            language=_LANGUAGES[row.text("language")],
            session=video,
            text=row.text("transcript"),
            category=one,
            category_raw=row.text(_AGGREGATED) or one,
            votes=count_named(raters) or None,
            fold=self._folds.get(scene, ""),
            extra=extra,
        )


Emotions = tuple[dict[str, dict[str, Any]], list[str] | None]


def _read_emotions(table: Iterable[Row]) -> dict[str, Emotions]:
    """Reads raters and the emotions that apply (None: unknown), by scene."""
    table = list(table)
    places = {
        name: match
        for name in (table[0].values if table else ())
        if (match := _RATER.fullmatch(name))
    }
    if table and not places and _AGGREGATED not in table[0]:
        raise UserError(
            f"{table[0].header or _TABLE}: there is neither {_AGGREGATED} nor a column such as "
            "emotion_1_annotator_1: take the release's file"
        )
    unknown = UnknownLabels()
    found: dict[str, Emotions] = {}
    for row in table:
        named: dict[str, list[str]] = {}
        for name, match in places.items():
            named.setdefault(match[2], []).extend(_categories(row, name, unknown))
        raters: dict[str, dict[str, Any]] = {}
        for number, words in named.items():
            place = f"annotator_{number}"  # its column names who the annotator was
            who = row.name(place) or place
            if words:
                raters[place if who in raters else who] = _answer(words)
        listed = _categories(row, _AGGREGATED, unknown) if row.has(_AGGREGATED) else None
        if listed is None and raters:
            listed = [word for word, n in count_named(raters).items() if n >= _MOST]
        found[row.text(_ID)] = (raters, listed)
    unknown.check("take the release's file")
    return found


def _categories(row: Row, column: str, unknown: UnknownLabels) -> list[str]:
    """Reads the words of a cell, such as "happiness, surprise" or "['happiness']"."""
    words = [word.strip(" []'\"") for word in re.split(r"[,;|]", row.text(column))]
    named: dict[str, None] = {}
    for word in filter(None, words):
        category = known_category(word)
        if category is None:
            unknown.add(word, row.at(column))
        elif category:
            named[category] = None
    return list(named)


def _answer(words: list[str]) -> dict[str, Any]:
    answer: dict[str, Any] = {"category": words[0]}
    more = [word for word in dict.fromkeys(words) if word != words[0]]
    return answer | ({SECONDARY: more} if more else {})
