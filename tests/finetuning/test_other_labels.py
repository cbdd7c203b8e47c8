"""Tables of other labels: what is numbered, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest

from sersl.config.load import from_overrides
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.finetuning.loss_checks import marked, settle
from sersl.finetuning.other_labels import collect_other_labels, with_annotators
from tests.finetuning.test_targets import FOLDS, VIEW, N, fold_of, source_of

LONG = np.ones(N, bool)


def words(*values):
    return np.array(values, dtype=object)


COLUMNS = {
    "gender": words(*["f", "m", ""] * 4),
    "speaker": words(*["ann", "ben", "cem"] * 4),
    "language": words(*["en"] * N),
    "text": words(*["No!", " aha  ok ", ""] * 4),
    "extra": words(*[json.dumps({"sentiment": s}) for s in ("positive", "negative")] * 6),
}


def collected(*settings, folds=FOLDS, **columns):
    config = settle(from_overrides(FinetuneConfig, settings))
    indexes = [source_of(**(COLUMNS | columns)).index]
    config = with_annotators(config, indexes, VIEW, folds)
    return collect_other_labels(config, indexes, VIEW, folds, LONG), config


def test_tables_when_tasks_are_asked_for_then_numbers_by_name_and_minus_one_for_unknown():
    labels, _ = collected(
        "tasks.gender_weight=1", "tasks.speaker_weight=1", "tasks.adversary=speaker"
    )
    np.testing.assert_array_equal(labels.tables["gender"], [0, 1, -1] * 4)
    np.testing.assert_array_equal(labels.tables["speaker"], [0, 1, 2] * 4)
    np.testing.assert_array_equal(labels.tables["adversary"], labels.tables["speaker"])
    assert labels.sizes == {"gender": 2, "speaker": 3, "adversary": 3}


def test_tables_when_a_sentiment_is_a_column_of_the_corpus_then_it_is_numbered():
    labels, _ = collected("tasks.sentiment_weight=1")
    np.testing.assert_array_equal(labels.tables["sentiment"], [1, 0] * 6)


def test_transcripts_when_they_are_coded_then_by_the_characters_of_the_training_sides():
    folds = [fold_of("one", range(6), (), range(6, 12))]
    text = words(*["No!", " aha  ok ", ""] * 3, "zzz", "no", "")
    labels, _ = collected("tasks.transcript_weight=1", folds=folds, text=text)
    characters = sorted(set("no!aha ok"))
    assert labels.sizes == {"transcript": 1 + len(characters)}
    coded = labels.tables["transcript"]
    assert ["".join(characters[c - 1] for c in row if c > 0) for row in coded] == [
        *["no!", "aha ok", ""] * 3,
        "",  # of characters that no training side has
        "no",
        "",
    ]


def rated(*answers):
    """The column extra of raters' answers, {rater: category} of each utterance."""
    return words(
        *[
            json.dumps({"annotators": {who: {"category": what} for who, what in one.items()}})
            for one in answers
        ]
    )


def test_annotators_when_some_label_little_then_the_others_are_modelled():
    extra = rated(*[{"ann": "angry", "ben": "sad"}, {"ann": "sad"}] * 6)
    listening, _ = collected(
        "heads.category_loss=listeners", "heads.annotator_labels=5", extra=extra
    )
    settings = ("heads.category_loss=annotators", "heads.annotator_labels=5")
    labels, config = collected(*settings, extra=extra)
    assert config.heads.annotators == ("own/ann",)
    np.testing.assert_array_equal(labels.tables["annotators"][:, 0], [0, 1] * 6)
    np.testing.assert_array_equal(listening.tables["annotators"], labels.tables["annotators"])
    with pytest.raises(UserError, match=r"no annotator labelled heads\.annotator_labels=7"):
        collected(settings[0], "heads.annotator_labels=7", extra=extra)
    with pytest.raises(UserError, match=r"annotator 'own/ben' labelled"):
        collected(*settings, "heads.annotators=('own/ben',)", extra=extra)


@pytest.mark.parametrize(
    ("setting", "columns", "sentence"),
    [
        ("tasks.language_weight=1", {}, r"language.*fold 'one' has 1"),
        ("tasks.gender_weight=1", {"gender": words(*[""] * N)}, r"gender.*fold 'one' has 0"),
        ("tasks.adversary=corpus", {}, r"tasks\.adversary needs at least two values of corpus"),
        ("tasks.transcript_weight=1", {"text": words(*[""] * N)}, r"fold 'one' has none"),
        ("heads.category_loss=annotators", {}, "no rater of own chose a class"),
    ],
)
def test_tables_when_labels_are_missing_then_user_error(setting, columns, sentence):
    with pytest.raises(UserError, match=sentence):
        collected(setting, **columns)


def test_target_when_a_run_adapts_then_the_test_side_without_the_rest():
    labels, config = collected("domain.kind=mmd")
    np.testing.assert_array_equal(np.flatnonzero(labels.target["one"]), FOLDS[0].test)
    rows = labels.rows(FOLDS[0], FOLDS[0].train)
    np.testing.assert_array_equal(rows, [*FOLDS[0].train, *FOLDS[0].test])
    (warning,) = marked(config, FOLDS)[0].checks["warnings"]
    assert "audio of the test side" in warning
    assert not FOLDS[0].checks["warnings"]
    with pytest.raises(UserError, match=r"fold 'final' has none"):
        collected("domain.kind=mmd", folds=[*FOLDS, fold_of("final", range(12))])


def test_marks_when_outputs_are_standardized_per_speaker_then_a_warning():
    config = from_overrides(FinetuneConfig, ["domain.normalize=speaker"])
    (warning,) = marked(config, FOLDS)[1].checks["warnings"]
    assert "information about the test speakers" in warning
    plain = dataclasses.replace(config, domain=FinetuneConfig().domain)
    assert not marked(plain, FOLDS)[1].checks["warnings"]


def test_marks_when_a_corpus_is_not_complete_then_a_warning_of_every_fold():
    lacks = ["ravdess is not complete: 9 utterances, the published corpus has 1440"]
    folds = marked(FinetuneConfig(), FOLDS, differences=lacks)
    assert len(folds) == len(FOLDS)
    for fold in folds:
        (warning,) = fold.checks["warnings"]
        assert warning.startswith(lacks[0]) and "published ones" in warning


def test_votes_when_they_are_the_loss_then_soft_labels_are_on():
    config = settle(from_overrides(FinetuneConfig, ["heads.category_loss=votes"]))
    assert config.labels.soft
