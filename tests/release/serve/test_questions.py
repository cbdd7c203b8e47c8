"""The parameters of a request, and the text of an answer."""

import json

import numpy as np
import pytest

from sersl.release.serve.batcher import Wanted
from sersl.release.serve.questions import as_json, read_wanted
from sersl.release.serve.service_limits import RefusedError


def test_parameters_when_they_are_right_then_all_are_read():
    query = {"window": "2", "hop": "0.5", "frames": "1", "embedding": "0", "name": "x"}
    assert read_wanted(query, others=["name"]) == Wanted(window=2.0, hop=0.5, frames=True)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"windw": "2"}, "did you mean 'window'"),
        ({"window": "two"}, "window='two' is not a number"),
        ({"window": "nan"}, "out of range"),
        ({"window": "1e9"}, "out of range"),
        ({"window": "-1"}, "out of range"),
        ({"hop": "1"}, "needs a window: give window too"),
        ({"window": "30", "hop": "0.01"}, "give at least 1.5"),
        ({"window": "2", "speech": "1"}, "give one"),
        ({"speech": "maybe"}, "neither 1 nor 0"),
        ({"\x1b[31m" * 50: "1"}, "unknown parameter"),
    ],
)
def test_parameters_when_one_is_wrong_then_it_is_refused_with_a_sentence(query, sentence):
    with pytest.raises(RefusedError) as refused:
        read_wanted(query)
    assert refused.value.status == 400
    assert sentence in refused.value.sentence and len(refused.value.sentence) < 300


def test_json_when_rows_have_arrays_then_they_are_lists_with_six_decimals():
    row = {"frames": {"time": np.array([0.01, 1 / 3], np.float32)}, "file": "é", "x": 1 / 3}
    found = as_json([row])
    assert json.loads(found) == [{"frames": {"time": [0.01, 0.333333]}, "file": "é", "x": 0.333333}]
    with pytest.raises(ValueError, match="JSON"):
        as_json({"x": float("nan")})
