"""VoxPopuli: the European Parliament in 23 languages; no emotions."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from sersl.corpora.listing import list_files, printable
from sersl.corpora.tables.delimited import read_table
from sersl.corpora.tables.values import Row
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_EVENT = re.compile(r"\d{8}-\d{4}-[A-Z0-9-]+_([a-z]{2})")  # 20090112-0900-PLENARY-15_en
_RAW = re.compile(r"(?:.*/)?raw_audios/([a-z]{2})/\d{4}/[^/]+")
_CUT = re.compile(r"(?:.*/)?(unlabelled_data|transcribed_data)/([a-z]{2})/\d{4}/[^/]+")
_SEGMENTS = "unlabelled_v2.tsv.gz"
_TRANSCRIBED = re.compile(r"(?:.*/)?transcribed_data/[a-z]{2}/asr_(train|dev|test)\.tsv")
_SEGMENT_COLUMNS = ("event_id", "segment_no", "start", "end")
_TRANSCRIPT_COLUMNS = ("id", "raw_text", "speaker_id", "gender")
_FOLDS = {"train": "train", "dev": "validation", "test": "test"}


class Voxpopuli(FolderBuilder):
    """VoxPopuli's raw audio cut by its list of segments, or what its own scripts cut.

    Source: folders, names and columns as in facebookresearch/voxpopuli
    `get_unlabelled_data.py` and `get_asr_data.py`.
    """

    name = "voxpopuli"
    EXTENSIONS = (".ogg", ".wav", ".flac")
    about = About(
        description="VoxPopuli: recordings of the European Parliament in 23 languages.",
        citation=(
            "Wang C, Riviere M, Lee A, et al. (2021). VoxPopuli: A Large-Scale Multilingual Speech "
            "Corpus for Representation Learning, Semi-Supervised Learning and Interpretation. ACL: "
            "993-1003."
        ),
        licence="CC0 1.0 (European Parliament's legal notice applies)",
        homepage="https://github.com/facebookresearch/voxpopuli",
        folder=(
            f"{_SEGMENTS} and raw_audios/en/2009/20090112-0900-PLENARY-15_en.ogg, or "
            "unlabelled_data/en/2009/..._0.ogg, or transcribed_data/en/asr_train.tsv and "
            "transcribed_data/en/2009/....ogg"
        ),
    )

    def tables(self) -> Iterator[str]:
        """Finds the list of segments and the tables of transcripts."""
        for file in list_files(self.audio_dir, (".tsv", ".tsv.gz")):
            if PurePosixPath(file).name == _SEGMENTS or _TRANSCRIBED.fullmatch(file):
                yield file

    def read_tables(self) -> list[LeftOut]:
        """Reads the segments and transcripts that are in the folder."""
        self._segments: dict[str, list[Row]] = {}
        self._transcripts: dict[str, tuple[Row, str]] = {}
        for file in self.tables():
            match = _TRANSCRIBED.fullmatch(file)
            columns = _SEGMENT_COLUMNS if match is None else _TRANSCRIPT_COLUMNS
            for row in read_table(self.audio_dir / file, columns=columns, quotes=False):
                if match is None:
                    self._segments.setdefault(row.text("event_id"), []).append(row)
                else:
                    self._transcripts[row.text("id")] = (row, _FOLDS[match[1]])
        return []

    def parse(self, file: str) -> Utterance | LeftOut | list[Utterance]:
        """Reads language and event from path and name."""
        stem = PurePosixPath(file).stem
        raw, cut = _RAW.fullmatch(file), _CUT.fullmatch(file)
        source, path = self.audio_dir / file, printable(file)
        if raw and _EVENT.fullmatch(stem):
            if stem not in self._segments:
                return LeftOut(printable(file), f"event is not in {_SEGMENTS}")
            return [
                Utterance(
                    utterance_id=f"{stem}_{row.text('segment_no')}",
                    source=source,
                    path=path,
                    start=row.seconds("start"),
                    end=row.seconds("end"),
                    language=raw[1],
                    session=stem,
                )
                for row in self._segments[stem]
            ]
        if cut and cut[1] == "unlabelled_data":
            session = stem.rsplit("_", 1)[0]
            return Utterance(
                utterance_id=stem, source=source, path=path, language=cut[2], session=session
            )
        if cut and stem in self._transcripts:
            row, fold = self._transcripts[stem]
            return Utterance(
                utterance_id=stem,
                source=source,
                path=path,
                speaker=row.name("speaker_id"),
                gender=row.text("gender") if row.text("gender") in ("female", "male") else "",
                language=cut[2],
                session="-".join(stem.split("-")[:4]),
                text=row.text("raw_text"),
                fold=fold,
            )
        return LeftOut(printable(file), "neither a raw event nor a cut segment that is listed")
