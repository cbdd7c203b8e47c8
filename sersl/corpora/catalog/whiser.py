"""WHiSER: conversations of the White House tapes, rated by many listeners."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from sersl.core.errors import UserError
from sersl.corpora.catalog.label_files import (
    missing_tables,
    off_scale,
    require_choices,
    scaled,
)
from sersl.corpora.catalog.msp_raters import GENDERS, LETTERS, read_detail
from sersl.corpora.listing import printable
from sersl.corpora.ratings import ANNOTATORS, SCALES, count_votes
from sersl.corpora.tables.delimited import read_table
from sersl.corpora.tables.text import read_lines
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_LABELS = "Labels/labels.txt"
_CONSENSUS = "Labels/labels_consensus.csv"
# 006-040.1-2_13.wav; H; A:4.200000; V:4.800000; D:5.000000;
_NUMBER = r"(\d+(?:\.\d+)?|NaN|)"
_HEADER = re.compile(rf"(\S+\.wav);\s*([A-Z]?);\s*A:{_NUMBER};\s*V:{_NUMBER};\s*D:{_NUMBER};")
_SCALE = SCALES["msp_podcast"]  # self-assessment manikins, 1 to 7, as in MSP-Podcast
_FOLDS = {"Train": "train", "Development": "validation", "Test": "test", "": ""}


class Whiser(FolderBuilder):
    """WHiSER's segments with the primary and secondary emotions of every rater.

    Consensus and raters are those of labels.txt; speaker and gender those of labels_consensus.csv.
    The published split set is NA, so there is no fold.

    Source: readme.txt of the release (github.com/Lab-MSP/WHiSER) for the form of labels.txt; the
    tables have the columns of MSP-Podcast.
    """

    name = "whiser"
    TABLES = (_LABELS, _CONSENSUS)
    about = About(
        description=(
            "White House Tapes Speech Emotion Recognition corpus: conversations recorded secretly "
            "in the White House; eight categories, secondary emotions and A/V/D of raters."
        ),
        citation=(
            "Naini AR, Goncalves L, Kohler MA, Robinson D, Richerson E, Busso C (2024). WHiSER: "
            "White House Tapes Speech Emotion Recognition Corpus. Interspeech: 1595-1599. "
            "doi:10.21437/Interspeech.2024-1227"
        ),
        licence="WHiSER terms: research, non-commercial",
        homepage="https://github.com/Lab-MSP/WHiSER",
        folder=f"Annotation_wav_files/006-040.1-2_13.wav and so on, {_LABELS} and {_CONSENSUS}",
        how_to_get=(
            "ask for it at https://www.lab-msp.com/WHiSER/ and accept the terms of non-commercial "
            "use"
        ),
    )

    def read_tables(self) -> list[LeftOut]:
        """Reads labels.txt and, if present, the speakers of labels_consensus.csv."""
        if missing_tables(self.audio_dir, [_LABELS]):
            raise UserError(
                f"corpus 'whiser': there is no {_LABELS} in {self.audio_dir}: give the folder of "
                "the release, which has Labels and the audio"
            )
        self._labels = read_blocks(read_lines(self.audio_dir / _LABELS), _LABELS)
        self._speakers = {}
        if missing_tables(self.audio_dir, [_CONSENSUS]):
            return [LeftOut(_CONSENSUS, "table is missing: speakers and genders are left empty")]
        table = list(read_table(self.audio_dir / _CONSENSUS, columns=("FileName", "Gender")))
        require_choices(table, "Gender", GENDERS)
        require_choices(table, "Split_Set", _FOLDS)
        self._speakers = {row.text("FileName"): row for row in table}
        return []

    def expected_utterances(self) -> int:
        """Counts the labelled segments: 5,427 in the release."""
        return len(self._labels)

    def parse(self, file: str) -> Utterance | LeftOut:
        """Takes the labels of a segment from the tables, by its file's name."""
        path = PurePosixPath(file)
        if path.name not in self._labels:
            return LeftOut(printable(file), f"segment without a label in {_LABELS}")
        letter, ratings, raters = self._labels[path.name]
        outside = off_scale(*_SCALE, **ratings)
        row = self._speakers.get(path.name)
        speaker = "" if row is None else row.name("SpkrID")
        return Utterance(
            utterance_id=path.stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker="" if speaker == "Unknown" else speaker,
            gender="" if row is None else GENDERS[row.text("Gender")],
            language="en",
            session=path.stem.rpartition("_")[0],  # the recording, e.g. 006-040.1-2
            category=LETTERS[letter],
            category_raw=letter,
            votes=count_votes(raters) or None,
            **scaled(*_SCALE, **ratings),
            fold="" if row is None else _FOLDS[row.text("Split_Set")],
            extra={ANNOTATORS: raters} | ({"off_scale": outside} if outside else {}),
        )


Block = tuple[str, dict[str, float], dict[str, dict[str, Any]]]


def read_blocks(lines: Iterable[str], file: str) -> dict[str, Block]:
    """Reads labels.txt: one block per audio file, a line with the consensus and one per rater.

    Args:
      lines: of the file; blank lines between blocks.
      file: its name, for messages.

    Returns:
      By audio file: (letter, ratings 1 to 7 by dimension, answers by rater). Only the first answer
      of a rater counts.

    Raises:
      UserError: a line has another form, the letter is unknown, or a file has two blocks.
    """
    blocks: dict[str, Block] = {}
    raters: dict[str, dict[str, Any]] | None = None
    for number, line in enumerate(map(str.strip, lines), start=1):
        where = f"{file} line {number}"
        header = _HEADER.fullmatch(line)
        if header:
            name, letter, *values = header.groups()
            if letter not in LETTERS:
                raise UserError(
                    f"{where}: emotion {letter!r} is none of {', '.join(filter(None, LETTERS))}: "
                    "take the file of the release"
                )
            if name in blocks:
                raise UserError(f"{where}: {name} has a second block: leave one")
            raters = {}
            # The order of the line; everywhere else names.
            order = ("arousal", "valence", "dominance")
            numbers = (float(value or "nan") for value in values)
            ratings = dict(zip(order, numbers, strict=True))
            blocks[name] = (letter, ratings, raters)
        elif line and raters is None:
            raise UserError(f"{where}: {line!r} is before the first FILE.wav; LETTER; A:...")
        elif line and raters is not None:
            rater, answer = read_detail(line, where)
            raters.setdefault(rater, answer)
    return blocks
