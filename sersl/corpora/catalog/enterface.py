"""eNTERFACE'05: 44 people of 14 nations, five sentences for each of six emotions, on video."""

import re
from pathlib import PurePosixPath

from sersl.corpora.listing import printable
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

# s1_an_1; some files have other hands' spelling: s_3_an_1, and s12_... in the folder of subject 11.
_NAME = re.compile(r"s_?(\d{1,2})_(an|di|fe|ha|sa|su)_(\d)(?:\.?avi)?")
_FOLDER = re.compile(r"subject (\d{1,2})")
_EMOTIONS = {
    "an": ("anger", "angry"),
    "di": ("disgust", "disgust"),
    "fe": ("fear", "fear"),
    "ha": ("happiness", "happy"),
    "sa": ("sadness", "sad"),
    "su": ("surprise", "surprise"),
}


class Enterface(FolderBuilder):
    """The audio files beside eNTERFACE'05's videos, or else the sound of the videos.

    Source: folders and odd names as in nkululeko `data/enterface/process_database.py` and the
    file list of EmoBox `data/enterface/enterface.jsonl`.
    """

    name = "enterface"
    CONTAINERS = (".avi",)
    about = About(
        description="eNTERFACE'05: elicited emotions in English sentences; audio of the videos.",
        citation=(
            "Martin O, Kotsia I, Macq B, Pitas I (2006). The eNTERFACE'05 Audio-Visual Emotion "
            "Database. ICDE Workshops. doi:10.1109/ICDEW.2006.145"
        ),
        licence="free for research; see the homepage",
        homepage="https://enterface.net/enterface05/",
        folder=(
            "subject 1/anger/sentence 1/s1_an_1.avi and so on (read with `pip install "
            "'sersl[av]'`), or the sound of each as .wav"
        ),
        # Copies differ; EmoBox counts 1263 in its own.
        num_utterances=None,
    )

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads speaker from the folder, or else the name, and emotion and sentence."""
        path = PurePosixPath(file)
        match = _NAME.fullmatch(path.stem)
        if match is None:
            return LeftOut(printable(file), "name is not like s1_an_1")
        speaker, emotion, sentence = match.groups()
        # The folder is right where they differ: files of subject 11 are called s12.
        for part in path.parts[:-1]:
            folder = _FOLDER.fullmatch(part)
            speaker = folder[1] if folder else speaker
        raw, category = _EMOTIONS[emotion]
        return Utterance(
            utterance_id=f"s{speaker}_{emotion}_{sentence}",
            source=self.audio_dir / file,
            path=printable(file),
            speaker=speaker,
            language="en",
            category=category,
            category_raw=raw,
            extra={"text_id": f"{emotion}{sentence}"},
        )
