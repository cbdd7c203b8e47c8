import types
from pathlib import Path

import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.corpora.index import CorpusIndex
from sersl.corpora.protocols.protocol import make_folds
from sersl.runs.initial_weights import InitialWeights
from sersl.runs.leaks import check_leaks


def source_of(corpus, fingerprint):
    columns = {
        "speaker": np.array(list("aabbcc"), dtype=object),
        "sha256": np.array([f"{corpus}{i}" for i in range(6)], dtype=object),
        "text": np.array([""] * 6, dtype=object),
        "category": np.array(["sad", "happy"] * 3, dtype=object),
    }
    index = CorpusIndex(corpus, "1.0.0", Path(), fingerprint, 6, _columns=columns)
    return types.SimpleNamespace(index=index)


def checked(sources, *corpora, allow=False):
    indexes = [source.index for source in sources]
    name = "cross-corpus" if len(sources) > 1 else "leave-one-speaker-out"
    folds = make_folds(name, indexes, num_folds=2, validation_fraction=0, seed=0)
    weights = InitialWeights({}, None, None, "runs/first", corpora=corpora)
    return check_leaks(folds, sources, weights, allow=allow)


def trained_on(corpus, fingerprint, *, labels_used=False):
    return {"corpus": corpus, "fingerprint": fingerprint, "labels_used": labels_used}


def test_origin_when_the_weights_heard_the_tested_audio_then_told():
    folds = checked([source_of("own", "f")], trained_on("other name", "f"))
    for fold in folds:
        assert fold.checks["start"] == {"from": "runs/first", "heard": {"own": 2}, "labelled": []}
        assert fold.checks["notes"] == [
            "the weights of runs/first were trained without labels on 2 utterances of own of the "
            "test side"
        ]
        assert not fold.checks["warnings"]


def test_origin_when_the_weights_heard_other_audio_then_nothing_is_told():
    sources = [source_of("own", "f")]
    for corpora in ([], [trained_on("ravdess", "g", labels_used=True)], [trained_on("own", "g")]):
        for fold in checked(sources, *corpora):
            assert fold.checks["start"] == {"from": "runs/first", "heard": {}, "labelled": []}
            assert not fold.checks["notes"] and not fold.checks["warnings"]


def test_origin_when_labels_of_the_test_side_were_used_then_error_unless_allowed():
    sources = [source_of("ravdess", "f")]
    seen = trained_on("ravdess", "of another preparation", labels_used=True)
    with pytest.raises(UserError, match=r"runs/first were trained with labels of ravdess, which"):
        checked(sources, seen)
    for fold in checked(sources, seen, allow=True):
        assert fold.checks["start"]["labelled"] == ["ravdess"]
        assert fold.checks["warnings"][0].startswith("LEAK: the weights of runs/first were")


def test_origin_when_the_labelled_corpus_is_only_trained_on_then_no_leak():
    sources = [source_of("ravdess", "f"), source_of("savee", "g")]
    seen = trained_on("savee", "g", labels_used=True)
    with pytest.raises(UserError, match="labels of savee"):
        checked(sources, seen)  # in turn: savee is tested as well
    indexes = [source.index for source in sources]
    settings = {"num_folds": 2, "validation_fraction": 0, "seed": 0, "test_corpora": ["ravdess"]}
    folds = make_folds("cross-corpus", indexes, **settings)
    weights = InitialWeights({}, None, None, "runs/first", corpora=(seen,))
    (fold,) = check_leaks(folds, sources, weights, allow=False)
    assert fold.checks["start"]["heard"] == {}
