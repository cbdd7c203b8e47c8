"""SAVEE: four English men, seven emotions."""

import re

from sersl.corpora.listing import printable
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

# AudioData/DC/a01.wav, or DC_a01.wav where it was repackaged
_NAME = re.compile(r"(?:.*/)?(DC|JE|JK|KL)[/_](sa|su|[adfhn])(\d\d)\.\w+")
_EMOTIONS = {
    "a": "angry",
    "d": "disgust",
    "f": "fear",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprise",
}


class Savee(FolderBuilder):
    """SAVEE's audio."""

    name = "savee"
    about = About(
        description="Surrey Audio-Visual Expressed Emotion: four male speakers, seven emotions.",
        citation=(
            "Haq S, Jackson PJB (2010). Multimodal emotion recognition. In: Machine Audition, "
            "IGI Global: 398-423."
        ),
        licence="free for research, on request; see the homepage",
        homepage="http://kahlan.eps.surrey.ac.uk/savee",
        folder="AudioData/DC/a01.wav and so on",
        num_utterances=480,
    )

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads the speaker from the folder, the emotion from the name."""
        match = _NAME.fullmatch(file)
        if match is None:
            return LeftOut(printable(file), "name is not like DC/a01 or DC_a01")
        speaker, emotion, number = match.groups()
        return Utterance(
            utterance_id=f"{speaker}_{emotion}{number}",
            source=self.audio_dir / file,
            path=printable(file),
            speaker=speaker,
            gender="male",
            language="en",
            category=_EMOTIONS[emotion],
            category_raw=emotion,
        )
