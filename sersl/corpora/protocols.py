"""Who is tested on whom: folds by name, and the proof that no side leaks into another.

Validation utterances always come from the training side: choosing a checkpoint on the test fold
is worth several points of nothing.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sersl.core.errors import UserError, unknown_name
from sersl.core.seeds import generator
from sersl.corpora.index import CorpusIndex
from sersl.corpora.published_folds import EMOBOX_TEST_SPEAKERS

_FINAL_NUMBER = 1_000_000  # of the final fold, in the seeds: after those of any protocol


@dataclass(frozen=True)
class Fold:
    """One division of the utterances.

    Attributes:
      name: letters, digits, "-" and "_" only: it names a folder.
      train, validation, test: sorted int64 rows of the concatenated indexes.
      checks: what `check_overlap` found, for the results.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    checks: dict


@dataclass(frozen=True)
class _Request:
    """What a protocol may use; arrays run over the concatenated indexes."""

    indexes: Sequence[CorpusIndex]
    speakers: np.ndarray  # (corpus, speaker) as one str; "" where the speaker is not known
    num_folds: int
    validation_fraction: float
    seed: int
    allow_speaker_overlap: bool


def make_folds(
    name: str,
    indexes: Sequence[CorpusIndex],
    *,
    num_folds: int,
    validation_fraction: float,
    seed: int,
    allow_speaker_overlap: bool = False,
) -> list[Fold]:
    """Makes the folds of a protocol.

    Args:
      name: "k-fold-by-speaker", "leave-one-speaker-out" or "emobox".
      indexes: of the prepared corpora; rows count through them in this order.
      num_folds: of k-fold-by-speaker; the others have their own number.
      validation_fraction: of the training side's speakers, at least one; 0 for no validation.
      seed: decides who is in which fold and who validates; the same seed, the same folds.
      allow_speaker_overlap: divide utterances rather than speakers where speakers are unknown or
        too few, and do not stop where a speaker or a recording is on two sides.

    Returns:
      The folds, each with its checks.

    Raises:
      UserError: unknown protocol; unknown or too few speakers; a speaker or a recording on two
        sides although that was not allowed.
    """
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    if not 0 <= validation_fraction < 1:
        raise UserError(
            f"protocol.validation_fraction is {validation_fraction:g}; it must be in [0, 1)"
        )
    request = _Request(
        indexes=indexes,
        speakers=_speakers(indexes),
        num_folds=num_folds,
        validation_fraction=validation_fraction,
        seed=seed,
        allow_speaker_overlap=allow_speaker_overlap,
    )
    tests = PROTOCOLS[name](request)
    audio = np.concatenate([index.column("sha256") for index in indexes])
    texts = np.concatenate([index.column("text") for index in indexes])
    folds = []
    for number, (fold_name, test) in enumerate(tests):
        train, validation = _split_training(request, number, test)
        checks = check_overlap(
            {"train": train, "validation": validation, "test": test},
            speakers=request.speakers,
            audio=audio,
            texts=texts,
            allow=allow_speaker_overlap,
            where=f"protocol {name!r}, fold {fold_name!r}",
        )
        folds.append(Fold(fold_name, train, validation, test, checks))
    return folds


def final_fold(
    name: str,
    indexes: Sequence[CorpusIndex],
    *,
    validation_fraction: float,
    seed: int,
    allow_speaker_overlap: bool = False,
) -> Fold:
    """Makes the division for a model to release: nobody is tested, some speakers validate.

    Args:
      name: of the fold.
      indexes: of the prepared corpora.
      validation_fraction: of the speakers, at least one; 0 for no validation.
      seed: decides who validates.
      allow_speaker_overlap: as for `make_folds`.

    Returns:
      A fold with an empty test side.

    Raises:
      UserError: only one speaker, or unknown ones, and overlap was not allowed.
    """
    request = _Request(
        indexes=indexes,
        speakers=_speakers(indexes),
        num_folds=1,
        validation_fraction=validation_fraction,
        seed=seed,
        allow_speaker_overlap=allow_speaker_overlap,
    )
    nobody = np.zeros(0, np.int64)
    train, validation = _split_training(request, _FINAL_NUMBER, nobody)
    checks = check_overlap(
        {"train": train, "validation": validation, "test": nobody},
        speakers=request.speakers,
        audio=np.concatenate([index.column("sha256") for index in indexes]),
        texts=np.concatenate([index.column("text") for index in indexes]),
        allow=allow_speaker_overlap,
        where=f"fold {name!r}",
    )
    return Fold(name, train, validation, nobody, checks)


def check_overlap(
    sides: dict[str, np.ndarray],
    *,
    speakers: np.ndarray,
    audio: np.ndarray,
    texts: np.ndarray,
    allow: bool,
    where: str,
) -> dict:
    """Counts what two sides of a fold have in common.

    Args:
      sides: name -> rows.
      speakers: [N] str, "" unknown.
      audio: [N] str, hash of the samples.
      texts: [N] str, "" unknown.
      allow: count speakers and recordings on two sides, rather than stop.
      where: protocol and fold, for the sentence.

    Returns:
      {"sizes": {side: rows}, "speakers" | "audio" | "texts": {"train/test": common values, ...},
      "allowed": allow}. The same sentence on two sides is counted, never an error: in acted
      corpora everyone says the same ones.

    Raises:
      UserError: a speaker or a recording is on two sides and `allow` is False.
    """
    checks: dict = {"sizes": {side: len(rows) for side, rows in sides.items()}, "allowed": allow}
    names = list(sides)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    for kind, values in (("speakers", speakers), ("audio", audio), ("texts", texts)):
        present = {side: set(values[rows].tolist()) - {""} for side, rows in sides.items()}
        checks[kind] = {f"{a}/{b}": len(present[a] & present[b]) for a, b in pairs}
        if allow or kind == "texts":
            continue
        for a, b in pairs:
            common = sorted(present[a] & present[b])
            if common:
                thing = "speaker" if kind == "speakers" else "recording with hash"
                raise UserError(
                    f"{where}: {thing} {common[0]!r} is in both {a} and {b} ({len(common)} in "
                    "all); remove it, or set protocol.allow_speaker_overlap to true"
                )
    return checks


def _speakers(indexes: Sequence[CorpusIndex]) -> np.ndarray:
    """Names speakers across corpora: speaker 01 of one corpus is not 01 of another."""
    several = len(indexes) > 1
    columns = []
    for index in indexes:
        prefix = f"{index.corpus}/" if several else ""
        column = index.column("speaker")
        columns.append(np.array([prefix + s if s else "" for s in column.tolist()], dtype=object))
    return np.concatenate(columns)


def _known_speakers(request: _Request, protocol: str) -> tuple[list[str], np.ndarray]:
    """Gives the sorted speakers and their numbers of utterances."""
    unknown = int((request.speakers == "").sum())
    if unknown:
        raise UserError(
            f"protocol {protocol!r} needs to know who speaks, and {unknown} of "
            f"{len(request.speakers)} utterances have no speaker: add a column 'speaker' and "
            "prepare again, or set protocol.allow_speaker_overlap to true with "
            "'k-fold-by-speaker' to divide utterances"
        )
    names, counts = np.unique(request.speakers.astype(str), return_counts=True)
    return names.tolist(), counts


def _rows_of(request: _Request, speakers) -> np.ndarray:
    return np.flatnonzero(np.isin(request.speakers.astype(str), list(speakers))).astype(np.int64)


def _k_fold_by_speaker(request: _Request) -> list[tuple[str, np.ndarray]]:
    """Puts each speaker, those with most utterances first, into the smallest fold so far."""
    if request.num_folds < 2:
        raise UserError(f"protocol.num_folds is {request.num_folds}; it must be at least 2")
    if request.allow_speaker_overlap and (request.speakers == "").any():
        return _k_fold_by_utterance(request)
    names, counts = _known_speakers(request, "k-fold-by-speaker")
    if len(names) < request.num_folds:
        if request.allow_speaker_overlap:
            return _k_fold_by_utterance(request)
        raise UserError(
            f"{request.num_folds} folds need as many speakers, and there are {len(names)}: lower "
            "protocol.num_folds, or set protocol.allow_speaker_overlap to true to divide utterances"
        )
    shuffled = generator(request.seed, "folds").permutation(len(names))
    order = sorted(shuffled.tolist(), key=lambda i: -counts[i])  # stable: ties stay shuffled
    members: list[list[str]] = [[] for _ in range(request.num_folds)]
    sizes = [0] * request.num_folds
    for i in order:
        smallest = min(range(request.num_folds), key=lambda f: (sizes[f], len(members[f]), f))
        members[smallest].append(names[i])
        sizes[smallest] += int(counts[i])
    return [(f"fold{f + 1}", _rows_of(request, speakers)) for f, speakers in enumerate(members)]


def _k_fold_by_utterance(request: _Request) -> list[tuple[str, np.ndarray]]:
    """Divides recordings at random; copies of one recording stay together."""
    groups = _recordings(request)
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
    return [(f"fold{f + 1}", np.flatnonzero(folds == f)) for f in range(request.num_folds)]


def _recordings(request: _Request) -> np.ndarray:
    audio = np.concatenate([index.column("sha256") for index in request.indexes])
    return np.unique(audio.astype(str), return_inverse=True)[1].reshape(-1)


def _leave_one_speaker_out(request: _Request) -> list[tuple[str, np.ndarray]]:
    names, _ = _known_speakers(request, "leave-one-speaker-out")
    if len(names) < 2:
        raise UserError("leave-one-speaker-out needs at least 2 speakers, and there is 1")
    fold_names = [_file_name(f"speaker-{name.removeprefix('speaker_')}") for name in names]
    if len(set(fold_names)) < len(names):  # "a b" and "a_b"
        fold_names = [f"{name}-{i}" for i, name in enumerate(fold_names)]
    return [(f, _rows_of(request, [s])) for f, s in zip(fold_names, names, strict=True)]


def _emobox(request: _Request) -> list[tuple[str, np.ndarray]]:
    corpora = [index.corpus for index in request.indexes]
    if len(corpora) != 1 or corpora[0] not in EMOBOX_TEST_SPEAKERS:
        raise UserError(
            f"protocol 'emobox' has published folds for one corpus at a time of "
            f"{', '.join(sorted(EMOBOX_TEST_SPEAKERS))}, not for {', '.join(corpora)}: choose "
            "k-fold-by-speaker"
        )
    published = EMOBOX_TEST_SPEAKERS[corpora[0]]
    names, _ = _known_speakers(request, "emobox")
    expected = {speaker for fold in published for speaker in fold}
    if set(names) != expected:
        different = sorted(expected ^ set(names))
        raise UserError(
            f"protocol 'emobox' needs all {len(expected)} speakers of {corpora[0]}; missing or "
            f"unknown: {', '.join(different)}; prepare the whole corpus, or choose "
            "k-fold-by-speaker"
        )
    return [(f"fold{f + 1}", _rows_of(request, speakers)) for f, speakers in enumerate(published)]


PROTOCOLS: dict[str, Callable[[_Request], list[tuple[str, np.ndarray]]]] = {
    "k-fold-by-speaker": _k_fold_by_speaker,
    "leave-one-speaker-out": _leave_one_speaker_out,
    "emobox": _emobox,
}


def _split_training(request: _Request, number: int, test: np.ndarray):
    """Draws validation speakers from all that are not tested.

    Returns:
      (train, validation): sorted int64 rows.
    """
    rest = np.setdiff1d(np.arange(len(request.speakers), dtype=np.int64), test)
    if request.validation_fraction == 0:
        return rest, rest[:0]
    rng = generator(request.seed, "validation speakers", number)
    speakers = request.speakers[rest].astype(str)
    unique = np.unique(speakers)
    if len(unique) >= 2 and "" not in unique:
        groups, choices = speakers, unique
    elif request.allow_speaker_overlap:
        groups = _recordings(request)[rest]
        choices = np.unique(groups)
    else:
        raise UserError(
            "only one speaker is left for training, so none can validate: set "
            "protocol.validation_fraction to 0, or protocol.allow_speaker_overlap to true to "
            "validate on the same speaker"
        )
    wanted = max(1, round(request.validation_fraction * len(choices)))
    wanted = min(wanted, len(choices) - 1)
    chosen = rng.choice(choices, size=wanted, replace=False)
    validates = np.isin(groups, chosen)
    return rest[~validates], rest[validates]


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text)
