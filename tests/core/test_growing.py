"""One process writes a growing file; its rows survive a kill, and no other process takes them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from sersl.core.errors import UserError
from sersl.core.growing import growing_file

WRITER = """
import sys, time
from sersl.core.growing import growing_file
with growing_file(sys.argv[1]) as file:
    file.write("first\\n")
    print("ready", flush=True)
    sys.stdin.readline()
"""


def started(path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_file_when_another_process_writes_it_then_is_refused_and_the_rows_of_the_first_stay(
    tmp_path,
):
    path = tmp_path / "a.csv"
    with started(path) as process:
        with pytest.raises(UserError, match="by another process"), growing_file(path):
            raise AssertionError("opened")
        process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert path.read_text() == "first\n" and os.listdir(tmp_path) == ["a.csv"]
    with growing_file(path) as file:
        file.write("second\n")
    assert path.read_text() == "second\n"


def test_file_when_its_writer_is_killed_then_what_was_written_is_in_the_part(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old\n")
    with started(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert path.read_text() == "old\n" and (tmp_path / "a.csv.part").read_text() == "first\n"
    with growing_file(path) as file:
        file.write("second\n")
    assert path.read_text() == "second\n" and os.listdir(tmp_path) == ["a.csv"]


def test_file_when_many_processes_write_it_at_once_then_it_is_whole_of_one(tmp_path):
    code = (
        "import sys, time\nfrom sersl.core.errors import UserError\n"
        "from sersl.core.growing import growing_file\n"
        "for turn in range(200):\n"
        "    try:\n"
        "        with growing_file(sys.argv[1]) as file:\n"
        "            for _ in range(20): file.write(f'{sys.argv[2]} {turn}\\n')\n"
        "    except UserError: pass\n"
    )
    path = tmp_path / "a.csv"
    command = [sys.executable, "-c", code, str(path)]
    writers = [subprocess.Popen([*command, str(number)]) for number in range(3)]
    until = time.monotonic() + 60
    while any(writer.poll() is None for writer in writers):
        assert time.monotonic() < until
        if path.exists():
            lines = path.read_text().splitlines()
            assert len(lines) == 20 and len(set(lines)) == 1
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert os.listdir(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("name", ["a/b.csv", "x" * 300 + ".csv", "folder"])
def test_file_when_it_cannot_be_written_then_one_sentence(tmp_path, name):
    (tmp_path / "a").write_text("a file, not a folder")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot be written"), growing_file(tmp_path / name):
        raise AssertionError("opened")
    assert sorted(os.listdir(tmp_path)) == ["a", "folder"]


def test_file_when_a_name_is_not_utf8_then_its_bytes_can_be_found_again(tmp_path):
    with growing_file(tmp_path / "a.jsonl") as file:
        file.write(os.fsdecode(b"caf\xe9.wav"))
    assert (tmp_path / "a.jsonl").read_bytes() == b"caf\\udce9.wav"


def test_file_when_the_block_cannot_read_something_else_then_the_error_is_of_that(tmp_path):
    missing = tmp_path / "model" / "sersl.json"
    with pytest.raises(FileNotFoundError, match="model"), growing_file(tmp_path / "a.csv"):
        missing.read_bytes()
    assert list(tmp_path.iterdir()) == []
