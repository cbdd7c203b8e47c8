import contextlib
import multiprocessing.connection
import os
import signal
import time

import psutil
import pytest

from sersl.core.errors import UserError
from sersl.core.processes import in_processes


def double(number):
    return 2 * number


def refuse(number):
    if number == 3:
        raise UserError(f"no {number}")
    return number


def send_half_and_die(number):
    if number == 1:
        multiprocessing.connection.Connection._send = _send_half
    return number


def _send_half(connection, message):
    os.write(connection.fileno(), message[: len(message) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(seconds):
    time.sleep(seconds)
    return os.getpid()


def workers():
    """The running processes that share work, without multiprocessing's own helper.

    A process that an earlier test killed may still be listed, as a zombie without a command line.
    """
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def run(work, tasks, **more):
    return in_processes(work, tasks, doing="doubling", **{"processes": 2, **more})


def test_tasks_when_shared_then_results_in_order_and_processes_gone():
    assert list(run(double, range(50))) == [2 * number for number in range(50)]
    assert not workers()


def test_tasks_when_results_are_not_taken_then_few_are_drawn_and_processes_end():
    drawn = []
    with contextlib.closing(run(double, (drawn.append(i) or i for i in range(1000)))) as results:
        assert next(results) == 0
        time.sleep(0.2)
    assert len(drawn) <= 4
    assert not workers()


def test_work_when_it_raises_then_raised_in_its_place():
    results = run(refuse, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="no 3"):
        next(results)


def test_process_when_killed_in_the_middle_of_a_result_then_one_sentence():
    results = run(send_half_and_die, range(10))
    with pytest.raises(UserError, match=r"^a process doubling was killed, .*fewer --processes$"):
        list(results)
    assert not workers()


def test_process_when_killed_then_the_others_are_not_waited_for():
    results = run(sleep, [0.0, 0.0, 60.0, 60.0, 60.0])
    number = next(results)
    started = time.monotonic()
    os.kill(number, signal.SIGKILL)
    with pytest.raises(UserError, match="was killed, perhaps because"):
        list(results)
    assert time.monotonic() - started < 30
    assert not workers()
