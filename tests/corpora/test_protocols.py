import hashlib
from pathlib import Path

import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.corpora.index import CorpusIndex
from sersl.corpora.protocols import make_folds


def index_of(speakers, *, corpus="own", audio=None, texts=None) -> CorpusIndex:
    speakers = np.array(list(speakers), dtype=object)
    n = len(speakers)
    if audio is None:
        audio = [hashlib.sha256(f"{corpus}{i}".encode()).hexdigest() for i in range(n)]
    columns = {
        "speaker": speakers,
        "sha256": np.array(audio, dtype=object),
        "text": np.array(texts if texts is not None else [""] * n, dtype=object),
    }
    return CorpusIndex(corpus, "1.0.0", Path(), "f", n, columns)


def folds_of(name, *indexes, num_folds=3, validation_fraction=0.2, seed=0, **more):
    return make_folds(
        name,
        indexes,
        num_folds=num_folds,
        validation_fraction=validation_fraction,
        seed=seed,
        **more,
    )


UNEVEN = [
    s for s, count in zip("abcdefgh", (9, 8, 5, 5, 4, 3, 1, 1), strict=True) for _ in range(count)
]


def test_k_fold_when_speakers_are_uneven_then_disjoint_complete_and_balanced():
    index = index_of(UNEVEN)
    folds = folds_of("k-fold-by-speaker", index)
    assert [f.name for f in folds] == ["fold1", "fold2", "fold3"]
    speakers = index.column("speaker")
    np.testing.assert_array_equal(np.sort(np.concatenate([f.test for f in folds])), np.arange(36))
    for fold in folds:
        sides = [set(speakers[rows]) for rows in (fold.train, fold.validation, fold.test)]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
        assert len(fold.train) + len(fold.validation) + len(fold.test) == 36
        assert len(fold.validation) > 0
        assert 11 <= len(fold.test) <= 13  # 36 utterances in 3 folds
        assert fold.test.dtype == np.int64
        assert fold.checks["speakers"] == {
            "train/validation": 0,
            "train/test": 0,
            "validation/test": 0,
        }


def test_k_fold_when_seed_is_the_same_then_same_folds_and_another_differs():
    index = index_of([f"s{i}" for i in range(12) for _ in range(3)])
    first, again, other = (
        [f.test.tolist() for f in folds_of("k-fold-by-speaker", index, seed=s)] for s in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_k_fold_when_fewer_speakers_than_folds_then_error():
    with pytest.raises(UserError, match="3 folds need as many speakers, and there are 2"):
        folds_of("k-fold-by-speaker", index_of("aabb"))


def test_k_fold_when_speakers_are_unknown_then_error_names_the_column():
    with pytest.raises(
        UserError, match="2 of 4 utterances have no speaker: add a column 'speaker'"
    ):
        folds_of("k-fold-by-speaker", index_of(["a", "", "b", ""]))


def test_k_fold_when_overlap_is_allowed_then_recordings_are_divided_and_copies_stay_together():
    audio = ["x", "x", *(str(i) for i in range(10))]
    index = index_of([""] * 12, audio=audio)
    folds = folds_of("k-fold-by-speaker", index, allow_speaker_overlap=True)
    np.testing.assert_array_equal(np.sort(np.concatenate([f.test for f in folds])), np.arange(12))
    for fold in folds:
        assert (0 in fold.test) == (1 in fold.test)
        assert (0 in fold.validation) == (1 in fold.validation)
        assert fold.checks["allowed"] is True


def test_folds_when_two_corpora_share_a_speaker_name_then_they_are_two_speakers():
    one, two = index_of("aabb", corpus="one"), index_of("aabb", corpus="two")
    folds = folds_of("leave-one-speaker-out", one, two)
    assert [f.name for f in folds] == [
        "speaker-one_a",
        "speaker-one_b",
        "speaker-two_a",
        "speaker-two_b",
    ]
    assert folds[2].test.tolist() == [4, 5]


def test_folds_when_one_recording_has_two_speakers_then_error_unless_allowed():
    index = index_of("abcdef", audio=list("xyzuvx"))
    with pytest.raises(UserError, match="recording with hash 'x' is in both"):
        folds_of("leave-one-speaker-out", index)
    folds = folds_of("leave-one-speaker-out", index, allow_speaker_overlap=True)
    assert sum(sum(f.checks["audio"].values()) for f in folds) > 0


def test_folds_when_sentences_repeat_then_counted_not_refused():
    folds = folds_of("leave-one-speaker-out", index_of("abc", texts=["hi", "hi", "ho"]))
    assert folds[0].checks["texts"]["train/test"] + folds[0].checks["texts"]["validation/test"] == 1


def test_validation_when_fraction_is_zero_then_empty_and_all_others_train():
    (fold, *_) = folds_of("leave-one-speaker-out", index_of("aab"), validation_fraction=0.0)
    assert fold.validation.tolist() == [] and fold.train.tolist() == [2]


def test_validation_when_one_training_speaker_is_left_then_error_says_what_to_set():
    with pytest.raises(UserError, match=r"validation_fraction to 0"):
        folds_of("leave-one-speaker-out", index_of("aabb"))
    fold = folds_of("leave-one-speaker-out", index_of("aabb"), allow_speaker_overlap=True)[0]
    assert fold.validation.size == 1 and fold.train.size == 1


RAVDESS = [f"{actor:02d}" for actor in range(1, 25) for _ in range(2)]


def test_emobox_when_ravdess_then_published_actors_and_validation_from_the_others():
    index = index_of(RAVDESS, corpus="ravdess")
    folds = folds_of("emobox", index, num_folds=99, validation_fraction=0.15)
    speakers = index.column("speaker")
    tests = [sorted(set(speakers[f.test])) for f in folds]
    assert tests[0] == ["01", "11", "20", "21"] and tests[5] == ["06", "13", "17", "22"]
    assert sorted(s for t in tests for s in t) == sorted(set(RAVDESS))
    assert all(len(set(speakers[f.validation])) == 3 for f in folds)  # 0.15 of 20 speakers


def test_emobox_when_speakers_are_missing_then_error_names_them():
    with pytest.raises(UserError, match="missing or unknown: 24;"):
        folds_of("emobox", index_of(RAVDESS[:-2], corpus="ravdess"))


def test_emobox_when_another_corpus_then_error():
    with pytest.raises(UserError, match=r"ravdess.*, not for own"):
        folds_of("emobox", index_of("ab"))


def test_make_folds_when_name_is_misspelt_then_error_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'leave-one-speaker-out'"):
        folds_of("leave-one-speaker", index_of("ab"))
