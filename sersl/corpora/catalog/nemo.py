"""nEMO: nine Polish actors, six emotions."""

import re
from pathlib import PurePosixPath

from sersl.corpora.listing import printable
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_NAME = re.compile(r"([A-Z]{2}\d)_([a-z]+)_(\d+)")  # speaker, emotion, sentence
_EMOTIONS = {
    "anger": "angry",
    "fear": "fear",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprised": "surprise",
}
_SPEAKERS = {  # counted in the corpus's own table
    **dict.fromkeys(("EB0", "IC0", "KD0", "MK0"), "female"),
    **dict.fromkeys(("KS0", "MP0", "SM0", "TP0", "WR0"), "male"),
}


class Nemo(FolderBuilder):
    """nEMO's audio."""

    name = "nemo"
    EXTENSIONS = (".wav", ".flac", ".ogg")
    about = About(
        description="nEMO: nine Polish actors, six emotions, phonetically rich sentences.",
        citation=(
            "Christop I (2024). nEMO: Dataset of Emotional Speech in Polish. LREC-COLING: "
            "12111-12116."
        ),
        licence="CC BY-NC-SA 4.0",
        homepage="https://github.com/amu-cai/nEMO",
        folder="samples/WR0_anger_01.wav and so on",
        num_utterances=4481,
    )

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads speaker, emotion and sentence."""
        stem = PurePosixPath(file).stem
        match = _NAME.fullmatch(stem)
        if match is None or match[1] not in _SPEAKERS or match[2] not in _EMOTIONS:
            return LeftOut(printable(file), "name is not like WR0_anger_01")
        speaker, emotion, sentence = match.groups()
        return Utterance(
            utterance_id=stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=speaker,
            gender=_SPEAKERS[speaker],
            language="pl",
            category=_EMOTIONS[emotion],
            category_raw=emotion,
            extra={"text_id": sentence},
        )
