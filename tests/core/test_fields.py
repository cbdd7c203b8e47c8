"""Fields of a JSON object have the type that is asked for, or a sentence names them."""

import pytest

from sersl.core.errors import UserError
from sersl.core.fields import Fields

GOOD = {
    "text": "a",
    "flag": True,
    "integer": 3,
    "names": ["a", "b"],
    "numbers": {"low": 0, "high": 1.5},
    "texts": {"jax": "0.8"},
    "group": {"x": None},
    "groups": [{}, {"y": 1}],
}
TAKE = {
    "text": lambda f: f.text("text"),
    "flag": lambda f: f.flag("flag"),
    "integer": lambda f: f.integer("integer", at_least=1, at_most=9),
    "names": lambda f: list(f.names("names")),
    "numbers": lambda f: f.numbers("numbers"),
    "texts": lambda f: f.texts("texts"),
    "group": lambda f: f.group("group"),
    "groups": lambda f: f.groups("groups"),
}
WRONG = {
    "text": [None, 3, ["a"], "x" * 20_000],
    "flag": [0, 1, "true", None],
    "integer": [0, 10, 10**30, 3.0, True, "3", None],
    "names": [["a", "a"], [""], [1], "ab", None, {"a": 1}, [None]],
    "numbers": [{"low": "0"}, {"low": True}, [], None],
    "texts": [{"jax": 1}, [], "x"],
    "group": [[], None, "x"],
    "groups": [[1], {}, None, [None]],
}


def fields(content):
    return Fields(content, where="a.json", remedy="write it again")


@pytest.mark.parametrize("name", GOOD)
def test_field_when_of_its_type_then_is_taken(name):
    assert TAKE[name](fields(GOOD)) == GOOD[name]


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in WRONG.items() for v in vs])
def test_field_when_of_another_type_or_range_then_a_sentence_names_it(name, value):
    with pytest.raises(UserError, match=rf"a.json: '{name}' must be .*; write it again") as caught:
        TAKE[name](fields({name: value}))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("name", GOOD)
def test_field_when_missing_then_a_sentence_names_it(name):
    with pytest.raises(UserError, match=f"a.json has no '{name}': write it again"):
        TAKE[name](fields({}))


def test_fields_when_one_is_missing_or_unknown_then_a_sentence_names_it():
    fields({"a": 1, "b": 2}).check_names(["a"], ["b"])
    with pytest.raises(UserError, match="has no 'c'"):
        fields({"a": 1}).check_names(["a", "c"])
    with pytest.raises(UserError, match="unknown field 'categoris': did you mean 'categories'"):
        fields({"categoris": 1}).check_names([], ["categories"])
    inner = fields({"a": {"b": 1}}).inside("a")
    with pytest.raises(UserError, match=r"a.json, 'a': 'b' must be text, not 1"):
        inner.text("b")
