"""Patterns of settings match what `re` matches, and no pattern takes long."""

import itertools
import random
import re
import time

import pytest

from sersl.core.errors import UserError
from sersl.core.patterns import Pattern

PATH = "encoder/layers/0/attention/relative_bias/kernel_of_something_rather_long_indeed"
PIECES = (
    ".",
    "[a-b]",
    "[^a]",
    r"\w",
    r"\d",
    r"\s",
    "[/_a]",
    r"[\d/]",
    "$",
    "^",
    r"\b",
    r"\B",
    "a",
    "b",
    "/",
)
REPEATS = ("*", "+", "?", "{1,2}", "{2}", "{2,}", "*?", "+?")
TEXTS = ["".join(p) for n in range(1, 5) for p in itertools.product("ab/", repeat=n)] + [
    "1a",
    "ä1 ",
]


def draw(rng: random.Random, depth: int) -> str:
    """Draws an expression of nested groups, alternatives, repeats and assertions."""
    kind = rng.randrange(8 if depth else 1)
    if kind < 2:
        return rng.choice(PIECES)
    inner = draw(rng, depth - 1)
    if kind < 4:
        return inner + draw(rng, depth - 1)
    if kind == 4:
        return f"({inner}|{draw(rng, depth - 1)})"
    if kind == 5:
        return f"(?:{inner}){rng.choice(REPEATS)}"
    if kind == 6:
        return f"(?{rng.choice('=!')}{inner})"
    return f"(?<!{rng.choice('ab')}){inner}"


def test_fullmatch_when_compared_with_re_then_is_the_same():
    rng = random.Random(0)
    compared = matched = 0
    for _ in range(600):
        text = draw(rng, 4)
        wanted, found = re.compile(text), Pattern(text, setting="unfreeze")
        for example in rng.sample(TEXTS, 20):
            assert found.fullmatch(example) == bool(wanted.fullmatch(example)), (text, example)
            compared, matched = compared + 1, matched + bool(wanted.fullmatch(example))
    assert compared == 12_000 and 200 < matched < 11_500  # both answers occur


@pytest.mark.parametrize(
    "text",
    [
        "(([a-z]|/|_)+)+!",
        "(a|a|[a-z/_]|.)*!",
        ".*" * 30 + "!",
        "((((.*)*)*)*)*!",
        "(.{0,1000}){0,1000}!",
        "(.|.|.){0,99999999}!",
        "(.*|){4000000000}!",
        "(?=(.*)*!).*",
        "(.*?)+?!",
        "(?<=(.*)*!).*",
        "(?!(.+)+[0-9].*/kernel).*!",
    ],
)
def test_fullmatch_when_the_pattern_is_hostile_then_answers_soon(text):
    pattern, started = Pattern(text, setting="unfreeze"), time.process_time()
    assert not pattern.fullmatch(PATH)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(", "'(' is not a regular expression: missing )"),
        ("*", "nothing to repeat"),
        ("a{99999999999999999999}", "the repetition number is too large"),
        ("(" * 5000 + ")" * 5000, "is not a regular expression"),
        ("(" * 60 + ".*" + ")*" * 60, "nested over 20 deep"),
        ("a" * 501, "over 500 parts"),
        (r"(a)\1", "has groupref, which is not supported"),
        ("(?i)encoder", "has flags"),
        ("(?i:encoder)", "has flags"),
        ("(?>a)", "has atomic_group, which is not supported"),
        ("a*+", "has possessive_repeat, which is not supported"),
    ],
)
def test_pattern_when_not_supported_then_one_short_sentence_names_the_setting(text, words):
    with pytest.raises(UserError) as caught:
        Pattern(text, setting="unfreeze")
    sentence = str(caught.value)
    assert sentence.startswith("unfreeze: ") and words in sentence
    assert "\n" not in sentence and len(sentence) < 250
