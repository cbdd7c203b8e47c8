import os
import subprocess
import unicodedata

import pytest

from sersl.core.errors import UserError
from sersl.corpora.listing import (
    check_folder,
    list_files,
    listing_fingerprint,
    printable,
    walk,
)


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


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_walk_when_folders_are_linked_then_each_is_walked_once(tmp_path):
    touch(tmp_path, "in/b/1.wav", "in/.hidden/2.wav", "elsewhere/x/3.wav", "elsewhere/4.wav")
    top = tmp_path / "in"
    (top / "a").symlink_to("b")  # walked under its own name
    (top / "c").symlink_to(".hidden")  # which is not walked otherwise
    (top / "d").symlink_to("../elsewhere")
    (top / "e").symlink_to("../elsewhere/x")
    (top / "up").symlink_to(top)
    (top / "self").symlink_to("self")
    (tmp_path / "elsewhere" / "back").symlink_to(top)
    files = ["b/1.wav", "c/2.wav", "d/4.wav", "d/x/3.wav"]
    assert list(list_files(top, (".wav",))) == files
    assert [found.path for found in walk(top, (".wav",)) if found.problem] == ["self"]


def test_walk_when_folders_link_to_each_other_then_it_ends(tmp_path):
    for name in "abcdefghijkl":
        touch(tmp_path, f"out/{name}/{name}.wav")
        for other in "abcdefghijkl":
            (tmp_path / "out" / name / f"to_{other}").symlink_to(tmp_path / "out" / other)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x").symlink_to(tmp_path / "out" / "a")
    found = list(list_files(tmp_path / "in", (".wav",)))
    assert sorted(path[-5:] for path in found) == [f"{name}.wav" for name in "abcdefghijkl"]


def test_walk_when_folders_are_deep_then_no_recursion(tmp_path):
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        with open("a.wav", "wb") as file:
            file.write(b"x")
    finally:
        os.chdir(here)
    (found,) = walk(tmp_path, (".wav",))
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # too deep for Python's cleaning up
    assert found.path == "d/" * 1500 + "a.wav"


def test_walk_when_links_lead_nowhere_then_said_unless_they_were_other_files(tmp_path):
    touch(tmp_path, "a.wav")
    for name in ("broken.wav", "folder", "v1.0", "notes.txt"):
        (tmp_path / name).symlink_to("gone")
    found = {path: bool(problem) for path, problem in walk(tmp_path, (".wav",))}
    # The audio is listed, and reading it gives the reason.
    assert found == {"a.wav": False, "broken.wav": False, "folder": True, "v1.0": True}


def test_walk_when_a_folder_cannot_be_read_then_said(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.wav", "b/2.wav")
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("/a"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    denied = "folder cannot be read: Permission denied"
    assert list(walk(tmp_path, (".wav",))) == [("a", denied), ("b/2.wav", "")]
    with pytest.raises(UserError, match=r"corpus 'x': .*/a': folder cannot be read: Perm"):
        check_folder(tmp_path / "a", "corpus 'x'")


def test_printable_when_spelled_in_another_unicode_form_then_the_same():
    assert printable(unicodedata.normalize("NFD", "é.wav")) == "é.wav"
    assert printable("\ud800.wav") == r"\xed\xa0\x80.wav"


def test_fingerprint_when_a_list_spells_a_name_in_another_form_then_its_size_counts(tmp_path):
    name, listed = (unicodedata.normalize(form, "é.wav") for form in ("NFD", "NFC"))
    touch(tmp_path, name)
    before = listing_fingerprint(tmp_path, [listed])
    (tmp_path / name).write_bytes(b"xy")
    assert listing_fingerprint(tmp_path, [listed]) != before
