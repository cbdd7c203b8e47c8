"""The processes of a run meet before jax is told: all go on together, or all say what is wrong."""

import socket
import threading
import time

import pytest

from sersl.core.errors import UserError
from sersl.parallel import meeting


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(meeting, "_PORT_SECONDS", 1.0)
    monkeypatch.setattr(meeting, "_HELLO_SECONDS", 1.0)
    monkeypatch.setattr(meeting, "_RETRY_SECONDS", 0.05)


@pytest.fixture
def address() -> str:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return f"localhost:{server.getsockname()[1]}"


def meet(address: str, members, *, timeout_seconds: float = 20.0) -> list[str]:
    """Lets (number, count) meet, each in a thread; gives the sentence of each, or ""."""
    said = [""] * len(members)

    def work(place, number, count):
        try:
            if number:
                meeting.attend(address, number, count, timeout_seconds=timeout_seconds)
            else:
                meeting.host(address, count, timeout_seconds=timeout_seconds)
        except UserError as error:
            said[place] = str(error)

    threads = [
        threading.Thread(target=work, args=(place, *member)) for place, member in enumerate(members)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    return said


def test_processes_when_all_come_then_all_go_on_and_the_port_is_free(address):
    assert meet(address, [(3, 4), (1, 4), (0, 4), (2, 4)]) == [""] * 4
    assert meet(address, [(0, 2), (1, 2)]) == [""] * 2
    assert meet(address, [(0, 1)]) == [""]


def test_processes_when_some_do_not_come_then_all_that_came_name_them(address):
    said = meet(address, [(0, 5), (1, 5), (4, 5)], timeout_seconds=1.0)
    assert len(set(said)) == 1
    assert said[0].startswith("process 2, 3 of 5 did not come to process 0 on ")
    assert f"at {address} within 1.0 s: see whether each was started" in said[0]


def test_processes_when_a_number_is_given_twice_then_all_say_so(address):
    said = meet(address, [(0, 3), (1, 3), (1, 3)])
    assert len(set(said)) == 1
    assert said[0].startswith("two processes are number 1 of 3, on ")


def test_processes_when_they_count_differently_then_both_say_so(address):
    said = meet(address, [(0, 2), (1, 3)])
    assert said[0] == said[1]
    assert "is of a run of 3 processes, process 0 on " in said[0] and " one of 2: " in said[0]


def test_process_when_it_went_away_and_came_again_then_it_is_welcome(address):
    port = int(address.rpartition(":")[2])
    early = threading.Thread(target=lambda: meet(address, [(0, 3)]))
    early.start()
    deadline = time.monotonic() + 10
    while True:  # comes, and is killed
        try:
            with socket.create_connection(("localhost", port), timeout=1) as peer:
                peer.sendall(b'{"process": 1, "count": 3, "host": "a"}\n')
                time.sleep(0.2)
            break
        except OSError:
            assert time.monotonic() < deadline
    with socket.create_connection(("localhost", port), timeout=1) as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert meet(address, [(1, 3), (2, 3)]) == ["", ""]
    early.join(timeout=10)
    assert not early.is_alive()


def test_process_when_nobody_is_there_or_a_stranger_then_names_the_address(address):
    (said,) = meet(address, [(1, 2)], timeout_seconds=0.3)
    assert said.startswith("process 1 of 2 on ")
    assert f"did not reach the coordinator {address} within 0.3 s: check that" in said
    with socket.create_server(("localhost", int(address.rpartition(":")[2]))) as server:

        def answer():
            peer, _ = server.accept()
            peer.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            peer.close()

        threading.Thread(target=answer, daemon=True).start()
        (said,) = meet(address, [(1, 2)], timeout_seconds=0.5)
    assert f"coordinator {address}, where something else answers, within" in said


def test_first_process_when_its_port_is_taken_then_says_so(address):
    with socket.create_server(("", int(address.rpartition(":")[2]))):
        (said,) = meet(address, [(0, 2)])
    assert f"cannot open the port of the coordinator {address} (" in said
    assert "or choose another port" in said
