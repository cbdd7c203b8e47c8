"""Ctrl-C and SIGTERM at any moment: one sentence, exit code 130 or 143, no traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.multi_process.processes import free_port

ROOT = Path(__file__).parents[2]
ENDS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "ended by SIGTERM")}

_PROGRAM = """
import os, signal, sys, time
from sersl.core import interrupts
interrupts.install()
{act}
"""
# A library that takes every exception, and C code that no signal ends.
SWALLOW = """
print("ready", flush=True)
while True:
    try:
        time.sleep(60)
    except BaseException:
        pass
"""
IN_C = """
print("ready", flush=True)
import ctypes
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
ctypes.CDLL(None).sleep(60)
"""
CLEANUP = """
with interrupts.cleanup_allowed():
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("cleaned up", flush=True)
        sys.exit(130)
"""
SLOW_CLEANUP = CLEANUP.replace("sys.exit(130)", "time.sleep(60)")


# Whoever runs the tests may ignore SIGINT, which a program then does too.
_HEED = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


def start(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _HEED, *words],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def program(act: str) -> subprocess.Popen[str]:
    process = start("-c", _PROGRAM.format(act=act))
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("act", [SWALLOW, IN_C])
def test_program_when_nothing_would_raise_then_it_ends_all_the_same(act, number):
    process = program(act)
    for _ in range(3):
        process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (ENDS[number][0], f"sersl: {ENDS[number][1]}\n")


def test_program_when_cleanup_is_allowed_then_the_first_interrupt_raises():
    process = program(CLEANUP)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "cleaned up\n", "")


def test_program_when_interrupted_twice_then_it_does_not_wait_for_its_cleanup():
    process = program(SLOW_CLEANUP)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None and process.stdout.readline() == "cleaned up\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "sersl: interrupted\n")


def test_program_when_it_forks_then_the_child_has_the_usual_handlers():
    child = "os.kill(os.getpid(), signal.SIGINT); time.sleep(9)"
    fork = f"pid = os.fork()\nif not pid:\n    {child}\nprint(os.waitpid(pid, 0)[1], flush=True)"
    # Python 3.12 and later warn of forks beside threads in the main program.
    done = start("-Wignore::DeprecationWarning", "-c", _PROGRAM.format(act=fork))
    out, err = done.communicate(timeout=20)
    assert (done.returncode, out, err) == (0, f"{int(signal.SIGINT)}\n", "")


PRETRAIN = ("pretrain", "--config", "configs/pretrain/emotion_aware.py:nano", "--workdir")


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0])
def test_start_up_when_signalled_at_any_moment_then_one_sentence(tmp_path, seconds, number, times):
    # Process 1 of a run whose process 0 never comes: it would wait for 15 minutes.
    others = {
        "SERSL_COORDINATOR": f"localhost:{free_port()}",
        "SERSL_NUM_PROCESSES": "2",
        "SERSL_PROCESS_ID": "1",
    }
    process = start("-m", "sersl", *PRETRAIN, str(tmp_path), **others)
    time.sleep(seconds)
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.01)
    out, err = process.communicate(timeout=30)
    code, reason = ENDS[number]
    assert process.returncode == code, err
    # Before sersl is loaded nothing is printed.
    assert out == "" and err in ("", f"sersl: {reason}\n")
