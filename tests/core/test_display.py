"""Messages are one line of moderate length, whatever names they hold."""

from sersl.core.display import one_line, one_sentence


def test_line_when_it_has_control_characters_then_they_are_escaped():
    assert one_line("a\x1b[31m\nb\u2028ü") == "a\\x1b[31m\\nb\\u2028ü"


def test_sentence_when_a_word_is_huge_then_its_middle_is_cut():
    sentence = f"file {'a' * 2_000_000}z cannot be read: copy it again"
    found = one_sentence(sentence)
    assert len(found) < 500 and found.endswith("az cannot be read: copy it again")
    assert one_sentence("x" * 499) == "x" * 499
