"""SUBESCO: twenty Bangla speakers, ten sentences, seven emotions, five takes."""

import re
from pathlib import PurePosixPath

from sersl.corpora.listing import printable
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_NAME = re.compile(r"([FM])_(\d+)_([A-Z]+)_S_(\d+)_([A-Z]+)_(\d)")
_EMOTIONS = {
    "ANGRY": "angry",
    "DISGUST": "disgust",
    "FEAR": "fear",
    "HAPPY": "happy",
    "NEUTRAL": "neutral",
    "SAD": "sad",
    "SURPRISE": "surprise",
}


class Subesco(FolderBuilder):
    """SUBESCO's audio."""

    name = "subesco"
    about = About(
        description="SUST Bangla Emotional Speech Corpus: 20 actors, ten sentences, 7 emotions.",
        citation=(
            "Sultana S, Rahman MS, Selim MR, Iqbal MZ (2021). SUST Bangla Emotional Speech Corpus "
            "(SUBESCO). PLoS ONE 16(4): e0250173. doi:10.1371/journal.pone.0250173"
        ),
        licence="CC BY 4.0",
        homepage="https://zenodo.org/records/4526477",
        folder="F_01_OISHI_S_1_ANGRY_1.wav and so on",
        num_utterances=7000,
    )

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads gender, speaker, sentence, emotion and take."""
        stem = PurePosixPath(file).stem
        match = _NAME.fullmatch(stem)
        if match is None or match[5] not in _EMOTIONS:
            return LeftOut(printable(file), "name is not like F_01_OISHI_S_1_ANGRY_1")
        gender, number, name, sentence, emotion, take = match.groups()
        return Utterance(
            utterance_id=stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=f"{gender}_{number}_{name}",  # women and men are numbered separately
            gender={"F": "female", "M": "male"}[gender],
            language="bn",
            category=_EMOTIONS[emotion],
            category_raw=emotion,
            extra={"text_id": sentence, "repetition": take},
        )
