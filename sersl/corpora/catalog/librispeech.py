"""LibriSpeech: a thousand hours of English audiobooks, with text and speakers; no emotions."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from sersl.core.errors import UserError
from sersl.corpora.listing import list_files, printable
from sersl.corpora.tables.text import read_lines
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_NAME = re.compile(r"(\d+)-(\d+)-(\d+)")  # speaker, chapter, utterance
_TRANSCRIPTS = re.compile(r"(?:.*/)?\d+-\d+\.trans\.txt")
_SPEAKERS = re.compile(r"(?:.*/)?SPEAKERS\.TXT")
_SUBSET = re.compile(r"(train|dev|test)-(?:clean|other)(?:-\d+)?")
_GENDERS = {"F": "female", "M": "male"}
_FOLDS = {"train": "train", "dev": "validation", "test": "test"}


class Librispeech(FolderBuilder):
    """Any subsets of LibriSpeech; the transcripts give the number of utterances.

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
        self._texts: dict[str, str] = {}
        self._genders: dict[str, str] = {}
        for file in self.tables():
            lines = enumerate(read_lines(self.audio_dir / file), start=1)
            for number, line in ((n, text) for n, text in lines if text.strip()):
                if _TRANSCRIPTS.fullmatch(file):
                    utterance_id, _, self._texts[utterance_id] = line.partition(" ")
                elif not line.startswith(";"):
                    self._add_speaker(line, f"{file} line {number}")
        return []

    def _add_speaker(self, line: str, where: str) -> None:
        """Reads a line such as 14   | F | train-clean-360  | 25.03 | Kristin LeMoine."""
        speaker, *rest = (part.strip() for part in line.split("|"))
        if not rest or rest[0] not in _GENDERS:
            raise UserError(f"{where}: not a speaker, | and F or M: take the file of the release")
        self._genders[speaker] = _GENDERS[rest[0]]

    def expected_utterances(self) -> int | None:
        """Counts the lines of all transcripts."""
        return len(self._texts) or None

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads speaker and chapter from a name such as 103-1240-0000."""
        path = PurePosixPath(file)
        match = _NAME.fullmatch(path.stem)
        if match is None:
            return LeftOut(printable(file), "name is not like 103-1240-0000")
        subset = next((match for match in map(_SUBSET.fullmatch, path.parts) if match), None)
        return Utterance(
            utterance_id=path.stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=match[1],
            gender=self._genders.get(match[1], ""),
            language="en",
            session=match[2],
            text=self._texts.get(path.stem, ""),
            fold=_FOLDS[subset[1]] if subset else "",
            extra={"subset": subset[0]} if subset else {},
        )
