"""Enrolment: which utterances, what it does to outputs, and what is said and refused."""

import numpy as np
import pytest

from sersl.config.load import from_overrides
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.finetuning.ideas.enrolment import enrolled, without_enrolled
from tests.finetuning.test_kept_outputs import (
    HALF,
    UNSCALED,
    config_of,
    open_store,
    run,
    weights_of,
)
from tests.finetuning.test_targets import FOLDS, source_of

SPEAKERS = np.array(["ann", "ben", "cem"] * 4, object)


def enrolment(*settings):
    return from_overrides(FinetuneConfig, [f"enrolment.{setting}" for setting in settings])


def test_enrolment_when_asked_for_then_some_of_each_speaker_and_they_are_not_tested():
    index = source_of(speaker=SPEAKERS).index
    config = enrolment("utterances=2", "category=sad")
    known = enrolled(config, index)
    assert {name: int(known[name == SPEAKERS].sum()) for name in ("ann", "ben", "cem")} == {
        "ann": 2,
        "ben": 2,
        "cem": 2,
    }
    assert set(index.column("category")[known]) == {"sad"}
    fold = without_enrolled(config, FOLDS, [index])[0]
    np.testing.assert_array_equal(fold.test, FOLDS[0].test[~known[FOLDS[0].test]])
    np.testing.assert_array_equal(fold.train, FOLDS[0].train)
    (warning,) = fold.checks["warnings"]
    assert "information about the test speakers and the category" in warning
    assert without_enrolled(FinetuneConfig(), FOLDS, [index]) == FOLDS


@pytest.mark.parametrize(
    ("settings", "speakers", "sentence"),
    [
        (("utterances=3", "category=sad"), SPEAKERS, r"speaker 'ann' has 2 of category 'sad'"),
        (("utterances=1",), np.full(12, "", object), "a speaker is unknown"),
        (("utterances=5",), SPEAKERS, "speaker 'ann' has 4 in corpus"),
    ],
)
def test_enrolment_when_a_speaker_has_too_few_then_user_error(settings, speakers, sentence):
    with pytest.raises(UserError, match=sentence):
        without_enrolled(enrolment(*settings), FOLDS, [source_of(speaker=speakers).index])


def test_enrolment_when_outputs_are_normalized_too_then_user_error():
    config = from_overrides(FinetuneConfig, ["enrolment.utterances=1", "domain.normalize=speaker"])
    with pytest.raises(UserError, match=r"domain\.normalize both set where outputs are centred"):
        without_enrolled(config, FOLDS, [source_of(speaker=SPEAKERS).index])


def test_outputs_when_speakers_are_enrolled_then_relative_to_their_mean(own_data, tmp_path):
    config, weights = config_of(own_data), weights_of()
    source, reader = open_store(config, weights, own_data)
    speakers = source.index.column("speaker")
    plain = np.stack([reader.read(row) for row in range(len(source))]).astype(np.float64)
    known = enrolled(enrolment("utterances=3"), source.index)
    group = np.unique(speakers, return_inverse=True)[1].reshape(-1)
    reader.standardize(group, enrolled=known)
    centred = np.stack([reader.read(row) for row in range(len(source))])
    for name in set(speakers):
        wanted = plain[speakers == name] - plain[known & (speakers == name)].mean(0)
        scale = np.abs(plain).max()
        np.testing.assert_allclose(centred[speakers == name], wanted, atol=HALF * scale)
    off = config_of(own_data, "enrolment.utterances=3", "store=off", *UNSCALED)
    with pytest.raises(UserError, match=r"enrolment\.utterances needs the kept outputs"):
        run(off, tmp_path, weights)
