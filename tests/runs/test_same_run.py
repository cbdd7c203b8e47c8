"""A start that is not of its run is refused: other records, or a damaged list of them."""

import json

import pytest

from sersl.core.errors import UserError
from sersl.runs.same_run import check_data, flat

LISTED = [{"corpus": "nemo", "fingerprint": "a" * 64}, {"corpus": "emodb", "fingerprint": "b" * 64}]


@pytest.mark.parametrize("content", [LISTED, {"corpora": LISTED, "categories": []}])
def test_data_when_a_corpus_has_other_records_then_it_is_named(tmp_path, content):
    (tmp_path / "corpora.json").write_text(json.dumps(content))
    check_data(tmp_path, {"nemo": "a" * 64, "emodb": "b" * 64})
    with pytest.raises(UserError, match=r"other records of corpus emodb \(fingerprint b{12}, now"):
        check_data(tmp_path, {"nemo": "a" * 64, "emodb": "c" * 64})


def test_data_when_nothing_is_known_of_it_then_any_will_do(tmp_path):
    check_data(tmp_path, {"nemo": "a" * 64})


@pytest.mark.parametrize("text", ["", "[1]", '{"corpora": [{}]}'])
def test_data_when_the_list_is_damaged_then_one_sentence_says_so(tmp_path, text):
    (tmp_path / "corpora.json").write_text(text)
    with pytest.raises(UserError, match=r"corpora.json is damaged .*: remove it to go on"):
        check_data(tmp_path, {"nemo": "a" * 64})


def test_flat_gives_dotted_names():
    assert flat({"a": {"b": {"c": 1}, "d": (2,)}, "e": 3}) == {"a.b.c": 1, "a.d": (2,), "e": 3}
