"""One sentence for the user, with the nearest known name."""

import errno
import os

import pytest

from sersl.core.errors import UserError, as_user_error, unknown_name


def test_unknown_name_when_one_is_close_then_names_it():
    error = unknown_name("corpus", "ravdes", ["ravdess", "nemo", "synthetic"])
    assert isinstance(error, UserError)
    assert "unknown corpus 'ravdes': did you mean 'ravdess'?" in str(error)


def test_unknown_name_when_list_is_short_then_all_are_listed_in_order():
    assert str(unknown_name("view", "zzzz", ["b", "a"])) == "unknown view 'zzzz': known: a, b"


def test_unknown_name_when_list_is_long_then_only_the_closest_is_named():
    known = [f"setting_{i}" for i in range(40)]
    message = str(unknown_name("configuration key", "settin_7", known))
    assert "did you mean 'setting_7'?" in message
    assert "setting_39" not in message


def test_unknown_name_when_nothing_is_close_then_even_a_long_list_is_shown():
    message = str(unknown_name("key", "qqqq", [f"setting_{i}" for i in range(40)]))
    assert "setting_39" in message


def test_unknown_name_when_last_part_of_a_dotted_name_is_right_then_that_key_is_named():
    known = ["a_rather_long_group.inner.learning_rate", "data.threads"]
    message = str(unknown_name("configuration key", "lr_group.learning_rate", known))
    assert "did you mean 'a_rather_long_group.inner.learning_rate'?" in message


def test_unknown_name_when_nothing_is_known_then_says_none():
    assert str(unknown_name("corpus", "x", [])).endswith("known: none")


def test_unknown_name_when_it_is_very_long_then_shortened():
    assert len(str(unknown_name("kind of head", "x" * 5000, ["linear", "gelu"]))) < 300


def test_user_error_when_raised_then_is_no_builtin_kind():
    with pytest.raises(UserError):
        raise UserError("a sentence")
    assert not issubclass(UserError, ValueError | OSError)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room, and"),
        (errno.EROFS, "give another path"),
        (errno.EACCES, "change its permissions, and"),
    ],
)
def test_as_user_error_when_the_machine_refuses_then_names_the_file_and_why(number, remedy):
    error = as_user_error(OSError(number, os.strerror(number), "d/x.bin"))
    reason = f"d/x.bin cannot be used ({os.strerror(number)}): "
    assert str(error).startswith(reason + remedy)
    assert str(as_user_error(OSError(number, "no"))).startswith("a file cannot be used (no)")


def test_as_user_error_when_it_is_one_or_nobody_can_fix_it_then_itself_or_none():
    error = UserError("a sentence")
    assert as_user_error(error) is error
    assert as_user_error(FileNotFoundError(errno.ENOENT, "no", "x")) is None
    assert as_user_error(ValueError("x")) is None
