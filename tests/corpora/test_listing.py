import os

import pytest

from sersl.core.errors import UserError
from sersl.corpora.listing import check_folder, list_files, listing_fingerprint, printable


def test_list_files_when_folders_link_in_a_loop_then_each_file_once_and_sorted(tmp_path):
    for name in ("b/2.wav", "a/1.WAV", "a/note.txt", "a/._1.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    (tmp_path / "folder.wav").mkdir()
    assert list(list_files(tmp_path, (".wav",))) == ["a/1.WAV", "b/2.wav"]


def test_list_files_when_a_folder_is_hidden_then_it_is_left_alone(tmp_path):
    for name in (".downloads/half.wav", "a/.cache/b.wav", "a/c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"x")
    assert list(list_files(tmp_path, (".wav",))) == ["a/c.wav"]


def test_list_files_when_a_name_is_not_utf8_then_listed_and_printable(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"x")
    (name,) = list_files(tmp_path, (".wav",))
    assert printable(name) == "caf\\xe9.wav"
    listing_fingerprint(tmp_path, [name])


def test_fingerprint_when_a_size_changes_then_differs(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"x")
    before = listing_fingerprint(tmp_path, ["a.wav"])
    (tmp_path / "a.wav").write_bytes(b"xy")
    assert listing_fingerprint(tmp_path, ["a.wav"]) != before
    assert listing_fingerprint(tmp_path, ["gone.wav"]) != before


def test_check_folder_when_missing_or_a_file_then_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="there is no folder"):
        check_folder(tmp_path / "nowhere", "corpus 'x'")
    with pytest.raises(UserError, match="is a file, not a folder"):
        check_folder(tmp_path / "file", "corpus 'x'")
