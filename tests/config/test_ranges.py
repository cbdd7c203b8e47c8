"""Every number of every setting has a range, and one out of it is a sentence, not a crash later."""

import dataclasses
import typing

import pytest

from sersl.config import annotation, load, objectives, schema
from sersl.config.ranges import RANGES
from sersl.core.errors import UserError

GROUPS = [
    c
    for module in (schema, objectives, annotation)
    for c in vars(module).values()
    if isinstance(c, type) and c.__module__ == module.__name__
]


@pytest.mark.parametrize("cls", GROUPS)
def test_ranges_when_compared_with_the_schema_then_each_number_has_one(cls):
    numbers = {key for key, hint in typing.get_type_hints(cls).items() if hint in (int, float)}
    assert set(RANGES.get(cls, {})) == numbers
    for key in numbers:
        default = next(f.default for f in dataclasses.fields(cls) if f.name == key)
        assert RANGES[cls][key].fits(default), key


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"train": {"num_steps": 0}}, "'train.num_steps' takes 1 or more, not 0"),
        ({"train": {"seed": -1}}, "'train.seed' takes a whole number from 0 to 4294967295, not -1"),
        ({"encoder": {"dropout": 1.0}}, "'encoder.dropout' takes a number from 0 to below 1, not"),
        ({"data": {"seconds_per_batch": float("nan")}}, "takes a number above 0, not nan"),
        ({"optimizer": {"learning_rate": float("inf")}}, "takes a number above 0, not inf"),
        ({"mesh": {"data": 0}}, "'mesh.data' takes 1 or more, or -1 for what is left, not 0"),
        (
            {"objectives": {"contrastive": {"codes": 1}}},
            "'objectives.contrastive.codes' takes 2 or more, not 1",
        ),
    ],
)
def test_number_when_out_of_range_then_the_sentence_has_key_range_and_value(values, words):
    with pytest.raises(UserError) as caught:
        load.from_mapping(schema.PretrainConfig, values)
    assert words in str(caught.value)
