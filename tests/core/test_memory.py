"""How memory is kept: by a process that trains, and by one that compiles for other hardware."""

import functools
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


# Heaps from which eight threads take memory at once.
SHARES = """
import ctypes, sys, threading
from sersl.core.memory import share_one_heap
if sys.argv[1] == "share":
    assert share_one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
barrier = threading.Barrier(8)
addresses = []
def work():
    barrier.wait()
    addresses.append(libc.malloc(1000))
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
# A heap of its own begins at a multiple of 64 MiB; the shared one is where the process's data is.
print(len({address >> 26 for address in addresses}))
"""


@pytest.mark.parametrize(("how", "shared"), [("share", True), ("own", False)])
def test_threads_when_they_share_one_heap_then_take_memory_from_it(how, shared):
    done = subprocess.run(
        [sys.executable, "-c", SHARES, how], capture_output=True, text=True, check=True
    )
    assert (int(done.stdout) == 1) == shared


@pytest.mark.parametrize(
    ("verb", "called"),
    [("pretrain", "keep_freed_memory"), ("plan", "share_one_heap"), ("predict", None)],
)
def test_command_line_keeps_memory_as_its_verb_needs(verb, called, monkeypatch, capsys):
    calls = []
    for name in ("keep_freed_memory", "share_one_heap"):
        monkeypatch.setattr(cli, name, functools.partial(calls.append, name))
    words = {
        "pretrain": ["--config", "nowhere.py", "--workdir", "nowhere"],
        "plan": ["--config", "nowhere.py", "--topology", "cpu:1"],
        "predict": ["--model", "nowhere", "nothing.wav"],
    }
    assert main([verb, *words[verb]]) == 2
    assert calls == [name for name in [called] if name]
    capsys.readouterr()
