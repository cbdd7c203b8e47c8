"""JL-corpus: four speakers of New Zealand English, five primary and five secondary emotions."""

import re
from pathlib import PurePosixPath

from sersl.corpora.listing import printable
from sersl.corpora.tables.text import read_text
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

# Speaker, emotion, sentence, session, repetition.
_NAME = re.compile(r"((?:fe)?male[12])_([a-z]+)_(\d+)([ab])_([12])")
_PRIMARY = ("angry", "sad", "neutral", "happy", "excited")  # canonical names already
# Without a canonical name of their own: "other", and category_raw keeps theirs.
_SECONDARY = ("anxious", "apologetic", "assertive", "concerned", "encouraging")


class Jl(FolderBuilder):
    """The raw part of the JL-corpus, with its transcripts.

    Source: names as in nkululeko `data/jl/process_database.py`; 2400 files as in EmoBox.
    """

    name = "jl"
    about = About(
        description="JL-corpus: 4 speakers of New Zealand English, 15 sentences, 10 emotions.",
        citation=(
            "James J, Tian L, Watson C (2018). An Open Source Emotional Speech Corpus for Human "
            "Robot Interaction Applications. Interspeech: 2768-2772."
        ),
        licence="CC0 1.0",
        homepage="https://www.kaggle.com/tli725/jl-corpus",
        folder="Raw JL corpus (unchecked and unannotated)/JL(wav+txt)/female1_angry_10a_1.wav",
        num_utterances=2400,
    )

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads a name such as female1_angry_10a_1, and the text in the .txt file beside it."""
        match = _NAME.fullmatch(PurePosixPath(file).stem)
        if match is None or match[2] not in _PRIMARY + _SECONDARY:
            return LeftOut(printable(file), "name is not like female1_angry_10a_1")
        speaker, emotion, sentence, session, repetition = match.groups()
        source = self.audio_dir / file
        transcript = source.with_suffix(".txt")
        return Utterance(
            utterance_id=source.stem,
            source=source,
            path=printable(file),
            speaker=speaker,
            gender=speaker[:-1],
            language="en",
            session=session,
            text=read_text(transcript).strip() if transcript.is_file() else "",
            category=emotion if emotion in _PRIMARY else "other",
            category_raw=emotion,
            extra={"text_id": sentence, "repetition": repetition},
        )
