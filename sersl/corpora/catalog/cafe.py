"""CaFE: twelve actors of Canadian French, six sentences, seven emotions at two strengths."""

import math
import re
from pathlib import PurePosixPath

from sersl.corpora.listing import printable
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_NAME = re.compile(r"(0[1-9]|1[0-2])-([CDJNPST])-([12])-([1-6])")
_EMOTIONS = {  # initials of French words
    "C": ("colère", "angry"),
    "D": ("dégoût", "disgust"),
    "J": ("joie", "happy"),
    "N": ("neutre", "neutral"),
    "P": ("peur", "fear"),
    "S": ("surprise", "surprise"),
    "T": ("tristesse", "sad"),
}
# As RAVDESS: the ends of the corpus's own range; neutral has only one.
_STRENGTHS = {"1": ("weak", 0.0), "2": ("strong", 1.0)}
_SENTENCES = {
    "1": "Un cheval fou dans mon jardin",
    "2": "Deux ânes aigris au pelage brun",
    "3": "Trois cygnes aveugles au bord du lac",
    "4": "Quatre vieilles truies éléphantesques",
    "5": "Cinq pumas fiers et passionnés",
    "6": "Six ours aimants domestiqués",
}
_AGES = ("46", "64", "18", "50", "22", "34", "15", "25", "42", "20", "35", "37")  # actors 1 to 12


class Cafe(FolderBuilder):
    """CaFE from its 48 kHz or 192 kHz download.

    Source: names, sentences and ages as in EmoBox `EmoBox/preprocess/scripts/cafe.py`, folders as
    in its `data/cafe/cafe.jsonl`.
    """

    name = "cafe"
    EXTENSIONS = (".wav", ".aiff", ".aif", ".flac")
    about = About(
        description="Canadian French Emotional speech: 12 actors, six sentences, 7 emotions.",
        citation=(
            "Gournay P, Lahaie O, Lefebvre R (2018). A Canadian French Emotional Speech Dataset. "
            "ACM MMSys: 399-402. doi:10.1145/3204949.3208121"
        ),
        licence="CC BY-NC-SA 4.0",
        homepage="https://zenodo.org/records/1478765",
        folder="CaFE_48k/Peur/Fort/01-P-2-1.wav and so on",
        num_utterances=936,
    )

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads actor, emotion, strength and sentence from a name such as 01-P-2-1."""
        stem = PurePosixPath(file).stem
        match = _NAME.fullmatch(stem)
        if match is None:
            return LeftOut(printable(file), "name is not like 01-P-2-1")
        actor, emotion, strength, sentence = match.groups()
        raw, category = _EMOTIONS[emotion]
        strength, value = _STRENGTHS[strength]
        return Utterance(
            utterance_id=stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=actor,
            gender="male" if int(actor) % 2 else "female",  # odd actors are male
            language="fr",
            text=_SENTENCES[sentence],
            category=category,
            category_raw=raw,
            intensity=math.nan if category == "neutral" else value,
            extra={"strength": strength, "age": _AGES[int(actor) - 1]},
        )
