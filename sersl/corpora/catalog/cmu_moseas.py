"""CMU-MOSEAS: monologues of YouTube in French, German, Portuguese and Spanish."""

import math
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from sersl.core.errors import UserError
from sersl.corpora.catalog.cmu_mosei import (
    FOLDS,
    SENTIMENT,
    STRONGEST,
    read_sequence,
    strongest,
)
from sersl.corpora.catalog.label_files import require_choices, scaled
from sersl.corpora.listing import list_files, printable
from sersl.corpora.tables.delimited import read_table
from sersl.corpora.tables.values import Row
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.words import known_category
from sersl.corpora.writing.builder import FolderBuilder

# Folders and files are named by the language or its code.
_LANGUAGES = {
    "french": "fr",
    "german": "de",
    "portuguese": "pt",
    "spanish": "es",
    **{code: code for code in ("fr", "de", "pt", "es")},
}
_KEYS = ("file", "start", "end", "split")
_SENTIMENT = "sentiment"
_SPLITS = FOLDS | {
    "train": "train",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "": "",
}


class CmuMoseas(FolderBuilder):
    """Segments of CMU-MOSEAS's recordings, as the label file of each language cuts them.

    The labels of a language are a .csd file (a computational sequence of the owner's SDK) or a
    CSV, with a column or dimension per label: six emotions from 0 to 3, sentiment from -3 to 3, and
    subjectivity and attributes, which are kept in `extra`. The category is the strongest emotion;
    none where all are zero or two are equal.

    Source: labels and scales as in Zadeh et al. 2020, sec. 3; the form of a .csd as in CMU-MOSEI.
    The owner describes no layout of folders, so that languages are found by name.
    """

    name = "cmu_moseas"
    about = About(
        description="CMU-MOSEAS: YouTube monologues in four languages; six emotions, sentiment.",
        citation=(
            "Zadeh A, Cao YS, Hessner S, Liang PP, Poria S, Morency LP (2020). CMU-MOSEAS: A "
            "Multimodal Language Dataset for Spanish, Portuguese, German and French. EMNLP: "
            "1801-1812. doi:10.18653/v1/2020.emnlp-main.141"
        ),
        licence="see the homepage; the recordings belong to their authors",
        homepage="https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK",
        folder=(
            "a folder per language, French, German, Portuguese and Spanish (or fr, de, pt, es), "
            "each with its labels as .csd, or as .csv with the columns file, start, end, "
            "sentiment, happiness, sadness, anger, surprise, disgust, fear (and split), and the "
            "full recordings, French/Audio/-3g5yACwYnA.wav"
        ),
        how_to_get=(
            "ask for the raw files as described at "
            "https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK"
        ),
    )

    def tables(self) -> list[str]:
        """Finds the label files of all languages."""
        return [f for f in list_files(self.audio_dir, (".csd", ".csv")) if _language(f)]

    def read_tables(self) -> list[LeftOut]:
        """Reads the segments of every recording."""
        self._segments: dict[tuple[str, str], list[Row]] = {}
        for file in self.tables():
            language, rows = _language(file), list(self._read(file))
            require_choices(rows, "split", _SPLITS)
            if rows and not any(known_category(name) for name in rows[0].values):
                raise UserError(
                    f"{self.audio_dir / file} has no column of an emotion, such as happiness: "
                    "take the owner's labels, or name its columns so"
                )
            for row in rows:
                self._segments.setdefault((language, row.text("file")), []).append(row)
        if not self._segments:
            raise UserError(
                f"corpus 'cmu_moseas': there is no label file (.csd or .csv) of a language in "
                f"{self.audio_dir}: copy each into the folder of its language, such as French"
            )
        return []

    def _read(self, file: str) -> Iterator[Row]:
        path = self.audio_dir / file
        if path.suffix == ".csd":
            yield from read_sequence(path, {}, root="")
        else:
            yield from read_table(path, columns=_KEYS[:3])

    def expected_utterances(self) -> int:
        """Counts the labelled segments."""
        return sum(map(len, self._segments.values()))

    def parse(self, file: str) -> LeftOut | list[Utterance | LeftOut]:
        """Lists the labelled segments of one recording."""
        key = (_language(file), PurePosixPath(file).stem)
        if key not in self._segments:
            return LeftOut(printable(file), "recording without a label in its language's file")
        rows = sorted(self._segments[key], key=lambda row: row.seconds("start"))
        return [self._segment(file, number, row) for number, row in enumerate(rows)]

    def _segment(self, file: str, number: int, row: Row) -> Utterance:
        language, video = _language(file), PurePosixPath(file).stem
        labels = {name: row.number(name) for name in row.values if name and name not in _KEYS}
        labels = {name: value for name, value in labels.items() if not math.isnan(value)}
        strengths = {n: v for n, v in labels.items() if known_category(n)}
        raw = strongest(strengths)
        return Utterance(
            utterance_id=f"{language}_{video}_{number}",
            source=self.audio_dir / file,
            path=printable(file),
            start=max(0.0, row.seconds("start")),
            end=row.seconds("end"),
            speaker=f"{language}_{video}",  # one speaker each
            language=language,
            session=language,
            category=known_category(raw) or "" if raw else "",
            category_raw=raw,
            intensity=strengths[raw] / STRONGEST if raw else math.nan,
            **scaled(*SENTIMENT, valence=labels.pop(_SENTIMENT, math.nan)),
            fold=_SPLITS[row.text("split")],
            extra=labels,
        )


def _language(file: str) -> str:
    """Finds the language in the names of a file and its folders, the innermost first; else ""."""
    for part in reversed(PurePosixPath(file).parts):
        whole = part.rsplit(".", 1)[0].lower()
        words = [whole] if len(whole) == 2 else re.split(r"[_\W]+", whole)
        for word in words:
            if word in _LANGUAGES and (len(word) > 2 or word == whole):
                return _LANGUAGES[word]
    return ""
