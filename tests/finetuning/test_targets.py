"""What a run learns: classes and dimensions that its training sides have labels of."""

import dataclasses
import json
import types
from pathlib import Path

import numpy as np
import pytest

from sersl.config.schema import FinetuneConfig, LabelsConfig
from sersl.core.errors import UserError
from sersl.corpora.index import CorpusIndex
from sersl.corpora.labels import LabelView
from sersl.corpora.protocols.protocol import Fold
from sersl.finetuning.targets import choose_targets, describe_targets
from sersl.finetuning.task import FinetuneTask

VIEW = LabelView(("angry", "sad"))
N = 12


def source_of(**changed):
    columns = {
        "category": np.array(["angry", "sad"] * 6, dtype=object),
        "category_raw": np.full(N, "", dtype=object),
        "votes": np.full(N, "", dtype=object),
        "extra": np.full(N, "", dtype=object),
        "scale_low": np.full(N, np.nan),
        "scale_high": np.full(N, np.nan),
        "num_samples": np.full(N, 16_000),
        **{name: np.full(N, np.nan) for name in ("arousal", "dominance", "valence")},
        **changed,
    }
    index = CorpusIndex("own", "1.0.0", Path(), "f", N, _columns=columns)
    return types.SimpleNamespace(index=index, num_samples=columns["num_samples"])


def fold_of(name, train, validation=(), test=()):
    sides = (np.array(rows, np.int64) for rows in (train, validation, test))
    return Fold(name, *sides, checks={"notes": [], "warnings": []})


FOLDS = [
    fold_of("one", range(6), (6, 7), range(8, 12)),
    fold_of("two", range(6, 12), (0, 1), range(2, 6)),
]


def chosen(folds=FOLDS, view=VIEW, config=None, **columns):
    config = FinetuneConfig() if config is None else config
    return choose_targets(config, [source_of(**columns)], view, folds)


def some(*rows):
    values = np.full(N, np.nan)
    values[list(rows)] = np.linspace(0.1, 0.9, len(rows))
    return values


def test_dimensions_when_only_one_is_labelled_then_only_it_is_predicted():
    targets = chosen(arousal=some(*range(N)))
    assert targets.dimensions == ("arousal",)
    assert "dimensions: arousal" in describe_targets(targets, FOLDS)[0]


def test_dimensions_when_one_fold_cannot_train_one_then_no_fold_predicts_it_and_it_is_said():
    targets = chosen(arousal=some(*range(N)), valence=some(0, 1, 2, 11))
    assert targets.dimensions == ("arousal",)
    assert any("not predicted: valence" in line for line in describe_targets(targets, FOLDS))


def test_dimensions_when_they_are_switched_off_then_none():
    config = FinetuneConfig(labels=LabelsConfig(dimensions=False))
    assert chosen(config=config, arousal=some(*range(N))).dimensions == ()


def test_training_rows_when_short_or_unlabelled_then_they_are_counted_and_said():
    category = np.array(["angry", "sad"] * 6, dtype=object)
    category[[0, 1, 8]] = "", "happy", ""  # none, and one outside of the view
    lengths = np.full(N, 16_000)
    lengths[2] = 1000
    folds = [fold_of("one", range(6), (6, 7), range(8, 11))]
    targets = chosen(folds, category=category, num_samples=lengths)
    counts = {"num_on_no_side": 1, "num_too_short": 1, "num_unlabelled": 2}
    assert targets.counts(folds[0]) == counts
    line = describe_targets(targets, folds)[-1]
    assert "fold one: 3 to train, 2 to validate, 3 to test; not used: 1 on no side" in line
    assert "1 too short to train on, 2 on the training side without a label, 1 to validate" in line


def test_targets_when_a_class_is_on_no_side_then_it_is_said():
    folds = [fold_of("one", range(0, 6, 2), (), range(6, 12, 2))]
    assert "nothing to train on of sad" in describe_targets(chosen(folds), folds)[-1]


def test_targets_when_a_class_is_only_tested_then_error_names_fold_and_class():
    folds = [fold_of("one", range(0, 6, 2), (), range(6, 12))]
    with pytest.raises(UserError, match=r"fold 'one': the class 'sad' .* labels\.categories"):
        chosen(folds)


def test_targets_when_a_class_is_trained_on_too_short_utterances_alone_then_error():
    lengths = np.full(N, 16_000)
    lengths[[1, 3, 5]] = 1000
    folds = [fold_of("one", range(6), (), range(6, 12))]
    with pytest.raises(UserError, match=r"fold 'one': the class 'sad' .* data\.min_seconds"):
        chosen(folds, num_samples=lengths)
    lengths[5] = 16_000
    targets = chosen(folds, num_samples=lengths)
    assert targets.class_counts(targets.trainable(folds[0])).tolist() == [3, 1]


def test_targets_when_a_dimension_is_constant_then_error_names_it():
    with pytest.raises(UserError, match=r"fold 'one': all training ratings of 'valence'"):
        chosen(valence=np.full(N, 0.25))
    config = FinetuneConfig(labels=LabelsConfig(without_dimensions=("valence",)))
    assert chosen(config=config, valence=np.full(N, 0.25)).dimensions == ()


def test_targets_when_there_is_one_class_then_error():
    with pytest.raises(UserError, match=r"all utterances with a category are 'sad'"):
        chosen(view=LabelView(("sad",)))


def own(rows):
    """The column `extra` with a value of each row."""
    return np.array([json.dumps(row) if row else "" for row in rows], dtype=object)


def test_dimensions_when_some_are_of_ones_own_then_after_the_known_ones_by_name():
    extra = own([{"dimensions": {"warmth": i / N, "energy": 1 - i / N}} for i in range(N)])
    targets = chosen(extra=extra, valence=some(*range(N)))
    assert targets.dimensions == ("valence", "energy", "warmth")
    np.testing.assert_allclose(targets.ratings[:, 2], np.arange(N) / N)
    rows = np.arange(N)
    assert len(targets.labelled(rows)) == N


def test_categories_when_several_apply_then_a_table_and_no_single_class():
    extra = own([{"categories": one} for one in ([["angry", "sad"], ["sad"], []] * 4)])
    view = LabelView(("angry", "sad"), multi=True)
    targets = chosen(view=view, extra=extra)
    np.testing.assert_array_equal(targets.categories[:3], [[1, 1], [0, 1], [0, 0]])
    assert (targets.category == -1).all() and targets.classified.all()
    assert targets.class_counts(np.arange(3)).tolist() == [1, 2]


@pytest.mark.parametrize("known", ["nothing", "dimensions"])
def test_targets_when_a_fold_has_no_category_to_train_on_then_error_names_the_fold(known):
    category = np.array([""] * 6 + ["sad", "angry"] * 3, dtype=object)
    ratings = {"arousal": some(*range(N))} if known == "dimensions" else {}
    with pytest.raises(UserError, match="fold 'one': no training utterance"):
        chosen(category=category, **ratings)


def test_task_when_one_dimension_is_predicted_then_its_head_has_one_output():
    config = FinetuneConfig()
    encoder = dataclasses.replace(config.encoder, num_layers=1, width=16, num_heads=2)
    task = FinetuneTask(
        dataclasses.replace(config, encoder=encoder), num_categories=2, dimensions=("valence",)
    )
    assert task.make_model().dimensions.output.kernel.shape[-1] == 1
    with pytest.raises(UserError, match="nothing to predict"):
        FinetuneTask(config, num_categories=0, dimensions=())


def test_dimensions_when_they_come_from_categories_then_anchors_under_names_of_their_own():
    config = FinetuneConfig(labels=LabelsConfig(anchored=True))
    category = np.array(["angry", "sad"] * 5 + ["calm", ""], dtype=object)
    targets = chosen(config=config, category=category, arousal=some(*range(N)))
    names = ("arousal", "arousal_from_category", "valence_from_category")
    assert targets.dimensions == targets.rated == names
    expected = [[(0.59 + 1) / 2, (-0.51 + 1) / 2], [(-0.27 + 1) / 2, (-0.63 + 1) / 2]] * 5
    np.testing.assert_allclose(targets.ratings[:10, 1:], expected)
    assert np.isnan(targets.ratings[10:, 1:]).all()
    with pytest.raises(UserError, match=r"labels\.anchored needs at least two"):
        chosen(config=config, category=np.array(["calm", "other"] * 6, dtype=object))
