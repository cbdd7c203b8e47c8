import os
import socket

import pytest

from sersl.core.bounded import read_bounded
from sersl.core.errors import as_user_error


def test_file_when_small_then_its_bytes(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert read_bounded(path) == read_bounded(path, most=3) == b"abc"
    (tmp_path / "link").symlink_to(path)
    assert read_bounded(tmp_path / "link") == b"abc"


def _socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(path.parent)
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "it is a pipe"),
        (_socket, "it is a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a pipe"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.symlink_to(path.name), "Too many levels"),
        (lambda path: (path.touch(), os.truncate(path, 40 << 30)), "more than 256 MiB"),
        (lambda path: path.symlink_to("/proc/self/mem"), "Input/output error"),
    ],
)
def test_file_when_it_has_no_end_or_cannot_be_read_then_a_sentence_names_it(tmp_path, make, reason):
    path = tmp_path / "a.json"
    make(path)
    with pytest.raises(OSError, match=reason) as raised:
        read_bounded(path)
    sentence = str(as_user_error(raised.value))
    assert sentence.startswith(str(path)) and reason in sentence


def test_pipe_when_allowed_then_it_is_read_up_to_the_limit():
    assert read_bounded("/dev/null", regular=False) == b""
    with pytest.raises(OSError, match="more than 1 MiB"):
        read_bounded("/dev/zero", most=1 << 20, regular=False)
