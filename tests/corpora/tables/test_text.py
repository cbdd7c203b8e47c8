"""Text files from outside: encodings, line ends, and files that are not text or never end."""

import gzip
import os

import pytest

from sersl.core.errors import UserError
from sersl.corpora.tables import text
from sersl.corpora.tables.text import find_encoding, read_lines


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_when_encoded_in_any_usual_way_then_the_same_text(tmp_path, encoding, end):
    lines = ["path,speaker", "a.wav,J\u00fcrgen", "", "b.wav,\u201ed\u00e9j\u00e0\u201c"]
    (tmp_path / "a.csv").write_bytes(end.join([*lines, ""]).encode(encoding))
    assert list(read_lines(tmp_path / "a.csv")) == lines


def test_lines_when_latin1_then_read_and_known_as_a_guess(tmp_path):
    (tmp_path / "a").write_bytes("M\u00e4rz\nGr\u00fc\u00dfe\n".encode("latin-1"))
    assert list(read_lines(tmp_path / "a")) == ["M\u00e4rz", "Gr\u00fc\u00dfe"]
    assert find_encoding(tmp_path / "a").is_guess


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\f", "\x1c", "\x1e"])
def test_lines_when_the_text_has_other_separators_then_they_stay(tmp_path, separator):
    (tmp_path / "a").write_text(f"u1 a{separator}b\nu2 c\n", encoding="utf-8")
    assert list(read_lines(tmp_path / "a")) == [f"u1 a{separator}b", "u2 c"]


def test_lines_when_compressed_then_decompressed_and_damage_is_one_sentence(tmp_path):
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress(b"a\nb\n"))
    assert list(read_lines(path)) == ["a", "b"]
    for damaged in (path.read_bytes()[:-6], b"no gzip", b""):
        path.write_bytes(damaged)
        if damaged:
            with pytest.raises(UserError, match="damaged or cut off"):
                list(read_lines(path))
        else:
            assert list(read_lines(path)) == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"RIFF\0\0\0\0WAVE", "binary data"),
        (b"\0" * 5000, "binary data"),
        ("\u043f\u0440\u0438\u0432\u0435\u0442\n".encode("cp1251"), "its encoding is unknown"),
        ("\u751f\u6c14,\u9ad8\u5174\n".encode("gbk"), "its encoding is unknown"),
        ("\u3053\u3093\u306b\u3061\u306f\n".encode("shift-jis"), "its encoding is unknown"),
        ("a.wav;z\u0142o\u015b\u0107\n".encode("cp1250"), "its encoding is unknown"),
        ("a.wav;z\u0142o\u015b\u0107\n".encode("iso8859-2"), "its encoding is unknown"),
        (b"\xff\xfe\x00", "not .* text"),
    ],
)
def test_lines_when_not_text_then_one_sentence(tmp_path, content, sentence):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        list(read_lines(tmp_path / "a.csv"))


def test_lines_when_a_device_a_pipe_or_a_folder_then_one_sentence_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "link"):
        with pytest.raises(UserError, match="not a file: give a regular file"):
            list(read_lines(path))
    with pytest.raises(UserError, match="cannot be read"):
        list(read_lines(tmp_path / "nothing"))


def test_lines_when_one_has_no_end_then_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "MOST_LINE", 100)
    (tmp_path / "a").write_text("short\n" + "x" * 101)
    with pytest.raises(UserError, match="line 2 is longer than"):
        list(read_lines(tmp_path / "a"))
