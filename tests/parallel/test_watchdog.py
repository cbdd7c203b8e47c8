"""The watchdog: who is gone is named by all others; and the relay that gives it the time to."""

import json
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from sersl.core.errors import UserError
from sersl.parallel import distributed, relay

ROOT = Path(__file__).parents[2]

# Forks the processes of a run and says, as JSON, how each ended and what it said. What each does is
# run after its name: a statement in which `number` is the process.
_RUN = """
import json, os, signal, socket, sys, tempfile, time
from sersl.core import interrupts
from sersl.core.errors import UserError
from sersl.parallel import watchdog
names, act = ["node0", "node1", "node2"], sys.argv[1]
server = socket.create_server(("localhost", 0))
port = server.getsockname()[1]
token = os.urandom(32)

def work(number):
    dog = watchdog.Watchdog(number, names, token=token, timeout_seconds=3)
    dog.serve(server) if number == 0 else dog.connect("localhost", port)
    watchdog._watchdog = dog
    time.sleep(1.5)  # all are connected
    @watchdog.ends_together
    def verb(arguments):
        exec(act)
        time.sleep(WAIT)
        return 0
    code = verb(None)
    time.sleep(1)  # as jax at the end waits for all
    interrupts.end_process(code)

WAIT = float(sys.argv[2])
children, errors = [], [tempfile.TemporaryFile("w+") for _ in names]
for number in range(3):
    child = os.fork()
    if child == 0:
        os.dup2(errors[number].fileno(), 2)
        work(number)
    children.append(child)
if sys.argv[3:]:
    time.sleep(2.5)
    os.kill(children[int(sys.argv[3])], signal.SIGSTOP)
begin, ended = time.monotonic(), {}
while len(ended) < 3 - bool(sys.argv[3:]):
    child, status = os.wait()
    ended[children.index(child)] = os.waitstatus_to_exitcode(status)
    assert time.monotonic() - begin < 60
seconds = time.monotonic() - begin
for child in set(range(3)) - set(ended):
    os.kill(children[child], signal.SIGKILL)
for file in errors:
    file.seek(0)
said = [file.read() for file in errors]
print(json.dumps({"codes": [ended.get(i) for i in range(3)], "said": said, "seconds": seconds}))
"""


def run(act: str, *, stopped: int | None = None, wait: float = 30) -> dict:
    words = [sys.executable, "-c", _RUN, act, str(wait)]
    words += [] if stopped is None else [str(stopped)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("gone", [0, 2])
def test_process_when_killed_then_each_other_names_it_and_ends(gone):
    answer = run(f"if number == {gone}: os.kill(os.getpid(), signal.SIGKILL)")
    for number in set(range(3)) - {gone}:
        assert answer["codes"][number] == 1
        (sentence,) = answer["said"][number].splitlines()
        assert sentence.startswith(f"sersl: process {gone} on node{gone} is gone (its connection")
    assert answer["codes"][gone] == -signal.SIGKILL
    assert answer["seconds"] < 15


def test_process_when_silent_then_each_other_names_it_after_the_timeout():
    answer = run("", stopped=1)
    assert answer["codes"] == [1, None, 1]
    for number in (0, 2):
        (sentence,) = answer["said"][number].splitlines()
        assert "process 1 on node1 is gone (silent for 3 s)" in sentence


@pytest.mark.parametrize("failing", [0, 1])
def test_process_when_it_fails_then_says_why_and_the_others_repeat_it(failing):
    answer = run(f"if number == {failing}: raise UserError('no room')")
    assert answer["codes"] == [2 if number == failing else 1 for number in range(3)]
    told = f"sersl: process {failing} on node{failing} has stopped: no room\n"
    assert answer["said"] == [
        "sersl: no room\n" if number == failing else told for number in range(3)
    ]


def test_process_when_its_disk_is_full_then_that_is_a_sentence_with_code_2():
    answer = run("if number == 1: raise OSError(28, 'No space left on device', 'run/starts.jsonl')")
    assert answer["codes"] == [1, 2, 1]
    words = "run/starts.jsonl cannot be used (No space left on device): make room"
    assert answer["said"][1].startswith(f"sersl: {words}")
    assert answer["said"][0].startswith(f"sersl: process 1 on node1 has stopped: {words}")


def test_process_when_its_last_words_cannot_be_written_then_it_ends_all_the_same():
    # A log on a full disk, for the one that fails and for one that is told.
    full = "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)"
    answer = run(f"if number: {full}\nif number == 1: raise UserError('no room')")
    assert answer["codes"] == [1, 2, 1]
    assert answer["said"][0] == "sersl: process 1 on node1 has stopped: no room\n"
    assert answer["seconds"] < 15


def test_processes_when_all_fail_alike_then_each_says_its_own():
    answer = run("raise UserError('diverged')")
    assert answer["codes"] == [2, 2, 2]
    assert answer["said"] == ["sersl: diverged\n"] * 3


def test_process_when_it_meets_a_bug_then_shows_the_traceback_and_the_others_one_sentence():
    answer = run("if number == 1: {}['key']")
    assert answer["codes"] == [1, 1, 1]
    assert "KeyError: 'key'" in answer["said"][1] and "Traceback" in answer["said"][1]
    assert answer["said"][2] == "sersl: process 1 on node1 has stopped: 'key'\n"


def test_processes_when_all_are_done_then_none_is_missed():
    answer = run("time.sleep(0.3 * number)", wait=0.2)
    assert answer["codes"] == [0, 0, 0]
    assert answer["said"] == [""] * 3


# Process 0 starts a stranger that does what it wants with the port of the watchdog.
_STRANGER = """
if number == 0:
    def meddle():
        held = []
        for data in (b"", b"garbage", b"[" * 99_999, b'{"process": 1}\\n',
                     b'{"process": 1}\\n{"end": "by a stranger"}\\n',
                     b'{"process": 2}\\n{"lost": "by a stranger"}\\n', b'{"process": 99}\\n'):
            for _ in range(20):
                peer = socket.create_connection(("localhost", port))
                held.append(peer)
                try:
                    peer.sendall(data + b"\\n")
                except OSError:
                    pass
        for peer in held[::2]:
            peer.close()
        time.sleep(7)  # longer than a handshake, and than the silence after which a process is gone
    import threading
    threading.Thread(target=meddle).start()
"""


def test_processes_when_strangers_connect_then_none_is_missed_and_none_ends():
    answer = run(_STRANGER, wait=8)
    assert answer["codes"] == [0, 0, 0]
    assert answer["said"] == [""] * 3


def test_process_when_strangers_connect_then_one_that_is_killed_is_still_named():
    answer = run(_STRANGER + "if number == 2: time.sleep(1); os.kill(os.getpid(), signal.SIGKILL)")
    assert answer["codes"] == [1, 1, -signal.SIGKILL]
    for number in (0, 1):
        (sentence,) = answer["said"][number].splitlines()
        assert sentence.startswith("sersl: process 2 on node2 is gone (its connection")


def test_process_when_it_is_interrupted_then_the_others_say_so():
    act = (
        "if number == 1:\n"
        # A background job of a shell ignores SIGINT; this process shall not, wherever it runs.
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    interrupts._sockets.clear(); interrupts.install()\n"
        "    interrupts.before_end(watchdog._watchdog.tell)\n"
        "    signal.raise_signal(signal.SIGINT)"
    )
    answer = run(act)
    assert answer["codes"] == [1, 130, 1]
    assert answer["said"][1] == "sersl: interrupted\n"
    assert answer["said"][0] == "sersl: process 1 on node1 has stopped: interrupted\n"


def test_relay_when_the_far_side_goes_away_then_the_near_side_stays_open():
    with socket.create_server(("127.0.0.1", 0)) as server:
        path = Path(relay.start(*server.getsockname()).removeprefix("unix:"))
        process = relay._RUNNING[-1]
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700  # of this user alone
        near = socket.socket(socket.AF_UNIX)
        near.connect(str(path))
        far, _ = server.accept()
    near.sendall(b"to the coordinator")
    assert far.recv(100) == b"to the coordinator"
    far.sendall(b"x" * 300_000)
    assert sum(len(near.recv(100_000, socket.MSG_WAITALL)) for _ in range(3)) == 300_000
    process.send_signal(signal.SIGTERM)  # is for the training process
    far.close()
    near.settimeout(1)
    with pytest.raises(TimeoutError):
        near.recv(1)
    assert process.poll() is None
    process.stdin.close()  # as the kernel does when the training process ends
    assert process.wait(timeout=10) == 0
    deadline = time.monotonic() + 10
    near.settimeout(10)
    assert near.recv(1) == b"" and time.monotonic() < deadline
    assert not path.parent.exists()


def test_relay_when_it_cannot_start_then_an_error_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(UserError, match="the relay to the coordinator a:1 did not start"):
        distributed._relay("a", 1)
