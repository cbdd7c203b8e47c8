import pytest

from sersl.core.errors import UserError
from sersl.core.share import read_share


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "a/b", "0/0", "1/2/3"])
def test_share_when_not_a_part_of_a_whole_then_one_sentence_names_the_option(text):
    assert read_share("1/4", option="--jobs") == (1, 4)
    with pytest.raises(UserError, match=r"--jobs .*is not I/N with I from 0 to N - 1, such as 0/4"):
        read_share(text, option="--jobs")
