import math
from types import SimpleNamespace

import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.corpora import label_columns
from sersl.corpora.labels import VIEWS, LabelView, make_view, to_unit
from sersl.corpora.words import CANONICAL, canonical


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("Anger", "angry"),
        ("HAP", "happy"),
        ("fearful", "fear"),
        (" boredem ", "boredom"),
        ("生气", "angry"),
    ],
)
def test_canonical_when_spelt_differently_then_one_name(raw, name):
    assert canonical(raw) == name


@pytest.mark.parametrize("raw", ["", "xxx", "no agreement", "<unk>"])
def test_canonical_when_raters_do_not_agree_then_empty(raw):
    assert canonical(raw) == ""


def test_canonical_when_unknown_then_error_names_the_nearest():
    with pytest.raises(UserError, match=r"'hapy': did you mean 'happy'\?"):
        canonical("hapy")


def test_canonical_when_nothing_is_near_then_error_names_the_categories_only():
    with pytest.raises(
        UserError, match=r"unknown emotion label 'böse': known: angry, boredom, calm"
    ):
        canonical("böse")


def test_canonical_when_single_letter_then_error():
    with pytest.raises(UserError):
        canonical("A")  # anger or Angst


def test_views_when_listed_then_all_categories_are_canonical():
    for mapping in VIEWS.values():
        assert set(mapping) <= set(CANONICAL)
        assert set(mapping.values()) <= set(mapping)


def test_indices_when_excited_is_merged_then_it_counts_as_happy():
    view = make_view("4class", [])
    categories = np.array(["excited", "happy", "", "fear", "sad"], dtype=object)
    happy, sad = view.names.index("happy"), view.names.index("sad")
    np.testing.assert_array_equal(view.indices(categories), [happy, happy, -1, -1, sad])
    assert view.indices(categories).dtype == np.int32


def test_indices_when_empty_then_empty():
    assert LabelView(("angry",)).indices(np.array([], dtype=object)).shape == (0,)


def test_make_view_when_corpus_then_present_categories_in_canonical_order():
    assert make_view("corpus", ["sad", "", "angry", "sad"]).names == ("angry", "sad")


def test_make_view_when_none_then_no_names():
    view = make_view("none", ["sad"])
    assert view.names == ()
    np.testing.assert_array_equal(view.indices(np.array(["sad"])), [-1])


def test_make_view_when_corpus_has_no_categories_then_error_says_what_to_set():
    with pytest.raises(UserError, match=r"labels\.view to 'none'"):
        make_view("corpus", ["", ""])


def test_make_view_when_misspelt_then_error_names_the_nearest():
    with pytest.raises(UserError, match="did you mean '4class'"):
        make_view("4clas", ["sad"])


def test_scale_when_mapped_then_zero_to_one():
    assert to_unit(4.0, 1.0, 7.0) == 0.5
    assert [to_unit(rating, -3.0, 3.0) for rating in (-3.0, 3.0)] == [0.0, 1.0]
    assert math.isnan(to_unit(math.nan, 1.0, 7.0))


def test_shares_when_votes_are_merged_then_they_count_for_one_class():
    view = make_view("4class", [])
    shares = view.shares({"excited": 1, "happy": 1, "sad": 2, "fear": 5})
    assert dict(zip(view.names, shares.tolist(), strict=True)) == {
        "angry": 0.0,
        "happy": 2.0,
        "sad": 2.0,
        "neutral": 0.0,
    }
    assert not view.shares({"fear": 1}).any()


@pytest.mark.parametrize("text", ["{", "[1]", '{"sad": -1}', '{"sad": "x"}', "{" * 100_000])
def test_votes_when_damaged_then_a_sentence_names_the_file(tmp_path, text):
    index = SimpleNamespace(folder=tmp_path, column=lambda name: np.array(["", text], object))
    with pytest.raises(UserError, match=r"index.parquet is damaged \(votes .*prepare the corpus"):
        label_columns.vote_counts(index)
