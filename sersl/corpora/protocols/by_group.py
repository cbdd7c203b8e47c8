"""Protocols that test speakers, sessions, corpora or official splits in turn."""

import dataclasses
import re
from collections.abc import Iterable

import numpy as np

from sersl.core.errors import UserError, unknown_name
from sersl.core.seeds import generator
from sersl.corpora.protocols.division import Division, Request, rows_where
from sersl.corpora.tables.values import is_missing

_LONGEST_NAME = 180  # of a fold's folder
# Words of official splits -> our sides; "test1" of MSP-Podcast is a test of its own.
_OFFICIAL = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("dev", "development", "valid", "validation", "val", "devel"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "tst"), "test"),
}


def k_fold_by_speaker(request: Request) -> list[Division]:
    """Puts each speaker, those with most utterances first, into the smallest fold so far."""
    if request.num_folds < 2:
        raise UserError(f"protocol.num_folds is {request.num_folds}; it must be at least 2")
    if request.allow_speaker_overlap and (request.speakers == "").any():
        return _k_fold_by_utterance(request)
    names, counts = known_speakers(request, "k-fold-by-speaker")
    if len(names) < request.num_folds:
        if request.allow_speaker_overlap:
            return _k_fold_by_utterance(request)
        there = "is 1" if len(names) == 1 else f"are {len(names)}"
        lower = "lower protocol.num_folds, or " if len(names) > 1 else ""
        raise UserError(
            f"{request.num_folds} folds need as many speakers, and there {there}: {lower}set "
            "protocol.allow_speaker_overlap to true to divide utterances"
        )
    shuffled = generator(request.seed, "folds").permutation(len(names))
    order = sorted(shuffled.tolist(), key=lambda i: -counts[i])  # stable: ties stay shuffled
    members: list[list[str]] = [[] for _ in range(request.num_folds)]
    sizes = [0] * request.num_folds
    for i in order:
        smallest = min(range(request.num_folds), key=lambda f: (sizes[f], len(members[f]), f))
        members[smallest].append(names[i])
        sizes[smallest] += int(counts[i])
    return [
        Division(f"fold{f + 1}", rows_of(request, speakers)) for f, speakers in enumerate(members)
    ]


def _k_fold_by_utterance(request: Request) -> list[Division]:
    """Divides recordings at random; copies of one recording stay together."""
    groups = request.recordings()
    num_groups = int(groups.max()) + 1
    if num_groups < request.num_folds:
        raise UserError(
            f"{request.num_folds} folds need as many recordings, and there are {num_groups}: "
            "lower protocol.num_folds"
        )
    order = generator(request.seed, "folds").permutation(num_groups)
    fold_of_group = np.empty(num_groups, np.int64)
    fold_of_group[order] = np.arange(num_groups) % request.num_folds
    folds = fold_of_group[groups]
    return [Division(f"fold{f + 1}", rows_where(folds == f)) for f in range(request.num_folds)]


def leave_one_speaker_out(request: Request) -> list[Division]:
    """Tests each speaker in turn."""
    names, _ = known_speakers(request, "leave-one-speaker-out")
    if len(names) < 2:
        raise UserError("leave-one-speaker-out needs at least 2 speakers, and there is 1")
    fold_names = file_names(f"speaker-{name.removeprefix('speaker_')}" for name in names)
    return [Division(f, rows_of(request, [s])) for f, s in zip(fold_names, names, strict=True)]


def leave_one_session_out(request: Request) -> list[Division]:
    """Tests each session in turn; session 1 of one corpus is not session 1 of another."""
    sessions = request.column("session")
    unknown = int((sessions == "").sum())
    if unknown:
        raise UserError(
            f"protocol 'leave-one-session-out': {unknown} of {len(request)} utterances have no "
            "session; add a column 'session' and prepare again, or choose k-fold-by-speaker"
        )
    if len(request.indexes) > 1:
        sessions = request.corpora() + "/" + sessions
    names = np.unique(sessions.astype(str)).tolist()
    if len(names) < 2:
        raise UserError("leave-one-session-out needs at least 2 sessions, and there is 1")
    fold_names = file_names(f"session-{re.sub('^session[_-]?', '', n, flags=re.I)}" for n in names)
    return [Division(f, rows_where(sessions == s)) for f, s in zip(fold_names, names, strict=True)]


def official(request: Request) -> list[Division]:
    """Takes the corpus's own split from the column `fold`, or from each of several such columns.

    Its words are sides (train, validation, test, also test1, test2 and so on: a fold for each), or
    any other names, each of which is tested in turn. With several columns, the names of folds
    begin with that of the column.
    """
    columns = _repeated(request)
    if not columns:
        return _official(request.column("fold"))
    divisions = []
    for name, words in columns.items():
        for one in _official(words):
            divisions.append(dataclasses.replace(one, name=file_names([f"{name}-{one.name}"])[0]))
    return divisions


def _repeated(request: Request) -> dict[str, np.ndarray]:
    """Reads the columns that divide all corpora, if they are several: name -> [N] str."""
    given = [one or {} for index in request.indexes for one in index.extra("folds")]
    names = dict.fromkeys(name for one in given if isinstance(one, dict) for name in one)
    return {name: np.array([str(one.get(name, "")) for one in given], object) for name in names}


def _official(column: np.ndarray) -> list[Division]:
    # Corpora that older versions prepared may have "nan" and the like as text.
    texts = [str(value).strip().lower() for value in column]
    values = np.array(["" if is_missing(text) else text for text in texts], dtype=object)
    if not (values != "").any():
        raise UserError(
            "protocol 'official': no utterance has a fold, so the corpus has no official split; "
            "add a column 'fold' and prepare again, or choose k-fold-by-speaker"
        )
    missing = int((values == "").sum())
    notes = (f"{missing} utterances have no official split and are left out",) if missing else ()
    names = sorted(set(values) - {""})
    sides = np.array([side_of_word(value) for value in values], dtype=object)
    if not (sides == "train").any() or not any(side.startswith("test") for side in set(sides)):
        if {"train", "validation"} & set(sides) or any(s.startswith("test") for s in set(sides)):
            raise UserError(
                f"protocol 'official': folds are {', '.join(names)}, without a train and a test "
                "side; choose k-fold-by-speaker"
            )
        if len(names) < 2:
            raise UserError("protocol 'official': there is only one fold; choose k-fold-by-speaker")
        listed = values != ""
        return [
            Division(f, rows_where(values == n), train=rows_where(listed & (values != n)),
                     notes=notes)
            for f, n in zip(file_names(f"fold-{n}" for n in names), names, strict=True)
        ]  # fmt: skip
    validation = rows_where(sides == "validation")
    unknown = (values != "") & (sides == "")
    warnings = tuple(
        f"{count} utterances with fold {word!r} are left out: the word is none of train, "
        "validation and test"
        for word, count in _counts(values[unknown])
    )
    return [
        Division(
            name,
            rows_where(sides == name),
            train=rows_where(sides == "train"),
            validation=validation if len(validation) else None,
            notes=notes,
            warnings=warnings,
        )
        for name in sorted(set(sides))
        if name.startswith("test")
    ]


def has_split(fold: np.ndarray) -> bool:
    """Tells whether the column `fold`, [N] str, has a train and a test side."""
    sides = {side_of_word(str(value).strip().lower()) for value in np.unique(fold.astype(str))}
    return "train" in sides and any(side.startswith("test") for side in sides)


def side_of_word(value: str) -> str:
    """Finds the side that a word of the column `fold` means.

    Args:
      value: in lower case, e.g. "train", "dev", "test_2".

    Returns:
      "train", "validation", "test", "test1" and so on; "" for any other word.
    """
    word, number = re.sub(r"[ _-]?\d*$", "", value), "".join(re.findall(r"\d*$", value))
    side = _OFFICIAL.get(word, "")
    return side + number if side == "test" else side


def _counts(values: np.ndarray) -> list[tuple[str, int]]:
    words, counts = np.unique(values.astype(str), return_counts=True)
    return list(zip(words.tolist(), counts.tolist(), strict=True))


def cross_corpus(request: Request) -> list[Division]:
    """Trains on some corpora and tests on another, on the classes that both have.

    Tests each of `test_corpora` with all others for training; without any, each in turn.
    """
    corpora, classes = request.corpora(), request.classes()
    names = [index.corpus for index in request.indexes]
    for name in request.test_corpora:
        if name not in names:
            raise unknown_name("corpus in protocol.test_corpora", name, names)
    tested = request.test_corpora or tuple(names)
    always_tested = set(request.test_corpora)
    divisions = []
    for name in tested:
        training = [n for n in names if n != name and n not in always_tested]
        if not training:
            raise UserError(
                "protocol 'cross-corpus' needs a corpus to train on besides those it tests: name "
                "at least two in data.corpora, and not all of them in protocol.test_corpora"
            )
        test, train = corpora == name, np.isin(corpora.astype(str), training)
        shared = (set(classes[test]) & set(classes[train])) - {""}
        if not shared:
            raise UserError(
                f"protocol 'cross-corpus': {', '.join(training)} and {name} have no class in common"
            )
        usable = np.isin(classes.astype(str), sorted(shared))
        notes = [f"classes of both sides: {', '.join(sorted(shared))}"]
        for side, chosen in (("training", train), ("test", test)):
            lost = _counts(classes[chosen & ~usable])
            if lost:
                texts = (f"{name or 'without a class'} {count}" for name, count in lost)
                notes.append(f"left out of the {side} side: {', '.join(texts)}")
        divisions.append(
            Division(
                file_names([f"test-{name}"])[0],
                rows_where(test & usable),
                train=rows_where(train & usable),
                notes=tuple(notes),
            )
        )
    return divisions


def known_speakers(request: Request, protocol: str) -> tuple[list[str], np.ndarray]:
    """Gives the sorted speakers, [S] str, and their numbers of utterances, [S] int64.

    Args:
      request: with the speakers.
      protocol: that needs them, for the message.

    Raises:
      UserError: an utterance has no speaker.
    """
    unknown = int((request.speakers == "").sum())
    if unknown:
        raise UserError(
            f"protocol {protocol!r} needs speakers, and {unknown} of "
            f"{len(request.speakers)} utterances have no speaker: add a column 'speaker' and "
            "prepare again, or set protocol.allow_speaker_overlap to true with "
            "'k-fold-by-speaker' to divide utterances"
        )
    names, counts = np.unique(request.speakers.astype(str), return_counts=True)
    return names.tolist(), counts


def rows_of(request: Request, speakers: Iterable[str]) -> np.ndarray:
    """Gives the sorted int64 rows of some speakers, named as in `Request.speakers`."""
    return rows_where(np.isin(request.speakers.astype(str), list(speakers)))


def file_names(texts: Iterable[str]) -> list[str]:
    """Makes texts names of folders, each its own."""
    names = [re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:_LONGEST_NAME] for text in texts]
    if len({name.casefold() for name in names}) < len(names):  # "a b" and "a_b"
        names = [f"{name}-{i}" for i, name in enumerate(names)]
    return names
