"""Files appear whole or not at all, JSON is read strictly, and no name leaves its folder."""

import ast
import json
import math
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sersl.core import files, unfinished
from sersl.core.errors import UserError


def test_file_when_the_block_ends_well_then_stands_alone(tmp_path):
    with files.whole_file(tmp_path / "new" / "a.csv") as file:
        file.write("a,b\r\n")
    assert (tmp_path / "new" / "a.csv").read_bytes() == b"a,b\r\n"
    assert os.listdir(tmp_path / "new") == ["a.csv"]


def test_file_when_the_block_fails_then_the_old_one_stays(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), files.whole_file(path, "wb") as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "rename"])
def test_folder_when_replaced_then_holds_only_the_new_files(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(unfinished, "_exchange", lambda a, b: False)
    folder = tmp_path / "model"
    for name in ("old", "new"):
        with files.whole_folder(folder) as partial:
            (partial / name).write_text(name)
    assert os.listdir(folder) == ["new"]
    assert os.listdir(tmp_path) == ["model"]


def test_folder_when_the_block_fails_then_the_old_one_stays(tmp_path):
    folder = tmp_path / "model"
    with files.whole_folder(folder) as partial:
        (partial / "old").write_text("")
    with pytest.raises(ZeroDivisionError), files.whole_folder(folder) as partial:
        raise ZeroDivisionError
    assert os.listdir(folder) == ["old"] and os.listdir(tmp_path) == ["model"]


def test_folder_when_its_writer_was_killed_then_the_next_clears_what_it_left(tmp_path):
    code = (
        "import os, sys\nfrom sersl.core import files\n"
        "with files.whole_folder(sys.argv[1]) as partial:\n"
        "    (partial / 'half').write_text('x')\n    os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "model")], check=False)
    assert len(os.listdir(tmp_path)) == 1
    with files.whole_folder(tmp_path / "model") as partial:
        (partial / "whole").write_text("")
    assert os.listdir(tmp_path) == ["model"]


def test_json_when_written_then_reads_back(tmp_path):
    content = {"name": "Ärger", "values": [1, 2.5, None, True], "more": {"a": {}}}
    files.write_json(tmp_path / "a.json", content)
    assert files.read_json(tmp_path / "a.json", what="test", remedy="-") == content
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert files.read_json(tmp_path / "a.json", what="test", remedy="-") == content


def test_json_when_a_path_is_not_utf8_then_reads_back(tmp_path):
    content = {"path": os.fsdecode(b"caf\xe9.wav")}
    files.write_json(tmp_path / "a.json", content)
    assert files.read_json(tmp_path / "a.json", what="test", remedy="-") == content


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 10_000 + b"}",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"a": "\xff"}',
        json.dumps({"a": 1}).encode("utf-16"),
    ],
)
def test_json_when_odd_then_is_refused_in_one_sentence(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(UserError, match=r"cannot be read: .*; export it again") as caught:
        files.read_json(path, what="settings", remedy="export it again")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_value_when_python_wrote_nan_then_is_none_if_allowed():
    assert files.parse_value("[1, NaN]", allow_nan=True) == [1, None]
    for text in ("NaN", "[Infinity]"):
        with pytest.raises(ValueError, match="is not a finite number"):
            files.parse_value(text)
    with pytest.raises(ValueError, match="Infinity is not a finite number"):
        files.parse_value("[Infinity]", allow_nan=True)


def test_value_when_python_wrote_infinity_then_is_it_if_allowed():
    nan, low, high = files.parse_value("[NaN, -Infinity, Infinity]", allow_infinite=True)
    assert math.isnan(nan) and (low, high) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="1e999 is not a finite number"):
        files.parse_value("[1e999]", allow_infinite=True)


def test_json_when_read_anywhere_in_the_package_then_by_the_strict_reader():
    package = Path(files.__file__).parents[1]
    reading = {"json.load", "json.loads", "json.JSONDecoder"}
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in reading
    }
    assert found == {"core/files.py"}


def test_json_when_it_is_no_plain_file_then_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing", "/dev/zero"):
        with pytest.raises(UserError, match="cannot be read"):
            files.read_json(path, what="settings", remedy="export it again")


@pytest.mark.parametrize("name", ["ravdess", "Session 1", "speaker-01", "früh", "a.b"])
def test_name_when_plain_then_is_taken(name):
    assert files.check_name(name, what="fold") == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/etc", "a/b", "a\\b", "a\nb", "\x1b[31m", " a", ".git", "x" * 300, 3],
)
def test_name_when_it_could_leave_its_folder_then_is_refused(name):
    with pytest.raises(UserError, match="fold"):
        files.check_name(name, what="fold")


def test_find_paths_when_a_folder_cannot_be_read_then_an_error_and_not_nothing(
    tmp_path, monkeypatch
):
    for name in ("a/1/x.json", "b/2/x.json", "b/2/y.json", "c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = [tmp_path / name for name in ("a/1/x.json", "b/2/x.json")]
    assert files.find_paths(tmp_path, "*/*/x.json") == found
    assert files.find_paths(tmp_path, "[!a]*") == [tmp_path / "b", tmp_path / "c"]
    assert (
        files.find_paths(tmp_path / "nowhere", "*") == files.find_paths(tmp_path / "c", "*") == []
    )
    iterdir = Path.iterdir

    def refuse(path):
        if path.name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(PermissionError):
        files.find_paths(tmp_path, "*/*/x.json")
    assert files.find_paths(tmp_path, "a/*/x.json") == found[:1]


def test_file_when_a_pipe_or_a_device_stands_there_then_it_stays_and_os_error(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match="it is a pipe, a socket or a device"):
            files.write_json(tmp_path / name, {})
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


def test_value_when_an_editor_of_windows_wrote_it_then_it_reads_back():
    assert files.parse_value('\ufeff{"złość": "angry"}\r\n'.encode()) == {"złość": "angry"}
