import json

import numpy as np
import pytest

from sersl.core.lengths import num_frames
from sersl.corpora.labels import LabelView, make_view
from sersl.data.batch import VOTES
from sersl.data.references import BatchRefs
from sersl.data.sources import CorpusSource
from sersl.data.transforms import BatchMaker
from tests.data.doubles import CATEGORIES, intensity_of, prosody_of, waveform_of

N = 320 * 50 + 80


@pytest.fixture
def sources(data_dir):
    return [CorpusSource(data_dir, name, annotator="signal") for name in ("alpha", "beta")]


@pytest.fixture
def view():
    return make_view("corpus", CATEGORIES)


@pytest.fixture
def refs(lengths):
    """Rows: alpha 5 whole, beta 3 cropped, padding, alpha 4 (no speaker)."""
    corpus, row = np.array([0, 1, -1, 0], np.int32), np.array([5, 3, -1, 4])
    start = np.array([0, 640, 0, 0])
    whole = np.array([lengths["alpha"][5], lengths["beta"][3] - 640, 0, lengths["alpha"][4]])
    length = np.minimum(whole, N)
    return BatchRefs(bucket=0, num_samples=N, corpus=corpus, row=row, start=start, length=length)


def test_make_when_given_refs_then_shapes_and_dtypes_are_the_contract(sources, view, refs):
    batch = BatchMaker(sources, view).make(refs)
    T = num_frames(N)
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == {
        "waveform": ((4, N), np.float32),
        "valid": ((4, N), np.bool_),
        "category": ((4,), np.int32),
        "dimensions": ((4, 3), np.float32),
        "intensity": ((4, T), np.float32),
        "prosody": ((4, T, 6), np.float32),
        "speaker": ((4,), np.int32),
        "utterance_index": ((4,), np.int32),
    }


def test_make_when_soft_then_shares_of_the_votes_of_each_row(sources, view, refs):
    votes = np.full(len(sources[0]), "", object)
    first, second = view.names[:2]
    votes[5] = json.dumps({first: 3, second: 1, "other": 4})
    sources[0].index._columns["votes"] = votes
    batch = BatchMaker(sources, view, needs={VOTES}).make(refs)
    expected = np.full((4, len(view.names)), np.nan, np.float32)
    expected[0] = 0
    expected[0, :2] = 0.75, 0.25  # "other" is no class of this view
    np.testing.assert_array_equal(batch["category_probabilities"], expected)
    assert batch["category_probabilities"].dtype == np.float32


def test_make_when_cropped_then_samples_and_frames_are_of_the_same_place(
    sources, view, refs, lengths
):
    batch = BatchMaker(sources, view).make(refs)
    whole = waveform_of("beta", 3, lengths["beta"][3])
    n = int(refs.length[1])
    np.testing.assert_array_equal(batch["waveform"][1, :n], whole[640 : 640 + n])
    assert not batch["waveform"][1, n:].any()
    np.testing.assert_array_equal(batch["valid"][1], np.arange(N) < n)
    T = num_frames(n)
    of_whole = intensity_of(3, lengths["beta"][3]).astype(np.float16)
    np.testing.assert_array_equal(batch["intensity"][1, :T], of_whole[2 : 2 + T])
    assert np.isnan(batch["intensity"][1, T:]).all()
    of_whole = prosody_of(3, lengths["beta"][3]).astype(np.float16)
    np.testing.assert_array_equal(batch["prosody"][1, :T], of_whole[2 : 2 + T])
    assert np.isnan(batch["prosody"][1, T:]).all()


def test_make_when_rows_have_labels_then_they_are_by_name_and_padding_has_none(sources, view, refs):
    maker = BatchMaker(sources, view)
    batch = maker.make(refs)
    names = [view.names[i] if i >= 0 else "" for i in batch["category"]]
    assert names == [CATEGORIES[1], CATEGORIES[3], "", CATEGORIES[0]]
    np.testing.assert_allclose(batch["dimensions"][:2, 0], [0.05, 0.03])
    assert np.isnan(batch["dimensions"][2:]).all() and np.isnan(batch["dimensions"][:, 1:]).all()
    assert [maker.speakers[i] if i >= 0 else "" for i in batch["speaker"]] == [
        "alpha/s2", "beta/s0", "", ""
    ]  # fmt: skip
    np.testing.assert_array_equal(batch["utterance_index"], [5, 43, -1, 4])
    assert not batch["valid"][2].any() and not batch["waveform"][2].any()


def test_make_when_only_some_rows_are_asked_then_they_are_those_of_the_whole(sources, view, refs):
    maker = BatchMaker(sources, view)
    whole, part = maker.make(refs), maker.make(refs, np.array([1, 3]))
    for name, array in part.items():
        np.testing.assert_array_equal(array, whole[name][[1, 3]])


def test_make_when_there_is_no_annotator_then_the_batch_carries_no_annotation(data_dir, view, refs):
    sources = [CorpusSource(data_dir, name) for name in ("alpha", "beta")]
    batch = BatchMaker(sources, view).make(refs)
    assert "intensity" not in batch and "prosody" not in batch


def test_maker_when_only_one_source_is_annotated_then_it_is_refused(data_dir, view):
    sources = [CorpusSource(data_dir, "alpha"), CorpusSource(data_dir, "beta", annotator="signal")]
    with pytest.raises(ValueError, match="annotator"):
        BatchMaker(sources, view)


def test_make_when_no_category_is_predicted_then_all_are_none(sources, refs):
    batch = BatchMaker(sources, LabelView(())).make(refs)
    np.testing.assert_array_equal(batch["category"], [-1] * 4)
