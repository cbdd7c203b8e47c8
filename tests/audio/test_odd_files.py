"""200 odd files, made from good ones in every format: samples or one sentence, nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NUMBER = 200
SEED = 7
MOST_SECONDS = 20.0  # for one file; the slowest takes 0.1
MOST_KIBIBYTES = 1 << 20  # resident, libraries included


@pytest.fixture(scope="module")
def answers():
    """(name of the file, what came of it) of all files; a crash ends the list."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.audio.odd_files", str(NUMBER), str(SEED)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    names = [line["name"] for line in lines[::2]]
    assert done.returncode == 0, f"{names[-1:]}: {done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr, done.stderr[-2000:]  # of callbacks from C
    return list(zip(names, lines[1::2], strict=True))


def test_odd_files_when_read_then_samples_or_one_sentence(answers):
    assert len(answers) == NUMBER
    for name, answer in answers:
        assert ("sentence" in answer) != ("samples" in answer), f"{name}: {answer}"
        assert "\n" not in answer.get("sentence", ""), name
        assert answer.get("finite", True), name
    # The test would show nothing if all were refused, or none.
    assert NUMBER / 5 < sum("samples" in answer for _, answer in answers) < NUMBER * 4 / 5


def test_odd_files_when_read_then_neither_slow_nor_large(answers):
    for name, answer in answers:
        assert answer["seconds"] < MOST_SECONDS, name
        assert answer["peak"] < MOST_KIBIBYTES, name
