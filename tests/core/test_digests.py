"""Digests of the files of a folder."""

import os

import pytest

from sersl.core.digests import check_digests, find_faults, has_digests, write_digests
from sersl.core.errors import UserError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.bin").write_bytes(bytes(range(256)))
    (tmp_path / "inside").mkdir()
    write_digests(tmp_path)
    return tmp_path


def test_digests_when_nothing_has_changed_then_no_fault_and_other_files_do_not_matter(folder):
    assert has_digests(folder) and list(find_faults(folder)) == []
    (folder / "notes.txt").write_text("mine")
    (folder / "inside" / "x").write_text("mine")
    assert check_digests(folder, what="it", remedy="make it again")


def test_digests_when_there_are_none_then_nothing_is_compared(tmp_path):
    assert not has_digests(tmp_path)
    assert not check_digests(tmp_path, what="it", remedy="make it again")


def test_digests_when_files_are_missing_changed_or_no_files_then_each_is_a_fault(folder):
    (folder / "a.json").unlink()
    (folder / "b.bin").write_bytes(bytes(256))
    assert list(find_faults(folder)) == [
        "a.json is missing",
        "b.bin is damaged: its bytes are not those that were written",
    ]
    (folder / "b.bin").unlink()
    os.mkfifo(folder / "b.bin")  # reading it would never end
    assert list(find_faults(folder))[1] == "b.bin is not a file"
    only = list(find_faults(folder, hashed=lambda name: False, expected=lambda name: name > "b"))
    assert only == ["b.bin is not a file"]
    with pytest.raises(UserError, match=r"^it in .*: a\.json is missing; make it again$"):
        check_digests(folder, what="it", remedy="make it again")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"a.json"', b'"../../a"'),
        (b'"a.json"', b'"c.json"'),
        (b'"schema": 1', b'"schema": 2'),
        (b'"files": {', b'"files": 3, "x": {'),
        (b"}", b""),
    ],
)
def test_digests_when_they_are_edited_then_they_are_a_fault(folder, old, new):
    content = (folder / "digests.json").read_bytes()
    assert old in content
    (folder / "digests.json").write_bytes(content.replace(old, new))
    (fault,) = find_faults(folder)
    assert fault.startswith("digests.json is damaged (")


def test_digests_when_some_are_known_then_those_files_are_not_read(tmp_path):
    (tmp_path / "big").write_bytes(b"x")
    write_digests(tmp_path, known={"big": "0" * 64})
    assert list(find_faults(tmp_path)) == [
        "big is damaged: its bytes are not those that were written"
    ]
