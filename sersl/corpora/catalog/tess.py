"""TESS: two women of Toronto, 200 words, seven emotions."""

import re
from pathlib import PurePosixPath

from sersl.corpora.listing import printable
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_NAME = re.compile(r"(OAF|OA|YAF)_(\w+)_([a-z]+)")  # one file is called OA_bite_neutral
_EMOTIONS = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprise",  # pleasant surprise
    "sad": "sad",
}


class Tess(FolderBuilder):
    """TESS; its two speakers allow a test of one against the other only."""

    name = "tess"
    about = About(
        description="Toronto Emotional Speech Set: two actresses say 200 words in seven emotions.",
        citation=(
            "Pichora-Fuller MK, Dupuis K (2020). Toronto emotional speech set (TESS). Borealis. "
            "doi:10.5683/SP2/E8H2MF"
        ),
        licence="CC BY-NC-ND 4.0",
        homepage="https://doi.org/10.5683/SP2/E8H2MF",
        folder="OAF_angry/OAF_back_angry.wav and so on",
        num_utterances=2800,
    )

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads speaker, word and emotion."""
        match = _NAME.fullmatch(PurePosixPath(file).stem)
        if match is None or match[3] not in _EMOTIONS:
            return LeftOut(printable(file), "name is not like OAF_back_angry")
        speaker, word, emotion = match.groups()
        speaker = "OAF" if speaker == "OA" else speaker
        return Utterance(
            utterance_id=f"{speaker}_{word}_{emotion}",
            source=self.audio_dir / file,
            path=printable(file),
            speaker=speaker,
            gender="female",
            language="en",
            text=f"Say the word {word}",
            category=_EMOTIONS[emotion],
            category_raw=emotion,
        )
