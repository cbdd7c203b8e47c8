"""VoxCeleb 1 and 2: celebrities in interviews, with speakers and genders; no emotions."""

import re
from pathlib import PurePosixPath

from sersl.corpora.catalog.label_files import require_choices
from sersl.corpora.listing import list_files, printable
from sersl.corpora.tables.delimited import read_table
from sersl.corpora.tables.values import Row
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_FILE = re.compile(r"(?:.*/)?(id\d{5})/([^/]+)/(\d{5})\.\w+")  # speaker, video, number
_GENDERS = {"f": "female", "m": "male", "": ""}
_FOLDS = {"dev": "train", "test": "test", "": ""}


class _Voxceleb(FolderBuilder):
    """Common parts of both releases: id10001/1zcIwhmdeo4/00001.wav and a table of speakers."""

    META = ""  # file of the speakers
    ID = ""  # its first column
    SPLIT = "Set"

    def tables(self) -> list[str]:
        """Finds the table of speakers."""
        files = list_files(self.audio_dir, (".csv",))
        return [file for file in files if PurePosixPath(file).name == self.META][:1]

    def read_tables(self) -> list[LeftOut]:
        """Reads gender and set of every speaker; audio alone is enough for pretraining."""
        files = self.tables()
        self._speakers: dict[str, Row] = {}
        if not files:
            return [LeftOut(self.META, "table is missing: genders and sets are left empty")]
        columns = (self.ID, "Gender", self.SPLIT)
        for row in read_table(self.audio_dir / files[0], columns=columns):
            self._speakers[row.text(self.ID)] = row
        require_choices(self._speakers.values(), "Gender", _GENDERS)
        require_choices(self._speakers.values(), self.SPLIT, _FOLDS)
        return []

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads speaker, video and number from the path."""
        match = _FILE.fullmatch(file)
        if match is None:
            return LeftOut(printable(file), "path is not like id10001/1zcIwhmdeo4/00001.wav")
        speaker, video, number = match.groups()
        row = self._speakers.get(speaker)
        extra = {"nationality": row.text("Nationality")} if row and row.has("Nationality") else {}
        return Utterance(
            utterance_id=f"{speaker}-{video}-{number}",
            source=self.audio_dir / file,
            path=printable(file),
            speaker=speaker,
            gender=_GENDERS[row.text("Gender")] if row else "",
            session=video,
            fold=_FOLDS[row.text(self.SPLIT)] if row else "",
            extra=extra,
        )


class Voxceleb1(_Voxceleb):
    """VoxCeleb 1.

    Source: layout and columns as in lhotse `recipes/voxceleb.py`.
    """

    name = "voxceleb1"
    META = "vox1_meta.csv"
    ID = "VoxCeleb1 ID"
    about = About(
        description="VoxCeleb1: 1,251 celebrities in interviews.",
        citation=(
            "Nagrani A, Chung JS, Zisserman A (2017). VoxCeleb: a large-scale speaker "
            "identification dataset. Interspeech: 2616-2620."
        ),
        licence="CC BY 4.0 (metadata); the recordings belong to their authors",
        homepage="https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html",
        folder="vox1_meta.csv and wav/id10001/1zcIwhmdeo4/00001.wav and so on",
        num_utterances=153516,
        how_to_get=(
            "ask for the password with the form at "
            "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html"
        ),
    )


class Voxceleb2(_Voxceleb):
    """VoxCeleb 2; a converted file is preferred to its .m4a original.

    Source: layout and columns as in lhotse `recipes/voxceleb.py`.
    """

    name = "voxceleb2"
    EXTENSIONS = (".wav", ".flac", ".opus", ".ogg")
    CONTAINERS = (".m4a",)
    META = "vox2_meta.csv"
    ID = "VoxCeleb2 ID"
    about = About(
        description="VoxCeleb2: 6,112 celebrities in interviews of many languages.",
        citation=(
            "Chung JS, Nagrani A, Zisserman A (2018). VoxCeleb2: Deep Speaker Recognition. "
            "Interspeech: 1086-1090."
        ),
        licence="CC BY 4.0 (metadata); the recordings belong to their authors",
        homepage="https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox2.html",
        folder=(
            "vox2_meta.csv and dev/aac/id00012/21Uxsk56VDQ/00001.m4a and so on, read with the "
            "extra `sersl[av]`, or converted beside it with `ffmpeg -i 00001.m4a 00001.wav`"
        ),
        num_utterances=1128246,
        how_to_get=(
            "ask for the password with the form at "
            "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox2.html"
        ),
    )
