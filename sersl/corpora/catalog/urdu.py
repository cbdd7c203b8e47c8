"""URDU: speech of Urdu talk shows, 38 speakers, four emotions."""

import re
from pathlib import PurePosixPath

from sersl.corpora.listing import printable
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_NAME = re.compile(r"(S([MF])\d+)_F(\d+)_([AHNS])(\d+)")  # speaker, file, emotion, number
_EMOTIONS = {
    "A": ("Angry", "angry"),
    "H": ("Happy", "happy"),
    "N": ("Neutral", "neutral"),
    "S": ("Sad", "sad"),
}
_GENDERS = {"M": "male", "F": "female"}


class Urdu(FolderBuilder):
    """The URDU dataset.

    Source: names as in nkululeko `data/urdu/process_database.py` and the file list of EmoBox
    `data/urdu/urdu.jsonl`.
    """

    name = "urdu"
    about = About(
        description="URDU dataset: 400 utterances of talk shows, four emotions.",
        citation=(
            "Latif S, Qayyum A, Usman M, Qadir J (2018). Cross Lingual Speech Emotion "
            "Recognition: Urdu vs. Western Languages. FIT: 88-93. doi:10.1109/FIT.2018.00023"
        ),
        licence="free for research; see the homepage",
        homepage="https://github.com/siddiquelatif/urdu-dataset",
        folder="Angry/SM1_F10_A010.wav and so on",
        num_utterances=400,
    )

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads speaker, gender and emotion from a name such as SM1_F10_A010."""
        stem = PurePosixPath(file).stem
        match = _NAME.fullmatch(stem)
        if match is None:
            return LeftOut(printable(file), "name is not like SM1_F10_A010")
        speaker, gender, _, emotion, _ = match.groups()
        raw, category = _EMOTIONS[emotion]
        return Utterance(
            utterance_id=stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=speaker,
            gender=_GENDERS[gender],
            language="ur",
            category=category,
            category_raw=raw,
        )
