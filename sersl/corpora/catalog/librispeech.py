"""LibriSpeech: a thousand hours of English audiobooks, with text and speakers; no emotions."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from sersl.corpora.listing import list_files, printable
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_NAME = re.compile(r"(\d+)-(\d+)-(\d+)")  # speaker, chapter, utterance
_TRANSCRIPTS = re.compile(r"(?:.*/)?\d+-\d+\.trans\.txt")
_SPEAKERS = re.compile(r"(?:.*/)?SPEAKERS\.TXT")
_SUBSET = re.compile(r"(train|dev|test)-(?:clean|other)(?:-\d+)?")
_GENDERS = {"F": "female", "M": "male"}
_FOLDS = {"train": "train", "dev": "validation", "test": "test"}


class Librispeech(FolderBuilder):
    """Any subsets of LibriSpeech; the transcripts say how many utterances they have.

    Source: folders, `*.trans.txt` and SPEAKERS.TXT as in lhotse `recipes/librispeech.py`.
    """

    name = "librispeech"
    EXTENSIONS = (".flac", ".wav", ".ogg")
    about = About(
        description="LibriSpeech: read English of audiobooks, with text and speakers.",
        citation=(
            "Panayotov V, Chen G, Povey D, Khudanpur S (2015). Librispeech: an ASR corpus based on "
            "public domain audio books. ICASSP: 5206-5210. doi:10.1109/ICASSP.2015.7178964"
        ),
        licence="CC BY 4.0",
        homepage="https://www.openslr.org/12",
        folder=(
            "SPEAKERS.TXT, train-clean-100/103/1240/103-1240-0000.flac and "
            "train-clean-100/103/1240/103-1240.trans.txt and so on, any subsets"
        ),
    )

    def tables(self) -> Iterator[str]:
        """Finds the transcripts and the list of speakers."""
        for file in list_files(self.audio_dir, (".txt",)):
            if _TRANSCRIPTS.fullmatch(file) or _SPEAKERS.fullmatch(file):
                yield file

    def read_tables(self) -> list[LeftOut]:
        """Reads texts and genders; audio alone is enough for pretraining."""
        self._texts, self._genders = {}, {}
        for file in self.tables():
            lines = (self.audio_dir / file).read_text(encoding="utf-8").splitlines()
            if _TRANSCRIPTS.fullmatch(file):
                self._texts |= {a: b for a, _, b in (line.partition(" ") for line in lines)}
                continue
            for line in lines:  # 14   | F | train-clean-360  | 25.03 | Kristin LeMoine
                if not line.startswith(";"):
                    speaker, gender = (part.strip() for part in line.split("|")[:2])
                    self._genders[speaker] = _GENDERS[gender]
        return []

    def expected_utterances(self) -> int | None:
        """Counts the lines of all transcripts."""
        return len(self._texts) or None

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads speaker and chapter from a name such as 103-1240-0000."""
        path = PurePosixPath(file)
        match = _NAME.fullmatch(path.stem)
        if match is None:
            return LeftOut(printable(file), "name is not like 103-1240-0000")
        subset = next(filter(_SUBSET.fullmatch, path.parts), "")
        return Utterance(
            utterance_id=path.stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=match[1],
            gender=self._genders.get(match[1], ""),
            language="en",
            session=match[2],
            text=self._texts.get(path.stem, ""),
            fold=_FOLDS[_SUBSET.fullmatch(subset)[1]] if subset else "",
            extra={"subset": subset} if subset else {},
        )
