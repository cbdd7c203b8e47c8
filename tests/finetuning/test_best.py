"""The step that is kept: the best on validation, and never one whose score is undefined."""

import jax.numpy as jnp
import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.corpora.labels import DIMENSIONS
from sersl.eval.answers import Answers
from sersl.eval.evaluator import validation_scores
from sersl.finetuning.best import BestKeeper
from sersl.runs.checkpoint import Checkpoints
from sersl.training.state import TrainState


def answers_of(*, scores=None, dimensions=None, category=None, ratings=None, names=("arousal",)):
    n = 4
    return Answers(
        rows=np.arange(n),
        scores=np.eye(2, dtype=np.float32)[[0, 1, 0, 1]] if scores is None else scores,
        dimensions=np.zeros((n, len(names)), np.float32) if dimensions is None else dimensions,
        dimension_names=np.array(names, str),
        true_category=np.full(n, -1, np.int32) if category is None else np.array(category),
        true_dimensions=np.full((n, 3), np.nan) if ratings is None else ratings,
        true_dimension_names=np.array(DIMENSIONS),
        true_categories=np.zeros((n, 0), np.float32),
        thresholds=np.zeros(0),
    )


def test_validation_when_nothing_is_labelled_then_there_is_no_score():
    assert validation_scores(answers_of()) == {}


def test_validation_when_answers_are_not_finite_then_scores_are_undefined():
    scores = np.full((4, 2), np.nan, np.float32)
    found = validation_scores(answers_of(scores=scores, category=[0, 1, 0, 1]))
    assert np.isnan([found["uar"], found["accuracy"], found["selection"]]).all()
    ratings = np.full((4, 3), np.nan)
    ratings[:, 2] = 0.1, 0.5, 0.7, 0.2
    dimensions = np.array([[0.1], [np.nan], [0.2], [0.3]], np.float32)
    found = validation_scores(
        answers_of(dimensions=dimensions, ratings=ratings, names=("valence",))
    )
    assert np.isnan(found["ccc_valence"]) and np.isnan(found["selection"])


def test_validation_when_a_dimension_has_one_rating_then_it_does_not_count():
    ratings = np.full((4, 3), np.nan)
    ratings[0, 0] = 0.5
    assert validation_scores(answers_of(ratings=ratings)) == {}
    found = validation_scores(answers_of(ratings=ratings, category=[0, 1, 0, 0]))
    assert set(found) == {"uar", "accuracy", "selection"} and found["selection"] == found["uar"]


def test_validation_when_one_dimension_is_predicted_then_scored_by_its_name():
    ratings = np.stack([np.full(4, 0.3), np.linspace(0, 1, 4), np.linspace(1, 0, 4)], axis=1)
    dimensions = np.linspace(0, 1, 4).astype(np.float32)[:, None]
    right = validation_scores(
        answers_of(dimensions=dimensions, ratings=ratings, names=("dominance",))
    )
    assert right["ccc_dominance"] == pytest.approx(1) and "ccc_arousal" not in right
    wrong = validation_scores(
        answers_of(dimensions=dimensions, ratings=ratings, names=("valence",))
    )
    assert wrong["ccc_valence"] == pytest.approx(-1)


def state_of(step):
    return TrainState(jnp.int32(step), {"w": jnp.full([2], float(step))}, None, ())


@pytest.mark.parametrize(
    ("selections", "kept"),
    [
        ([None, None, None], 3),  # nothing is labelled: the last
        ([np.nan, 0.2, 0.1], 2),
        ([0.0, np.nan, np.nan], 1),
        ([-0.5, -0.2, np.nan], 2),
    ],
)
def test_keeper_when_selections_are_undefined_then_it_keeps_the_best_defined_or_the_last(
    tmp_path, selections, kept
):
    best = Checkpoints(tmp_path / "best", keep_last=1)
    scores = iter([{} if s is None else {"selection": s} for s in selections])
    state = state_of(1)
    keeper = BestKeeper(
        lambda params: answers_of(), state.params, best, lambda answers: next(scores), start_step=0
    )
    for step in (1, 2, 3):
        state = state_of(step)
        keeper(state, step)
    np.testing.assert_array_equal(keeper.params(state)["w"], np.full(2, float(kept)))
    again = BestKeeper(lambda params: answers_of(), state.params, best, None, start_step=3)
    np.testing.assert_array_equal(again.params(state)["w"], np.full(2, float(kept)))
    best.close()


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text", "missing", "short"])
def test_answers_when_the_file_is_damaged_then_one_sentence(tmp_path, damage):
    path = tmp_path / "answers.npz"
    answers_of(category=[0, 1, 0, 1]).save(path)
    assert Answers.load(path).dimension_names.tolist() == ["arousal"]
    content = bytearray(path.read_bytes())
    if damage == "short":
        one = answers_of(category=[0, 1])
        one.save(path)
    elif damage == "missing":
        path.unlink()
    else:
        place = content.index(b"NUMPY") + 140  # within the values of the first array
        content[place] ^= 1
        kinds = {"flip": content, "cut": content[:-100], "empty": b"", "text": b"hello"}
        path.write_bytes(bytes(kinds[damage]))
    with pytest.raises(UserError, match=r"answers.npz \(answers of a fold\) cannot be read"):
        Answers.load(path)


def test_answers_when_written_by_an_earlier_version_then_the_dimensions_are_all_three(tmp_path):
    found = answers_of(names=("arousal", "dominance", "valence"))
    later = ("dimension_names", "true_dimension_names", "true_categories", "thresholds")
    arrays = {k: v for k, v in vars(found).items() if k not in later}
    np.savez(tmp_path / "answers.npz", **arrays)
    names = Answers.load(tmp_path / "answers.npz").dimension_names
    assert names.tolist() == ["arousal", "dominance", "valence"]
