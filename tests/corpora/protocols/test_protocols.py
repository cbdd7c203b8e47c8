import csv
import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.corpora.index import CorpusIndex
from sersl.corpora.labels import make_view
from sersl.corpora.protocols.file import write_protocol
from sersl.corpora.protocols.protocol import make_folds
from sersl.corpora.words import canonical


def index_of(speakers, *, corpus="own", audio=None, texts=None) -> CorpusIndex:
    speakers = np.array(list(speakers), dtype=object)
    n = len(speakers)
    if audio is None:
        audio = [hashlib.sha256(f"{corpus}{i}".encode()).hexdigest() for i in range(n)]
    columns = {
        "speaker": speakers,
        "sha256": np.array(audio, dtype=object),
        "text": np.array(texts if texts is not None else [""] * n, dtype=object),
        "extra": np.array([""] * n, dtype=object),
    }
    return CorpusIndex(corpus, "1.0.0", Path(), "f", n, _columns=columns)


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
        assert "the speakers of 12 of 12 utterances are not known" in fold.checks["warnings"][0]


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


def with_columns(index, **columns):
    index._columns.update({k: np.array(v, dtype=object) for k, v in columns.items()})
    return index


def test_sessions_when_left_out_then_each_is_tested_once():
    index = with_columns(index_of("aabbcc"), session=["Session1"] * 2 + ["2"] * 2 + ["x y"] * 2)
    folds = folds_of("leave-one-session-out", index)
    assert [f.name for f in folds] == ["session-2", "session-1", "session-x_y"]
    assert [f.test.tolist() for f in folds] == [[2, 3], [0, 1], [4, 5]]
    with pytest.raises(UserError, match="1 of 2 utterances have no session"):
        folds_of("leave-one-session-out", with_columns(index_of("ab"), session=["1", ""]))


def test_official_when_sides_have_names_then_a_fold_per_test():
    values = ["Train", "train", "Development", "Test1", "Test2", ""]
    index = with_columns(index_of("abcdef"), fold=values)
    one, two = folds_of("official", index, validation_fraction=0.5)
    assert (one.name, two.name) == ("test1", "test2")
    assert (one.train.tolist(), one.validation.tolist(), one.test.tolist()) == ([0, 1], [2], [3])
    assert two.test.tolist() == [4]
    assert one.checks["notes"] == [
        "1 utterances have no official split and are left out",
        "2 of 6 utterances are on no side of this fold",
    ]
    assert one.checks["warnings"] == []


@pytest.mark.parametrize("mark", ["nan", "None", "NA", "-", "<NA>", "?"])
def test_official_when_a_fold_is_missing_in_old_data_then_it_is_counted(mark):
    index = with_columns(index_of("abcd"), fold=["train", "train", "test", mark])
    (fold,) = folds_of("official", index, validation_fraction=0)
    assert fold.checks["notes"][0] == "1 utterances have no official split and are left out"


def test_official_when_a_word_is_unknown_then_warning_with_the_count():
    index = with_columns(index_of("abcde"), fold=["train", "train", "test", "holdout", "holdout"])
    (fold,) = folds_of("official", index, validation_fraction=0)
    (warning,) = fold.checks["warnings"]
    assert warning.startswith("2 utterances with fold 'holdout' are left out")
    assert fold.checks["notes"] == ["2 of 5 utterances are on no side of this fold"]


def test_official_when_no_validation_side_then_drawn_from_training_speakers():
    index = with_columns(index_of("abcd"), fold=["train", "train", "train", "test"])
    (fold,) = folds_of("official", index)
    assert len(fold.validation) == 1 and fold.test.tolist() == [3]


def test_official_when_numbered_then_each_is_tested():
    index = with_columns(index_of("aabbcc"), fold=["1", "1", "2", "2", "3", "3"])
    folds = folds_of("official", index)
    assert [f.name for f in folds] == ["fold-1", "fold-2", "fold-3"]
    assert folds[1].test.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (["", "", ""], "no utterance has a fold"),
        (["train", "train", "dev"], "without a train and a test side"),
        (["1", "1", "1"], "there is only one fold"),
        (["train", "test", "train"], "speaker 'a' is in both"),
    ],
)
def test_official_when_impossible_then_error(values, sentence):
    with pytest.raises(UserError, match=sentence):
        folds_of("official", with_columns(index_of("aab"), fold=values), validation_fraction=0)


def two_corpora():
    one = with_columns(index_of("aabbcc", corpus="one"), category=["sad", "calm", "happy"] * 2)
    two = with_columns(index_of("dede", corpus="two"), category=["sad", "happy", "fear", ""])
    return one, two


def test_cross_corpus_when_classes_differ_then_only_shared_ones_are_used_and_the_rest_is_said():
    one, two = two_corpora()
    first, second = folds_of("cross-corpus", one, two, validation_fraction=0.3)
    assert (first.name, second.name) == ("test-one", "test-two")
    assert second.test.tolist() == [6, 7]
    assert sorted([*second.train, *second.validation]) == [0, 2, 3, 5]
    assert second.checks["notes"] == [
        "classes of both sides: happy, sad",
        "left out of the training side: calm 2",
        "left out of the test side: without a class 1, fear 1",
        "4 of 10 utterances are on no side of this fold",
    ]
    (only,) = folds_of("cross-corpus", one, two, test_corpora=("one",), validation_fraction=0)
    assert only.name == "test-one" and only.train.tolist() == [6, 7]


def test_cross_corpus_when_a_view_merges_then_its_classes_count():
    one = with_columns(index_of("aabb", corpus="one"), category=["excited", "sad"] * 2)
    two = with_columns(index_of("cc", corpus="two"), category=["happy", "happy"])
    more = {"test_corpora": ("two",), "validation_fraction": 0}
    with pytest.raises(UserError, match="one and two have no class in common"):
        folds_of("cross-corpus", one, two, **more)
    (fold,) = folds_of("cross-corpus", one, two, view=make_view("4class", ()), **more)
    assert fold.train.tolist() == [0, 2] and fold.test.tolist() == [4, 5]


def test_cross_corpus_when_nothing_is_left_to_train_then_error():
    one, two = two_corpora()
    for indexes, tested in (((one,), ()), ((one, two), ("one", "two"))):
        with pytest.raises(UserError, match="needs a corpus to train on besides"):
            folds_of("cross-corpus", *indexes, test_corpora=tested)
    with pytest.raises(UserError, match="did you mean 'two'"):
        folds_of("cross-corpus", one, two, test_corpora=("too",))


def test_few_shot_when_drawn_then_as_many_of_each_class_by_the_seed():
    speakers = [s for s in "abcdef" for _ in range(8)]
    index = with_columns(index_of(speakers), category=["sad", "happy", "", "calm"] * 12)
    folds = folds_of("few-shot", index, shots=3)
    classes = index.column("category")
    for fold in folds:
        assert sorted(classes[fold.train]) == ["calm"] * 3 + ["happy"] * 3 + ["sad"] * 3
        # One speaker validates, who has two of each class.
        assert sorted(classes[fold.validation]) == ["calm"] * 2 + ["happy"] * 2 + ["sad"] * 2
        assert len(fold.test) == 16
        used = set(index.column("speaker")[fold.train])
        assert not used & set(index.column("speaker")[fold.test])
    note, left_out = folds[0].checks["notes"]
    assert left_out.endswith("of 48 utterances are on no side of this fold")
    assert note.startswith("3 training utterances of each of calm, happy, sad")
    for fold in folds_of("few-shot", index, shots=1):
        assert sorted(classes[fold.validation]) == ["calm", "happy", "sad"]
    again = folds_of("few-shot", index, shots=3)
    assert all((a.train == b.train).all() for a, b in zip(folds, again, strict=True))
    other = folds_of("few-shot", index, shots=3, seed=1)
    assert any(a.train.tolist() != b.train.tolist() for a, b in zip(folds, other, strict=True))
    with pytest.raises(UserError, match=r"fewer than protocol\.shots 99: lower it"):
        folds_of("few-shot", index, shots=99)


def iemocap():
    sessions = [f"Ses0{s}" for s in range(1, 6) for _ in range(6)]
    speakers = [f"{session}{'FM'[i % 2]}" for i, session in enumerate(sessions)]
    categories = ["angry", "excited", "sad", "neutral", "frustrated", ""] * 5
    index = index_of(speakers, corpus="iemocap")
    return with_columns(index, session=sessions, category=categories)


def test_superb_er_when_iemocap_then_sessions_and_four_classes():
    index = iemocap()
    folds = folds_of("superb-er", index)
    assert [f.name for f in folds] == [f"session-Ses0{s}" for s in range(1, 6)]
    used = set(index.column("category")[np.concatenate([f.test for f in folds])])
    assert used == {"angry", "excited", "sad", "neutral"}
    for fold in folds:
        assert len(fold.test) == 4 and len(fold.train) + len(fold.validation) == 16
        assert fold.checks["notes"] == [
            "10 utterances of other categories are left out",
            "10 of 30 utterances are on no side of this fold",
        ]
        (warning,) = fold.checks["warnings"]
        assert warning.startswith("20 utterances of IEMOCAP have one of the four categories, in")
    four = make_view("4class", ())
    for one, other in zip(folds, folds_of("superb-er", index, view=four), strict=True):
        np.testing.assert_array_equal(one.test, other.test)
    with pytest.raises(UserError, match=r"excited as happy: set labels\.view to '4class'"):
        folds_of("superb-er", index, view=make_view("corpus", index.column("category")))
    (first, *_) = folds_of("superb-er", index, allow_speaker_overlap=True)
    assert len(first.validation) == 3 and first.checks["speakers"]["train/validation"] > 0
    assert first.checks["speakers"]["train/test"] == 0
    assert next(f.name for f in folds_of("emobox-iemocap", index)) == "fold1"
    with pytest.raises(UserError, match="'superb-er' is for iemocap alone"):
        folds_of("superb-er", index_of("ab"))


def emobox_lists(folder, corpus, folds):
    """Writes {fold: {side: [id]}} as EmoBox does."""
    for number, sides in folds.items():
        place = folder / f"fold_{number}"
        place.mkdir(parents=True)
        for side, ids in sides.items():
            rows = [{"key": f"{corpus}-{i}", "dataset": corpus, "wav": f"x/{i}.wav"} for i in ids]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (place / f"{corpus}_{side}_fold_{number}.jsonl").write_text(text)
    return str(folder)


def emodb():
    index = index_of("aabb", corpus="emodb")
    ids = ["03a", "03b", "08a", "08b"]
    return with_columns(index, utterance_id=ids, path=[f"wav/{i}.wav" for i in ids])


EMODB_FOLDS = {
    10: {"train": ["08a", "08b"], "test": ["03a", "03b"]},
    2: {"train": ["03a", "08a"], "test": ["08b"], "valid": ["03b"]},
}


def test_emobox_when_its_folds_leak_then_error_unless_allowed_and_then_a_warning(tmp_path):
    lists = emobox_lists(tmp_path / "emodb", "emodb", EMODB_FOLDS)
    with pytest.raises(UserError, match="LEAK: EmoBox's folds of emodb are not speaker-indep"):
        folds_of("emobox-emodb", emodb(), file=lists)
    two, ten = folds_of("emobox-emodb", emodb(), file=lists, allow_speaker_overlap=True)
    assert (two.name, ten.name) == ("fold2", "fold10")
    assert (two.train.tolist(), two.validation.tolist(), two.test.tolist()) == ([0, 2], [1], [3])
    assert two.checks["warnings"][0].startswith("LEAK:")
    assert two.checks["speakers"]["train/test"] == 1 and two.checks["allowed"] is True
    assert ten.test.tolist() == [0, 1] and len(ten.train) == len(ten.validation) == 1


@pytest.mark.parametrize("corpus", ["emodb", "cremad", "tess", "shemo", "urdu", "enterface"])
def test_emobox_when_no_lists_then_error_says_where_they_are(corpus):
    with pytest.raises(UserError, match=f"they leak: .*protocol.file to data/{corpus}"):
        folds_of(f"emobox-{corpus}", index_of("ab", corpus=corpus))


def test_emobox_when_lists_are_broken_then_error(tmp_path):
    folder = emobox_lists(tmp_path / "x", "shemo", {1: {"train": ["03a"], "test": ["nobody"]}})
    with pytest.raises(UserError, match=r"1 of 2 utterances .* not in the prepared .*'nobody'"):
        folds_of("emobox-shemo", emodb(), file=folder)
    with pytest.raises(UserError, match="has no folder fold_1"):
        folds_of("emobox-shemo", emodb(), file=str(tmp_path))
    (tmp_path / "x/fold_1/shemo_test_fold_1.jsonl").unlink()
    with pytest.raises(UserError, match=r"there is no \*_test_fold_1.jsonl"):
        folds_of("emobox-shemo", emodb(), file=folder)


def test_emobox_when_savee_then_published_speakers():
    folds = folds_of("emobox-savee", index_of(["DC", "JE", "JK", "KL"] * 3, corpus="savee"))
    assert [f.test.tolist()[0] for f in folds] == [1, 3, 0, 2]


def test_file_when_written_and_read_then_same_folds(tmp_path):
    one, two = two_corpora()
    for index in (one, two):
        with_columns(index, utterance_id=[f"u/{i}" for i in range(len(index))])
    folds = folds_of("k-fold-by-speaker", one, two)
    path = tmp_path / "folds.json"
    checksum = write_protocol(path, "k-fold-by-speaker", folds, [one, two])
    assert json.loads(path.read_text())["sha256"] == checksum and len(checksum) == 64
    # the file counts by id: the order of the corpora does not matter
    for indexes, rows in (((one, two), np.arange(10)), ((two, one), np.r_[4:10, 0:4])):
        back = folds_of("file", *indexes, file=str(path))
        for a, b in zip(folds, back, strict=True):
            assert a.name == b.name and b.checks["notes"][0].startswith("folds of folds.json")
            for side in ("train", "validation", "test"):
                np.testing.assert_array_equal(np.sort(rows[getattr(a, side)]), getattr(b, side))


def test_file_when_edited_or_of_other_corpora_then_error(tmp_path):
    index = with_columns(index_of("abc"), utterance_id=["u1", "u2", "u3"])
    path = tmp_path / "folds.json"
    write_protocol(path, "leave-one-speaker-out", folds_of("leave-one-speaker-out", index), [index])
    text = path.read_text()
    other = with_columns(index_of("abc"), utterance_id=["u1", "u2", "u9"])
    with pytest.raises(UserError, match=r"1 utterances of fold .* are not in own, e.g. own/u3"):
        folds_of("file", other, file=str(path))
    for broken in (text.replace("own/u1", "own/u2"), text.replace("leave-one", "leave-two")):
        path.write_text(broken)
        with pytest.raises(UserError, match="was edited since it was written"):
            folds_of("file", index, file=str(path))
    for broken, sentence in (("{}", "has no 'schema'"), ("{", "cannot be read: Expecting")):
        path.write_text(broken)
        with pytest.raises(UserError, match=sentence):
            folds_of("file", index, file=str(path))
    with pytest.raises(UserError, match="there is no protocol file"):
        folds_of("file", index, file="nowhere.json")
    with pytest.raises(UserError, match=r"needs protocol\.file"):
        folds_of("file", index)


def test_file_when_a_corpus_was_prepared_anew_then_warning(tmp_path):
    index = with_columns(index_of("abc"), utterance_id=["u1", "u2", "u3"])
    path = tmp_path / "folds.json"
    write_protocol(path, "leave-one-speaker-out", folds_of("leave-one-speaker-out", index), [index])
    again = dataclasses.replace(index, fingerprint="other")
    (fold, *_) = folds_of("file", again, file=str(path))
    assert "corpus own was prepared anew" in fold.checks["warnings"][0]


@pytest.mark.corpora
def test_protocols_when_real_ravdess_manifest_then_no_leak(corpora_dir):
    manifest = corpora_dir / "ravdess" / "manifest.csv"
    with manifest.open() as file:
        rows = list(csv.DictReader(file))
    index = index_of([row["speaker"] for row in rows], corpus="ravdess")
    with_columns(
        index,
        category=[canonical(row["emotion"]) for row in rows],
        utterance_id=[row["path"] for row in rows],
    )
    for name, count in (("emobox-ravdess", 6), ("leave-one-speaker-out", 24), ("few-shot", 3)):
        folds = folds_of(name, index)
        assert len(folds) == count
        tested = np.sort(np.concatenate([fold.test for fold in folds]))
        np.testing.assert_array_equal(tested, np.arange(1440))
        assert all(sum(fold.checks["speakers"].values()) == 0 for fold in folds)
    assert len(folds[0].train) == 8 * 8  # eight shots of eight classes


def protocol_file(tmp_path, change):
    """Writes a protocol file, changes its content, and gives it the checksum of the result."""
    index = with_columns(index_of("abc"), utterance_id=["u1", "u2", "u3"])
    path = tmp_path / "folds.json"
    write_protocol(path, "leave-one-speaker-out", folds_of("leave-one-speaker-out", index), [index])
    content = json.loads(path.read_text())
    del content["sha256"]
    change(content)
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    content["sha256"] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    path.write_text(json.dumps(content))
    return index, path


@pytest.mark.parametrize(
    "name",
    [
        *("/tmp/elsewhere", "../../../x", "..", ".", "", ".hidden", "a/b", "a\nb", "\x1b[2J"),
        *("x" * 300, 3, None, "final", "\ud800"),
    ],
)
def test_file_when_a_fold_cannot_name_a_folder_then_one_sentence(tmp_path, name):
    def change(content):
        content["folds"][0]["fold"] = name

    index, path = protocol_file(tmp_path, change)
    with pytest.raises(UserError, match="fold") as caught:
        folds_of("file", index, file=str(path))
    assert "\n" not in str(caught.value)


def remove(*keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def put(value, *keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        *((remove("folds", 0, key), f"folds has no '{key}'") for key in ("fold", "test")),
        (remove("folds", 0, "warnings"), "folds has no 'warnings'"),
        (remove("corpora", 0, "fingerprint"), "corpora has no 'fingerprint'"),
        (remove("protocol"), "has no 'protocol'"),
        (put("x", "more"), "unknown field 'more'"),
        (put({}, "folds"), "'folds' must be a list of objects, not an object"),
        (put([1], "folds"), "'folds' must be a list of objects"),
        (put(None, "folds", 0, "train"), "'train' must be a list of names, each once, not null"),
        (put([["own/u1"]], "folds", 0, "train"), "'train' must be a list of names"),
        (put(True, "schema"), "'schema' must be an integer from 1 to 1"),
        (put(2, "schema"), "'schema' must be an integer from 1 to 1"),
        (put("fold2", "folds", 0, "fold"), None),
        (put("speaker-b", "folds", 0, "fold"), "two folds are called 'speaker-b'"),
    ],
)
def test_file_when_keys_or_types_are_wrong_then_one_sentence(tmp_path, change, sentence):
    index, path = protocol_file(tmp_path, change)
    if sentence is None:
        assert folds_of("file", index, file=str(path))[0].name == "fold2"
        return
    with pytest.raises(UserError, match=sentence):
        folds_of("file", index, file=str(path))


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"schema": 1e999}', "null", "[]", "", '{"schema": 1, "schema": 1}', "\xff"],
)
def test_file_when_not_a_json_object_then_one_sentence(tmp_path, text):
    path = tmp_path / "folds.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError):
        folds_of("file", index_of("ab"), file=str(path))


def test_file_when_it_is_a_pipe_or_a_folder_then_one_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(UserError, match=r"cannot be read: .*(not a file|Is a directory)"):
            folds_of("file", index_of("ab"), file=str(path))
