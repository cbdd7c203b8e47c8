"""The lock on a workdir: held against other processes, and by nothing that is dead."""

import errno
import fcntl
import logging
import signal
import subprocess
import sys

import pytest

from sersl.core.errors import UserError
from sersl.runs.lock import locks_hold, only_run
from tests.tiny_runs import ROOT

_HOLD = """
import sys, time
from sersl.runs.lock import only_run
with only_run(sys.argv[1], first=True):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_workdir_when_another_run_has_it_then_refused_in_a_sentence_that_names_it(other, tmp_path):
    words = rf"workdir {tmp_path} is in use by another run \(process {other.pid} on .*\): wait"
    with pytest.raises(UserError, match=words), only_run(tmp_path, first=True):
        raise AssertionError
    # The other processes of a run do not ask.
    with only_run(tmp_path, first=False):
        pass


def test_workdir_when_its_run_was_killed_then_free(other, tmp_path):
    other.send_signal(signal.SIGKILL)
    other.wait()
    with only_run(tmp_path, first=True):
        pass
    with only_run(tmp_path, first=True):  # and free again afterwards
        pass


def test_workdir_when_its_file_system_has_no_locks_then_a_warning_says_so(
    tmp_path, monkeypatch, caplog
):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING), only_run(tmp_path, first=True):
        pass
    assert "has no locks (No locks available): make sure that no other run uses it" in caplog.text
    assert not locks_hold(tmp_path)


def test_workdir_when_it_cannot_be_made_then_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="cannot be written"),
        only_run(tmp_path / "file" / "run", first=True),
    ):
        raise AssertionError
