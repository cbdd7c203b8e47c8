"""Messages are one line of moderate length, whatever names they hold."""

import pytest

from sersl.core.display import first_few, one_line, one_sentence


def test_line_when_it_has_control_characters_then_they_are_escaped():
    assert one_line("a\x1b[31m\nb\u2028ü") == "a\\x1b[31m\\nb\\u2028ü"


def test_sentence_when_a_word_is_huge_then_its_middle_is_cut():
    sentence = f"file {'a' * 2_000_000}z cannot be read: copy it again"
    found = one_sentence(sentence)
    assert len(found) < 500 and found.endswith("az cannot be read: copy it again")
    assert one_sentence("x" * 499) == "x" * 499


@pytest.mark.parametrize(
    ("names", "shown"),
    [([], ""), (["a"], "a"), (["a", "b"], "a, b"), (["a", "b", "c", "d"], "a, b and 2 more")],
)
def test_first_few_when_names_are_listed_then_the_others_are_counted(names, shown):
    assert first_few(names, 2) == shown
