"""ShEMO: Persian radio plays, 87 speakers, six emotions."""

import re
from pathlib import PurePosixPath

from sersl.corpora.listing import printable
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_NAME = re.compile(r"(([FM])\d\d)([AFHNSW])(\d+)")  # speaker, emotion, number
_EMOTIONS = {
    "A": ("anger", "angry"),
    "F": ("fear", "fear"),
    "H": ("happiness", "happy"),
    "N": ("neutral", "neutral"),
    "S": ("sadness", "sad"),
    "W": ("surprise", "surprise"),
}
_GENDERS = {"M": "male", "F": "female"}


class Shemo(FolderBuilder):
    """ShEMO from its folders `female` and `male`.

    Source: names as in nkululeko `data/shemo/process_database.py` and the file list of EmoBox
    `data/shemo/shemo.jsonl`; 3000 utterances as in the paper.
    """

    name = "shemo"
    about = About(
        description="Sharif Emotional Speech Database: Persian radio plays, six emotions.",
        citation=(
            "Mohamad Nezami O, Jamshid Lou P, Karami M (2019). ShEMO: a large-scale validated "
            "database for Persian speech emotion detection. LREC 53: 1-16. "
            "doi:10.1007/s10579-018-9427-x"
        ),
        licence="free for research; see the homepage",
        homepage="https://github.com/mansourehk/ShEMO",
        folder="female/F01A01.wav, male/M01A01.wav and so on",
        num_utterances=3000,
    )

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads speaker, gender and emotion from a name such as F01A01."""
        stem = PurePosixPath(file).stem
        match = _NAME.fullmatch(stem)
        if match is None:
            return LeftOut(printable(file), "name is not like F01A01")
        speaker, gender, emotion, _ = match.groups()
        raw, category = _EMOTIONS[emotion]
        return Utterance(
            utterance_id=stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=speaker,
            gender=_GENDERS[gender],
            language="fa",
            category=category,
            category_raw=raw,
        )
