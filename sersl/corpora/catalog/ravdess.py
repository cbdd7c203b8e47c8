"""RAVDESS: 24 North American actors, two sentences, eight emotions at two strengths."""

import math
import re
from pathlib import PurePosixPath

from sersl.corpora.listing import printable
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

# Modality, vocal channel, emotion, intensity, statement, repetition, actor.
_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
_EMOTIONS = {
    "01": ("neutral", "neutral"),
    "02": ("calm", "calm"),
    "03": ("happy", "happy"),
    "04": ("sad", "sad"),
    "05": ("angry", "angry"),
    "06": ("fearful", "fear"),
    "07": ("disgust", "disgust"),
    "08": ("surprised", "surprise"),
}
# The two strengths are the ends of the corpus's own range. Neutral has only one: NaN.
_INTENSITIES = {"01": ("normal", 0.0), "02": ("strong", 1.0)}
_STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
_MODALITIES = {"01": "video with sound", "02": "video"}


class Ravdess(FolderBuilder):
    """Speech of RAVDESS, from any of its downloads; songs and video copies are left out."""

    name = "ravdess"
    EXTENSIONS = (".wav", ".flac", ".mp4")
    about = About(
        description=(
            "Ryerson Audio-Visual Database of Emotional Speech and Song: 24 actors say two "
            "sentences in eight emotions; the audio-only speech."
        ),
        citation=(
            "Livingstone SR, Russo FA (2018). The Ryerson Audio-Visual Database of Emotional "
            "Speech and Song (RAVDESS). PLoS ONE 13(5): e0196391. doi:10.1371/journal.pone.0196391"
        ),
        licence="CC BY-NC-SA 4.0",
        homepage="https://zenodo.org/records/1188976",
        folder="Actor_01/03-01-01-01-01-01-01.wav and so on, as Audio_Speech_Actors_01-24.zip has",
        num_utterances=1440,
    )

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads MM-VV-EE-II-SS-RR-AA."""
        stem = PurePosixPath(file).stem
        match = _NAME.fullmatch(stem)
        if match is None:
            return LeftOut(printable(file), "name is not MM-VV-EE-II-SS-RR-AA")
        modality, vocal, emotion, intensity, statement, repetition, actor = match.groups()
        if modality in _MODALITIES:
            return LeftOut(printable(file), f"{_MODALITIES[modality]} copy, not audio only")
        if vocal == "02":
            return LeftOut(printable(file), "song, not speech")
        known = (
            modality == "03"
            and vocal == "01"
            and emotion in _EMOTIONS
            and intensity in _INTENSITIES
            and statement in _STATEMENTS
        )
        if not known:
            return LeftOut(printable(file), "name has a code that RAVDESS does not define")
        raw, category = _EMOTIONS[emotion]
        strength, value = _INTENSITIES[intensity]
        return Utterance(
            utterance_id=stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=actor,
            gender="male" if int(actor) % 2 else "female",  # odd actors are male
            language="en",
            text=_STATEMENTS[statement],
            category=category,
            category_raw=raw,
            intensity=math.nan if category == "neutral" else value,
            extra={"strength": strength, "statement": statement, "repetition": repetition},
        )
