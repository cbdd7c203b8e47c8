"""CREMA-D: 91 American actors, twelve sentences, six emotions, with the votes of listeners."""

import math
import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from sersl.corpora.catalog.label_files import missing_tables
from sersl.corpora.listing import printable
from sersl.corpora.tables.delimited import read_table
from sersl.corpora.tables.values import Row
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX?)")
_EMOTIONS = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
_VOTES = {code[0]: name for code, name in _EMOTIONS.items()}  # columns of tabulatedVotes.csv
# Asked of the actor; XX: not specified. Evenly over 0..1, as RAVDESS's normal and strong.
_LEVELS = {"LO": 0.0, "MD": 0.5, "HI": 1.0, "XX": math.nan}
_SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
_GENDERS = {"Male": "male", "male": "male", "Female": "female", "female": "female", "": ""}
_VOTES_FILE = "processedResults/tabulatedVotes.csv"
_ACTORS_FILE = "VideoDemographics.csv"


class Cremad(FolderBuilder):
    """CREMA-D as its repository has it; the category is the emotion that the actor was to play."""

    name = "cremad"
    EXTENSIONS = (".wav", ".flac")
    TABLES = (_VOTES_FILE, _ACTORS_FILE)
    about = About(
        description=(
            "Crowd-sourced Emotional Multimodal Actors Dataset: 91 actors say twelve sentences in "
            "six emotions; listeners' votes and levels for the voice alone."
        ),
        citation=(
            "Cao H, Cooper DG, Keutmann MK, Gur RC, Nenkova A, Verma R (2014). CREMA-D. IEEE "
            "Trans. Affect. Comput. 5(4): 377-390. doi:10.1109/TAFFC.2014.2336244"
        ),
        licence="ODbL 1.0",
        homepage="https://github.com/CheyneyComputerScience/CREMA-D",
        folder=f"AudioWAV/1001_DFA_ANG_XX.wav and so on, {_VOTES_FILE} and {_ACTORS_FILE}",
        num_utterances=7442,
    )

    def read_tables(self) -> list[LeftOut]:
        """Reads votes and actors; without them the audio still has its intended labels."""
        self._votes: dict[str, dict[str, float]] = {}
        self._levels: dict[str, float] = {}
        self._actors: dict[str, tuple[str, str]] = {}
        for row in self._rows_of(_VOTES_FILE, (*_VOTES, "fileName", "meanEmoResp")):
            # The first digit of the row's number is what raters had: 1 voice, 2 face, 3 both.
            # The column of numbers has no name, or the one that another program gave it.
            if row.text(next(iter(row.values))).startswith("1"):
                counts = {name: row.whole(letter) or 0 for letter, name in _VOTES.items()}
                self._votes[row.text("fileName")] = {k: n for k, n in counts.items() if n}
                self._levels[row.text("fileName")] = row.number("meanEmoResp")
        for row in self._rows_of(_ACTORS_FILE, ("ActorID", "Sex", "Age")):
            self._actors[row.text("ActorID")] = (row.choice("Sex", _GENDERS), row.text("Age"))
        return [
            LeftOut(file, "label file is missing: its labels are left empty")
            for file in missing_tables(self.audio_dir, self.TABLES)
        ]

    def _rows_of(self, file: str, columns: Iterable[str]) -> Iterable[Row]:
        if missing_tables(self.audio_dir, [file]):
            return ()
        return read_table(self.audio_dir / file, columns=columns)

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads ACTOR_SENTENCE_EMOTION_LEVEL."""
        stem = PurePosixPath(file).stem
        match = _NAME.fullmatch(stem)
        if match is None or match[2] not in _SENTENCES or match[3] not in _EMOTIONS:
            return LeftOut(printable(file), "name is not ACTOR_SENTENCE_EMOTION_LEVEL")
        actor, sentence, emotion, level = match.groups()
        if level == "X":  # 1040_ITH_SAD_X.wav is XX in the tables
            level, stem = "XX", stem + "X"
        extra: dict[str, object] = {"level": level}
        if not math.isnan(self._levels.get(stem, math.nan)):
            extra["voice_level"] = round(self._levels[stem], 6)  # 0..100, mean over raters
        gender = ""
        if actor in self._actors:
            gender, extra["age"] = self._actors[actor]
        return Utterance(
            utterance_id=stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=actor,
            gender=gender,
            language="en",
            text=_SENTENCES[sentence],
            category=_EMOTIONS[emotion],
            category_raw=emotion,
            votes=self._votes.get(stem),
            intensity=_LEVELS[level],
            extra=extra,
        )
