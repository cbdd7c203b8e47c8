"""MELD: utterances of the series Friends, with the emotion of each."""

import re
from pathlib import PurePosixPath

from sersl.core.errors import UserError
from sersl.corpora.catalog.label_files import require_emotions
from sersl.corpora.dialogues import DIALOGUE, TURN
from sersl.corpora.listing import list_files, printable
from sersl.corpora.tables.delimited import read_table
from sersl.corpora.tables.values import Row
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_NAME = re.compile(r"(final_videos_test)?(dia\d+_utt\d+)")
_TABLE = re.compile(r"(?:.*/)?(train|dev|test)_sent_emo\.csv")
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
_FOLDS = {"train": "train", "dev": "validation", "test": "test"}
# In the tables, but without audio in the release: counted by nkululeko and in EmoBox (13706).
_ABSENT = {("train", "dia125_utt3"), ("dev", "dia110_utt7")}


class Meld(FolderBuilder):
    """The sound of MELD's clips; an extracted audio file is preferred to the video.

    Source: folders, tables and odd names as in EmoBox `EmoBox/preprocess/scripts/meld.py` and
    nkululeko `data/meld/process_database.py`.
    """

    name = "meld"
    CONTAINERS = (".mp4",)
    about = About(
        description="Multimodal EmotionLines Dataset: dialogues of a TV series, seven emotions.",
        citation=(
            "Poria S, Hazarika D, Majumder N, Naik G, Cambria E, Mihalcea R (2019). MELD: A "
            "Multimodal Multi-Party Dataset for Emotion Recognition in Conversations. ACL: 527-536."
        ),
        licence="GPL-3.0 (annotations); the clips are of a TV series",
        homepage="https://affective-meld.github.io/",
        folder=(
            "train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv and "
            "train_splits/dia0_utt0.wav, dev_splits_complete/..., "
            "output_repeated_splits_test/...: the .mp4 clips, read with the extra `sersl[av]`, or "
            "their sound beside them, extracted with `ffmpeg -i dia0_utt0.mp4 dia0_utt0.wav`"
        ),
        num_utterances=13706,
    )

    def tables(self) -> list[str]:
        """Finds the three tables, wherever the release was unpacked to."""
        return [file for file in list_files(self.audio_dir, (".csv",)) if _TABLE.fullmatch(file)]

    def read_tables(self) -> list[LeftOut]:
        """Reads the label of every clip."""
        self._clips: dict[tuple[str, str], Row] = {}
        for file in self.tables():
            split = PurePosixPath(file).name.split("_")[0]
            for row in read_table(self.audio_dir / file, columns=_COLUMNS):
                clip = f"dia{row.whole('Dialogue_ID')}_utt{row.whole('Utterance_ID')}"
                self._clips[split, clip] = row
        self._categories = require_emotions(self._clips.values(), "Emotion")
        found = {split for split, _ in self._clips}
        missing = [split for split in _FOLDS if split not in found]
        if missing:
            raise UserError(
                f"corpus 'meld': {missing[0]}_sent_emo.csv is not in {self.audio_dir}: the labels "
                "are in it, so copy the three tables of MELD.Raw into it"
            )
        return []

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads the split from the folder, dialogue and utterance from the name."""
        path = PurePosixPath(file)
        match = _NAME.fullmatch(path.stem)
        if match is None:
            return LeftOut(printable(file), "name is not like dia0_utt0")
        split = _split(path)
        if match[1]:  # a second version of 132 test clips; used only where the first is missing
            split = "test"
        if (split, match[2]) not in self._clips or (split, match[2]) in _ABSENT:
            return LeftOut(printable(file), "not in the table of its split")
        row = self._clips[split, match[2]]
        dialogue = f"{split}_dia{row.whole('Dialogue_ID')}"
        wanted = ("Sentiment", "Season", "Episode")
        return Utterance(
            utterance_id=f"{split}_{match[2]}",
            source=self.audio_dir / file,
            path=printable(file),
            speaker=row.name("Speaker"),
            language="en",
            session=dialogue,
            text=row.text("Utterance"),
            category=self._categories[row.text("Emotion")],
            category_raw=row.text("Emotion"),
            fold=_FOLDS[split],
            extra={
                **{name.lower(): row.text(name) for name in wanted if row.has(name)},
                DIALOGUE: dialogue,
                TURN: row.whole("Utterance_ID"),
            },
        )


def _split(path: PurePosixPath) -> str:
    """Finds the split in the folders' names: output_repeated_splits_test is test."""
    for part in reversed(path.parts[:-1]):
        for split in _FOLDS:
            if split in part:
                return split
    return ""
