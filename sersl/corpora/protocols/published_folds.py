"""Folds of published benchmarks: lists of test speakers, and a reader of EmoBox's lists."""

import re
from pathlib import Path, PurePosixPath

from sersl.core.errors import UserError
from sersl.core.files import find_paths
from sersl.corpora.tables.objects import read_objects
from sersl.corpora.tables.values import Row

# EmoBox (Ma et al., Interspeech 2024, arXiv:2406.07162), data/<corpus>/fold_N/*_test_fold_N.jsonl:
# the speakers on the test side of each fold, where no speaker is on both sides.
EMOBOX_TEST_SPEAKERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "emovo": (("f2",), ("m3",), ("m2",), ("f3",), ("f1",), ("m1",)),
    "ravdess": (
        ("01", "11", "20", "21"),
        ("04", "10", "12", "14"),
        ("08", "09", "19", "23"),
        ("03", "05", "07", "24"),
        ("02", "15", "16", "18"),
        ("06", "13", "17", "22"),
    ),
    "savee": (("JE",), ("KL",), ("DC",), ("JK",)),
}
# All of EmoBox's corpora, by its names.
EMOBOX_CORPORA = (
    *("aesdd", "ased", "asvpesd", "cafe", "casia", "cremad", "emns", "emodb", "emovdb", "emovo"),
    *("emozionalmente", "enterface", "esd", "iemocap", "jlcorpus", "m3ed", "mead", "meld"),
    *("mer2023", "mesd", "msppodcast", "oreau", "pavoque", "polish", "ravdess", "resd", "savee"),
    *("shemo", "subesco", "tess", "turevdb", "urdu"),
)
# Corpora with a parser here whose published folds test on speakers that they train on. EmoBox's
# `write_folds` (EmoBox/utils/preprocess_utils.py) draws a quarter of each class, regardless of the
# speaker, for corpora with fewer than four speakers, or whose speakers differ in the number of
# utterances per class; its lists of enterface, shemo and urdu show it.
_DRAWN = "a quarter of each class was drawn for testing, regardless of the speaker"
EMOBOX_LEAKS = {
    "cremad": "all 91 speakers are on both sides",
    "emodb": "all ten speakers and all ten sentences are on both sides of every fold",
    "enterface": _DRAWN,
    "shemo": _DRAWN,
    "tess": "both speakers are on both sides",
    "urdu": _DRAWN,
}
_SIDES = {"train": "train", "valid": "validation", "dev": "validation", "test": "test"}


def read_emobox_folds(folder: Path, corpus: str) -> dict[str, dict[str, list[tuple[str, ...]]]]:
    """Reads EmoBox's folds of one corpus.

    Args:
      folder: data/<corpus> of EmoBox, with fold_1/<corpus>_train_fold_1.jsonl and so on.
      corpus: its name in EmoBox.

    Returns:
      Fold -> side -> utterances; each as the names that it may have in a prepared corpus:
      EmoBox's key without the corpus, and the path's stem, which EmoBox may have changed.

    Raises:
      UserError: there are no folds, a fold without train or test, or a broken line.
    """
    places = sorted(
        (path for path in find_paths(folder, "fold_*") if path.is_dir()),
        key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)],
    )
    if not places:
        raise UserError(
            f"{str(folder)!r} has no folder fold_1: set protocol.file to data/{corpus} of a copy "
            "of EmoBox (https://github.com/emo-box/EmoBox)"
        )
    folds: dict[str, dict[str, list[tuple[str, ...]]]] = {}
    for place in places:
        sides: dict[str, list[tuple[str, ...]]] = {}
        for word, side in _SIDES.items():
            # EMO-DB has each list twice: emodb_test_fold1.jsonl and emodb_test_fold_1.jsonl.
            files = find_paths(place, f"*_{word}_{place.name}.jsonl")
            if files:
                sides[side] = [_names(row) for row in read_objects(files[0])]
        for side in ("train", "test"):
            if side not in sides:
                raise UserError(f"{place}: there is no *_{side}_{place.name}.jsonl")
        folds[place.name.replace("_", "")] = sides
    return folds


def _names(row: Row) -> tuple[str, ...]:
    if not row.has("key") or not row.has("wav"):
        raise UserError(f"{row.where}: there is no 'key' and 'wav', so it is not of EmoBox")
    prefix = f"{row.text('dataset')}-" if row.has("dataset") else ""
    return (row.text("key").removeprefix(prefix), PurePosixPath(row.text("wav")).stem)
