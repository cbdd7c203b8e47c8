"""Protocols of benchmarks: EmoBox's folds and SUPERB's emotion recognition."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from sersl.core.errors import UserError
from sersl.corpora.labels import make_view
from sersl.corpora.protocols.by_group import known_speakers, leave_one_session_out, rows_of
from sersl.corpora.protocols.division import Division, Request, rows_where, split_training
from sersl.corpora.protocols.published_folds import (
    EMOBOX_CORPORA,
    EMOBOX_LEAKS,
    EMOBOX_TEST_SPEAKERS,
    read_emobox_folds,
)

_SUPERB_UTTERANCES = 5531  # 1103 angry, 1636 happy or excited, 1708 neutral, 1084 sad
_MOST_MISSING = 0.05  # of a published list that our copy of the corpus may lack
# EmoBox's name of a corpus -> ours, where they differ.
_OURS = {"jlcorpus": "jl", "msppodcast": "msp_podcast"}


def superb_er(request: Request) -> list[Division]:
    """Leaves one session of IEMOCAP out, four classes, excited as happy (SUPERB, task ER).

    Differs: validation is on speakers of the training sessions; s3prl draws 20 % of their
    utterances, which `allow_speaker_overlap` does here too, with `validation_fraction`.
    """
    corpora = [index.corpus for index in request.indexes]
    if corpora != ["iemocap"]:
        raise UserError(
            f"protocol 'superb-er' is for iemocap alone, not for {', '.join(corpora)}: choose "
            "leave-one-session-out"
        )
    view = make_view("4class", ())
    if request.view not in (None, view):
        raise UserError(
            "protocol 'superb-er' has four classes, with excited as happy: set "
            "labels.view to '4class', or choose leave-one-session-out for other labels"
        )
    usable = view.indices(request.column("category")) >= 0
    warnings: tuple[str, ...] = ()
    if usable.sum() != _SUPERB_UTTERANCES:
        warnings = (
            f"{usable.sum()} utterances of IEMOCAP have one of the four categories, in SUPERB "
            f"{_SUPERB_UTTERANCES}: scores may not compare",
        )
    divisions = []
    for number, fold in enumerate(leave_one_session_out(request)):
        test = fold.test[usable[fold.test]]
        train = rows_where(usable)
        train = train[~np.isin(train, test)]
        notes = [f"{int((~usable).sum())} utterances of other categories are left out"]
        validation = None
        if request.allow_speaker_overlap:
            train, validation = split_training(request, number, train, by_utterance=True)
            notes.append("validation: utterances drawn from the training sessions, as in s3prl")
        divisions.append(
            Division(
                fold.name,
                test,
                train=train,
                validation=validation,
                notes=tuple(notes),
                warnings=warnings,
            )
        )
    return divisions


def emobox(request: Request) -> list[Division]:
    """Takes EmoBox's folds of the one corpus of the request."""
    corpora = [index.corpus for index in request.indexes]
    names = {_OURS.get(name, name): name for name in EMOBOX_CORPORA}
    if len(corpora) != 1 or corpora[0] not in names:
        raise UserError(
            f"protocol 'emobox' has published folds for one corpus at a time of "
            f"{', '.join(sorted(names))}, not for {', '.join(corpora)}: choose k-fold-by-speaker"
        )
    return _emobox(request, names[corpora[0]])


def emobox_of(corpus: str) -> Callable[[Request], list[Division]]:
    """Makes the protocol emobox-<corpus>; `corpus` is EmoBox's name of it."""

    def divide(request: Request) -> list[Division]:
        return _emobox(request, corpus)

    return divide


def _emobox(request: Request, corpus: str) -> list[Division]:
    corpora = [index.corpus for index in request.indexes]
    if len(corpora) != 1:
        raise UserError(
            f"protocol 'emobox-{corpus}' is for one corpus, not for {', '.join(corpora)}"
        )
    if request.file:
        divisions = _from_lists(request, corpus)
    elif corpora[0] != _OURS.get(corpus, corpus):
        raise UserError(
            f"protocol 'emobox-{corpus}' is for corpus {_OURS.get(corpus, corpus)!r}, not for "
            f"{corpora[0]!r}: choose k-fold-by-speaker, or give protocol.file"
        )
    elif corpus == "iemocap":  # data/iemocap/fold_N tests session N
        divisions = superb_er(request)
        divisions = [_renamed(fold, f"fold{n}") for n, fold in enumerate(divisions, start=1)]
    elif corpus in EMOBOX_TEST_SPEAKERS:
        divisions = _by_speakers(request, corpus)
    else:
        leaks = f" (and they leak: {EMOBOX_LEAKS[corpus]})" if corpus in EMOBOX_LEAKS else ""
        raise UserError(
            f"protocol 'emobox-{corpus}' needs EmoBox's own lists{leaks}: set protocol.file to "
            f"data/{corpus} of a copy of https://github.com/emo-box/EmoBox"
        )
    if corpus not in EMOBOX_LEAKS:
        return divisions
    warning = (
        f"LEAK: EmoBox's folds of {corpus} are not speaker-independent: {EMOBOX_LEAKS[corpus]}; "
        "scores compare with EmoBox's table and are not those of new speakers"
    )
    if not request.allow_speaker_overlap:
        raise UserError(
            f"protocol 'emobox-{corpus}': {warning}; choose k-fold-by-speaker, or set "
            "protocol.allow_speaker_overlap to true to compare anyway"
        )
    return [_renamed(fold, fold.name, warning) for fold in divisions]


def _renamed(fold: Division, name: str, warning: str = "") -> Division:
    return Division(
        name,
        fold.test,
        train=fold.train,
        validation=fold.validation,
        notes=fold.notes,
        warnings=fold.warnings + ((warning,) if warning else ()),
    )


def _by_speakers(request: Request, corpus: str) -> list[Division]:
    published = EMOBOX_TEST_SPEAKERS[corpus]
    names, _ = known_speakers(request, f"emobox-{corpus}")
    expected = {speaker for fold in published for speaker in fold}
    if set(names) != expected:
        different = sorted(expected ^ set(names))
        raise UserError(
            f"protocol 'emobox' needs all {len(expected)} speakers of {corpus}; missing or "
            f"unknown: {', '.join(different)}; prepare the whole corpus, or choose "
            "k-fold-by-speaker"
        )
    return [
        Division(f"fold{f + 1}", rows_of(request, speakers)) for f, speakers in enumerate(published)
    ]


def _from_lists(request: Request, corpus: str) -> list[Division]:
    """Finds the utterances of EmoBox's lists by id or by the stem of their file."""
    ids = request.column("utterance_id").tolist()
    stems = [PurePosixPath(path).stem for path in request.column("path").tolist()]
    row_of = {name: row for names in (stems, ids) for row, name in enumerate(names)}
    divisions = []
    for name, sides in read_emobox_folds(Path(request.file), corpus).items():
        rows: dict[str, np.ndarray] = {}
        missing: list[str] = []
        listed = 0
        for side, utterances in sides.items():
            found = []
            for names in utterances:
                row = next((row_of[n] for n in names if n in row_of), None)
                if row is None:
                    missing.append(names[0])
                else:
                    found.append(row)
            listed += len(utterances)
            rows[side] = np.array(sorted(set(found)), np.int64)
        if len(missing) > _MOST_MISSING * listed:
            raise UserError(
                f"protocol 'emobox-{corpus}', {name}: {len(missing)} of {listed} utterances of "
                f"{request.file} are not in the prepared corpus, e.g. {missing[0]!r}; prepare the "
                "whole corpus under EmoBox's file names"
            )
        notes = []
        if missing:
            some = ", ".join(missing[:3])
            notes.append(
                f"{len(missing)} of {listed} listed utterances are not in the corpus: {some}"
            )
        validation = rows.get("validation")
        divisions.append(Division(name, rows["test"], rows["train"], validation, tuple(notes)))
    return divisions
