"""Dialogues of prepared corpora: order, speakers, refusals, and folds that keep them whole."""

import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.corpora.dialogues import groups_of_speakers, read_dialogues, relations
from sersl.corpora.index import load_index
from sersl.corpora.prepare import prepare
from sersl.corpora.protocols.by_dialogue import keep_dialogues
from sersl.corpora.protocols.division import name_speakers
from sersl.corpora.protocols.protocol import final_fold, make_folds
from sersl.corpora.synthetic.dialogues import CONTAGION, INERTIA, emotions

ROWS = [
    {"path": "b.wav", "conv": "d1", "number": 2, "speaker": "x", "emotion": "sad"},
    {"path": "a.wav", "conv": "d1", "number": 1, "speaker": "y", "emotion": "happy"},
    {"path": "c.wav", "conv": "d1", "number": 3, "speaker": "y", "emotion": "happy"},
    {"path": "d.wav", "conv": "", "number": "", "speaker": "z", "emotion": "sad"},
    {"path": "e.wav", "conv": "d2", "number": 1, "speaker": "v", "emotion": "sad"},
]


@pytest.fixture
def prepared(make_manifest, tmp_path):
    """Prepares rows with columns of other names; gives the index."""

    def make(rows=ROWS, columns="dialogue=conv,turn=number"):
        path = make_manifest(rows)
        prepare(
            data_dir=tmp_path / "data", manifest=path, name="own", columns=columns, overwrite=True
        )
        return load_index(tmp_path / "data", "own")

    return make


def changed(place, **values):
    rows = [dict(row) for row in ROWS]
    rows[place] |= values
    return rows


def test_dialogues_when_listed_in_any_order_then_turns_are_in_order_with_speakers(prepared):
    index = prepared()
    found = read_dialogues([index])
    ids = index.column("utterance_id")
    assert [[ids[row] for row in rows] for rows in found.rows] == [["a", "b", "c"], ["d"], ["e"]]
    assert [own.tolist() for own in found.speakers] == [[0, 1, 0], [0], [0]]
    assert found.of_row.tolist() == [0, 0, 0, 1, 2] and found.longest == 3
    assert "1 of 5 utterances of corpus own have no dialogue" in found.notes[0]
    want = [[1, 2, 1, 0], [2, 1, 2, 0], [1, 2, 1, 0], [0, 0, 0, 0]]
    assert relations(found.speakers[0], 4).tolist() == want


def test_dialogues_when_no_turn_has_a_number_then_order_of_the_list(prepared):
    index = prepared([row | {"number": ""} for row in ROWS])
    found = read_dialogues([index])
    assert found.rows[0].tolist() == [0, 1, 2]
    assert "the order of the list is taken" in found.notes[1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (changed(1, number=2), "two turns of number 2, utterances 'b' and 'a'"),
        (changed(1, number=""), "utterance 'a' has no number of its turn"),
        (changed(2, speaker=""), "utterance 'c' has no speaker"),
        ([row | {"conv": ""} for row in ROWS], "no utterance of corpus 'own' has a dialogue"),
    ],
)
def test_dialogues_when_something_is_missing_or_twice_then_one_sentence(prepared, rows, message):
    index = prepared(rows)
    with pytest.raises(UserError, match=message):
        read_dialogues([index])


def test_manifest_when_a_turn_is_not_a_number_then_error_names_the_column(prepared):
    with pytest.raises(UserError, match="column 'number': 'two' is not a number"):
        prepared(changed(0, number="two"))


@pytest.fixture
def pairs(prepared):
    """Four pairs of speakers with two dialogues of two turns each."""
    rows = [
        {
            "path": f"{pair}{number}{turn}.wav",
            "conv": f"p{pair}-{number}",
            "number": turn,
            "speaker": f"s{pair}{turn}",
            "emotion": "sad" if turn else "happy",
        }
        for pair in range(4)
        for number in range(2)
        for turn in range(2)
    ]
    return prepared(rows)


def test_k_fold_by_dialogue_when_pairs_talk_then_no_pair_is_on_two_sides(pairs):
    dialogues = read_dialogues([pairs])
    groups = groups_of_speakers(dialogues, name_speakers([pairs]))
    assert len(set(groups.tolist())) == 4
    folds = make_folds("k-fold-by-dialogue", [pairs], num_folds=4, validation_fraction=0.2, seed=0)
    for fold in folds:
        sides = [set(groups[rows].tolist()) for rows in (fold.train, fold.validation, fold.test)]
        assert [len(side) for side in sides] == [2, 1, 1] and not set.intersection(*sides)
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == list(range(16))
    with pytest.raises(UserError, match="5 folds need as many groups of speakers who talk"):
        make_folds("k-fold-by-dialogue", [pairs], num_folds=5, validation_fraction=0.2, seed=0)


def test_keep_dialogues_when_validation_cuts_one_then_drawn_anew_and_a_test_side_is_refused(pairs):
    dialogues = read_dialogues([pairs])
    final = final_fold("final", [pairs], validation_fraction=0.2, seed=0)
    (kept,) = keep_dialogues([final], dialogues, [pairs], validation_fraction=0.2, seed=0)
    assert not set(dialogues.of_row[kept.train]) & set(dialogues.of_row[kept.validation])
    assert len(kept.train) + len(kept.validation) == 16 and len(kept.validation) == 4
    assert kept.checks["sizes"]["validation"] == 4
    by_speaker = make_folds(
        "leave-one-speaker-out", [pairs], num_folds=2, validation_fraction=0, seed=0
    )
    with pytest.raises(UserError, match="is on the training and on the test side"):
        keep_dialogues(by_speaker, dialogues, [pairs], validation_fraction=0, seed=0)


def test_synthetic_dialogues_when_drawn_then_inertia_and_contagion_are_those_stated():
    own = other = turns = 0
    for number in range(400):
        last = {}
        for side, category in emotions(0, number, turns=12):
            if len(last) == 2 and last[side] != last[1 - side]:
                turns += 1
                own += category == last[side]
                other += category == last[1 - side]
            last[side] = category
    # And one sixth of the rest by chance.
    chance = (1 - INERTIA - CONTAGION) / 6
    np.testing.assert_allclose(own / turns, INERTIA + chance, atol=0.03)
    np.testing.assert_allclose(other / turns, CONTAGION + chance, atol=0.03)
