"""EMO-DB: ten German actors, ten sentences, seven emotions."""

import re
from pathlib import PurePosixPath

from sersl.corpora.listing import printable
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-z]?)")  # speaker, text, emotion, version
_EMOTIONS = {  # initials of German words
    "W": ("Wut", "angry"),
    "L": ("Langeweile", "boredom"),
    "E": ("Ekel", "disgust"),
    "A": ("Angst", "fear"),
    "F": ("Freude", "happy"),
    "T": ("Trauer", "sad"),
    "N": ("neutral", "neutral"),
}
_SPEAKERS = {
    **dict.fromkeys(("03", "10", "11", "12", "15"), "male"),
    **dict.fromkeys(("08", "09", "13", "14", "16"), "female"),
}
_TEXTS = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}


class Emodb(FolderBuilder):
    """EMO-DB from the folder `wav`."""

    name = "emodb"
    about = About(
        description="Berlin Database of Emotional Speech: ten actors, ten sentences, 7 emotions.",
        citation=(
            "Burkhardt F, Paeschke A, Rolfes M, Sendlmeier W, Weiss B (2005). A database of "
            "German emotional speech. Interspeech: 1517-1520."
        ),
        licence="free for research; see the homepage",
        homepage="http://emodb.bilderbar.info",
        folder="wav/03a01Fa.wav and so on",
        num_utterances=535,
    )

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads speaker, text, emotion and version from a name such as 03a01Fa."""
        stem = PurePosixPath(file).stem
        match = _NAME.fullmatch(stem)
        if match is None or match[1] not in _SPEAKERS or match[2] not in _TEXTS:
            return LeftOut(printable(file), "name is not like 03a01Fa")
        speaker, text, emotion, version = match.groups()
        raw, category = _EMOTIONS[emotion]
        return Utterance(
            utterance_id=stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=speaker,
            gender=_SPEAKERS[speaker],
            language="de",
            text=_TEXTS[text],
            category=category,
            category_raw=raw,
            extra={"text_id": text, "version": version},
        )
