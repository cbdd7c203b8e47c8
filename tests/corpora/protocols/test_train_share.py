"""Shares of a training side: by class and speaker, nested, seeded."""

import numpy as np
import pytest

from sersl.corpora.protocols.division import Fold
from sersl.corpora.protocols.train_share import with_train_share

CLASSES = np.repeat(np.array(["angry", "sad", ""], object), (400, 160, 40))
SPEAKERS = np.tile(np.array([f"s{i}" for i in range(8)], object), 75)


def fold():
    rows = np.random.default_rng(0).permutation(600)
    train, validation, test = (np.sort(part) for part in np.split(rows, [420, 500]))
    return Fold("1", train, validation, test, {"notes": ["before"], "warnings": []})


def kept(share, *, seed=0):
    return with_train_share(fold(), share, classes=CLASSES, speakers=SPEAKERS, seed=seed)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_share_when_drawn_then_each_class_and_speaker_keeps_it(share):
    whole, part = fold(), kept(share)
    np.testing.assert_array_equal(part.test, whole.test)
    for side in ("train", "validation"):
        before, after = getattr(whole, side), getattr(part, side)
        assert set(after) <= set(before) and (np.diff(after) > 0).all()
        for name in ("angry", "sad", ""):
            count = int((CLASSES[before] == name).sum())
            assert (CLASSES[after] == name).sum() == max(1, round(share * count))
    angry = part.train[CLASSES[part.train] == "angry"]
    all_angry = whole.train[CLASSES[whole.train] == "angry"]
    for speaker in set(SPEAKERS.tolist()):
        wanted = share * (SPEAKERS[all_angry] == speaker).sum()
        assert abs((SPEAKERS[angry] == speaker).sum() - wanted) < 2
    assert part.checks["notes"][0] == "before"
    assert f"of {len(whole.train)} training utterances" in part.checks["notes"][1]


def test_share_when_tiny_then_every_class_has_one_and_smaller_shares_are_nested():
    tiny, more, half = kept(0.001), kept(0.1), kept(0.5)
    assert sorted(CLASSES[tiny.train].tolist()) == ["", "angry", "sad"]
    assert set(tiny.train) < set(more.train) < set(half.train)
    np.testing.assert_array_equal(kept(0.1).train, more.train)
    assert set(kept(0.1, seed=1).train) != set(more.train)


def test_share_when_it_is_one_then_the_fold_is_as_before():
    whole = fold()
    same = with_train_share(whole, 1.0, classes=CLASSES, speakers=SPEAKERS, seed=0)
    assert same is whole
