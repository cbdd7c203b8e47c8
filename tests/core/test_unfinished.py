"""What a killed writer leaves is cleared; what it had set aside is put back."""

import os
import subprocess
import sys

import pytest

from sersl.core import files, unfinished

KILLED_IN_A_SWAP = """
import os, sys
from pathlib import Path
from sersl.core import files, unfinished
unfinished._exchange = lambda a, b: False
real, calls = os.rename, []
def rename(a, b):
    calls.append(a)
    if len(calls) > int(sys.argv[2]):
        os._exit(9)
    real(a, b)
os.rename = rename
with files.whole_folder(sys.argv[1]) as partial:
    (partial / "new").write_text("x")
"""


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_swap_when_killed_between_renames_then_a_complete_folder_is_found(tmp_path, renames):
    folder = tmp_path / "model"
    with files.whole_folder(folder) as partial:
        (partial / "old").write_text("x")
    subprocess.run([sys.executable, "-c", KILLED_IN_A_SWAP, str(folder), str(renames)], check=False)
    unfinished.restore(folder)
    assert os.listdir(folder) == (["new"] if renames == 2 else ["old"])
    with files.whole_folder(folder) as partial:
        (partial / "newer").write_text("x")
    assert os.listdir(tmp_path) == ["model"] and os.listdir(folder) == ["newer"]


def test_clear_when_the_writer_is_alive_or_elsewhere_then_its_files_stay(tmp_path):
    host = unfinished._host()
    kept = [f".a.csv.{host}-{os.getpid()}.partial.csv", ".a.csv.other-1.partial.csv", ".a.csv.part"]
    other = f".a.csv.b.{host}-999999999.partial"
    for name in (*kept, other, f".a.csv.{host}-999999999.partial.csv"):
        (tmp_path / name).write_text("x")
    unfinished.clear_stale(tmp_path / "a.csv")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, other])


@pytest.mark.parametrize(
    "name", ["a" * 255, "ä" * 127, "a" * 100 + "." + "b" * 150, "\udcff" * 255]
)
def test_file_when_its_name_is_as_long_as_can_be_then_is_written(tmp_path, name):
    with files.whole_file(tmp_path / name) as file:
        file.write("x")
    assert os.listdir(tmp_path) == [name]


def test_file_when_it_is_a_link_then_the_link_stays(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "a.txt").symlink_to(tmp_path / "far" / "b.txt")
    (tmp_path / "folder").symlink_to(tmp_path / "far" / "folder")
    with files.whole_file(tmp_path / "a.txt") as file:
        file.write("x")
    with files.whole_folder(tmp_path / "folder") as partial:
        (partial / "x").write_text("x")
    assert (tmp_path / "a.txt").is_symlink() and (tmp_path / "folder").is_symlink()
    assert sorted(os.listdir(tmp_path / "far")) == ["b.txt", "folder"]


def test_file_when_somebody_has_put_a_link_in_its_unfinished_place_then_the_link_is_not_followed(
    tmp_path,
):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    unfinished.staging_path(tmp_path / "a.csv").symlink_to(victim)
    with files.whole_file(tmp_path / "a.csv") as file:
        file.write("x")
    assert victim.read_text() == "precious" and (tmp_path / "a.csv").read_text() == "x"


KILLED_AT = """
import os, shutil, sys
from sersl.core import files, unfinished
if sys.argv[4] == "rename":
    unfinished._exchange = lambda a, b: False
calls = 0
def count(function):
    def counted(*arguments, **options):
        global calls
        calls += 1
        if calls > int(sys.argv[3]):
            os._exit(9)
        return function(*arguments, **options)
    return counted
unfinished._exchange = count(unfinished._exchange)
for name in ("rename", "replace", "mkdir", "unlink", "rmdir", "scandir", "open"):
    setattr(os, name, count(getattr(os, name)))
shutil.copyfile = count(shutil.copyfile)
with files.whole_folder(sys.argv[2]) as partial:
    for name in ("a", "b"):
        shutil.copyfile(sys.argv[1] + "/" + name, partial / name)
"""


@pytest.mark.parametrize("swap", ["exchange", "rename"])
def test_folder_when_killed_before_any_change_of_the_disk_then_a_complete_one_is_there(
    tmp_path, swap
):
    for version in ("old", "new"):
        (tmp_path / version).mkdir()
        for name in ("a", "b"):
            (tmp_path / version / name).write_text(version)
    place = tmp_path / "place" / "model"
    found, calls, done = set(), 0, False
    while not done:
        with files.whole_folder(place) as partial:
            for name in ("a", "b"):
                (partial / name).write_text("old")
        command = [sys.executable, "-c", KILLED_AT, str(tmp_path / "new"), str(place), str(calls)]
        done = subprocess.run([*command, swap], check=False).returncode == 0
        unfinished.restore(place)
        assert sorted(os.listdir(place)) == ["a", "b"]
        first, second = ((place / name).read_text() for name in ("a", "b"))
        assert first == second
        found.add(first)
        calls += 1
    assert found == {"old", "new"} and calls > 8
    assert os.listdir(place.parent) == ["model"]
