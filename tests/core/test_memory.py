"""Memory that is freed stays with the process when it trains, and only then."""

import subprocess
import sys

import pytest

from sersl.cli import main as cli
from sersl.cli.main import main

# Resident MiB that a process keeps of 256 that it took and freed.
KEEPS = """
import sys
from sersl.core.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
import numpy as np
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20
before = resident()
array = np.ones(2**25)
del array
print(resident() - before)
"""


@pytest.mark.parametrize(("how", "least", "most"), [("keep", 240, 300), ("return", -20, 20)])
def test_freed_memory_when_kept_then_the_process_holds_it(how, least, most):
    done = subprocess.run(
        [sys.executable, "-c", KEEPS, how], capture_output=True, text=True, check=True
    )
    assert least < float(done.stdout) < most


@pytest.mark.parametrize(("verb", "kept"), [("pretrain", True), ("predict", False)])
def test_command_line_keeps_freed_memory_only_when_it_trains(verb, kept, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(cli, "keep_freed_memory", lambda: calls.append(verb))
    words = {
        "pretrain": ["--config", "nowhere.py", "--workdir", "nowhere"],
        "predict": ["--model", "nowhere", "nothing.wav"],
    }
    assert main([verb, *words[verb]]) == 2
    assert calls == [verb] * kept
    capsys.readouterr()
