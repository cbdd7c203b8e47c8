"""EMOVO: six Italian actors, fourteen sentences, seven emotions."""

import re
from pathlib import PurePosixPath

from sersl.corpora.listing import printable
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_NAME = re.compile(r"([a-z]{3})-([fm][123])-([a-z]\d)")  # emotion, speaker, sentence
_EMOTIONS = {
    "dis": "disgust",
    "gio": "happy",
    "neu": "neutral",
    "pau": "fear",
    "rab": "angry",
    "sor": "surprise",
    "tri": "sad",
}


class Emovo(FolderBuilder):
    """EMOVO; its files are stereo at 48 kHz, the mean of both channels is kept."""

    name = "emovo"
    about = About(
        description="Italian emotional speech: six actors say fourteen sentences in 7 emotions.",
        citation=(
            "Costantini G, Iaderola I, Paoloni A, Todisco M (2014). EMOVO Corpus: an Italian "
            "Emotional Speech Database. LREC: 3501-3504."
        ),
        licence="free for research; see the homepage",
        homepage="http://voice.fub.it/activities/corpora/emovo/index.html",
        folder="f1/dis-f1-b1.wav and so on",
        num_utterances=588,
    )

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads emotion, speaker and sentence."""
        stem = PurePosixPath(file).stem
        match = _NAME.fullmatch(stem)
        if match is None or match[1] not in _EMOTIONS:
            return LeftOut(printable(file), "name is not like dis-f1-b1")
        emotion, speaker, sentence = match.groups()
        return Utterance(
            utterance_id=stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=speaker,
            gender={"f": "female", "m": "male"}[speaker[0]],
            language="it",
            category=_EMOTIONS[emotion],
            category_raw=emotion,
            extra={"text_id": sentence},
        )
