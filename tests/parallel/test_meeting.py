"""The processes of a run meet before jax is told: all go on together, or all say what is wrong."""

import socket
import threading
import time

import pytest

from sersl.core.errors import UserError
from sersl.parallel import handshake, meeting

TOKEN = handshake.run_token({"SERSL_TOKEN": "a secret"})


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(meeting, "_PORT_SECONDS", 1.0)
    monkeypatch.setattr(meeting, "_LINGER_SECONDS", 0.5)
    monkeypatch.setattr(meeting, "_STRANGER_SECONDS", 2.0)
    monkeypatch.setattr(meeting, "_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(handshake, "SECONDS", 1.0)


@pytest.fixture
def address() -> str:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return f"localhost:{server.getsockname()[1]}"


def meet(address: str, members, *, timeout_seconds: float = 20.0, tokens=None) -> list[str]:
    """Lets (number, count) meet, each in a thread; gives the sentence of each, or ""."""
    said = [""] * len(members)

    def work(place, number, count):
        own = {"token": (tokens or {}).get(number, TOKEN), "timeout_seconds": timeout_seconds}
        try:
            if number:
                meeting.attend(address, number, count, **own)
            else:
                meeting.host(address, count, **own)
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


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def connected(address: str) -> socket.socket:
    """Connects as soon as somebody listens."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("localhost", port_of(address)), timeout=5)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_processes_when_all_come_then_all_go_on_and_the_port_is_free(address):
    assert meet(address, [(3, 4), (1, 4), (0, 4), (2, 4)]) == [""] * 4
    assert meet(address, [(0, 2), (1, 2)]) == [""] * 2
    assert meet(address, [(0, 1)]) == [""]


def test_processes_when_some_do_not_come_then_all_that_came_name_them(address):
    said = meet(address, [(0, 5), (1, 5), (4, 5)], timeout_seconds=1.0)
    assert len(set(said)) == 1
    assert said[0].startswith("process 2, 3 of 5 did not connect to process 0 on ")
    assert f"at {address} within 1.0 s: check that each was started" in said[0]


def test_processes_when_a_number_is_given_twice_then_all_say_so(address):
    said = meet(address, [(0, 4), (1, 4), (1, 4), (2, 4)])
    assert len(set(said)) == 1
    assert said[0].startswith("two processes have the number 1 of 4, on ")


def test_processes_when_they_count_differently_then_both_say_so(address):
    said = meet(address, [(0, 2), (1, 3)])
    assert said[0] == said[1]
    assert "belongs to a run of 3 processes, process 0 on " in said[0]
    assert " to one of 2: " in said[0]


def test_process_when_it_went_away_and_came_again_then_it_is_welcome(address):
    first = threading.Thread(target=lambda: meet(address, [(0, 3)]))
    first.start()
    connected(address).close()
    about = {"process": 1, "count": 3, "host": "a"}
    handshake.connect("localhost", port_of(address), TOKEN, about).close()  # it was killed
    assert meet(address, [(1, 3), (2, 3)]) == ["", ""]
    first.join(timeout=10)
    assert not first.is_alive()


GARBAGE = (
    b"",  # holds the connection open
    b"GET / HTTP/1.0\r\n\r\n",
    b"\x16\x03\x01" + bytes(range(256)) * 400,
    b"[" * 50_000 + b"\n",
    b"{}\n[]\nnull\n1e999\n",
    b'{"process": 1, "count": 2, "host": "a"}\n',  # knows the numbers, but not the token
    b'{"process": 1, "count": 7, "host": "a"}\n',
    b'{"version": 1, "nonce": "", "proof": "", "about": "{\\"process\\": 1}"}\n',
    b'{"version": 1, "nonce": 3, "proof": 4, "about": 5}\n',
)


def test_processes_when_strangers_connect_then_they_meet_all_the_same(address, capsys):
    said: list[str] = []
    both = threading.Thread(target=lambda: said.extend(meet(address, [(0, 2)])))
    both.start()
    strangers = [connected(address) for _ in GARBAGE]
    for stranger, data in zip(strangers, GARBAGE, strict=True):
        stranger.sendall(data)
    time.sleep(0.3)
    for stranger in strangers[1:6]:
        stranger.close()
    begin = time.monotonic()
    assert meet(address, [(1, 2)]) == [""]
    both.join(timeout=10)
    assert said == [""] and time.monotonic() - begin < 5
    # One who speaks the protocol without the token is named, once.
    assert capsys.readouterr().err.count("that has another SERSL_TOKEN") == 1
    for stranger in strangers:
        stranger.close()


def test_processes_when_more_strangers_connect_than_may_then_they_meet_all_the_same(
    address, monkeypatch
):
    monkeypatch.setattr(handshake, "_STRANGERS", 3)
    both = threading.Thread(target=lambda: meet(address, [(0, 2)]))
    both.start()
    strangers = [connected(address) for _ in range(20)]
    assert meet(address, [(1, 2)]) == [""]
    both.join(timeout=10)
    assert not both.is_alive()
    for stranger in strangers:
        stranger.close()


def test_process_when_it_is_slow_on_purpose_then_nobody_waits_for_it(address):
    both = threading.Thread(target=lambda: meet(address, [(0, 2)]))
    both.start()
    stranger = connected(address)
    stop = threading.Event()

    def drip():
        while not stop.wait(0.1):
            try:
                stranger.sendall(b" ")
            except OSError:
                return

    dripping = threading.Thread(target=drip)
    dripping.start()
    dripping.join(timeout=10)
    assert not dripping.is_alive()  # closed by process 0, which waited for a whole message
    stop.set()
    assert meet(address, [(1, 2)]) == [""]
    both.join(timeout=10)
    assert not both.is_alive()


def test_process_when_it_has_another_token_then_it_ends_and_the_run_does_not(address):
    said: list[str] = []
    both = threading.Thread(target=lambda: said.extend(meet(address, [(0, 2)])))
    both.start()
    begin = time.monotonic()
    (other,) = meet(address, [(1, 2)], tokens={1: handshake.run_token({})})
    assert time.monotonic() - begin < 5
    assert f"reached another run at the coordinator {address}: give each run its own port" in other
    assert meet(address, [(1, 2)]) == [""]
    both.join(timeout=10)
    assert said == [""]


def test_process_when_nobody_is_there_then_names_the_address(address):
    (said,) = meet(address, [(1, 2)], timeout_seconds=0.3)
    assert said.startswith("process 1 of 2 on ")
    assert f"did not reach the coordinator {address} within 0.3 s: check that" in said


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.0 400 Bad Request\r\n\r\n", b'{"a": 1}\n'])
def test_processes_when_the_port_is_in_use_then_all_say_so_within_seconds(address, greeting):
    peers = []
    with socket.create_server(("localhost", port_of(address))) as server:

        def answer():
            while True:
                try:
                    peers.append(server.accept()[0])
                    peers[-1].sendall(greeting)
                except OSError:
                    return

        threading.Thread(target=answer, daemon=True).start()
        begin = time.monotonic()
        first, second = meet(address, [(0, 2), (1, 2)], timeout_seconds=900)
        assert time.monotonic() - begin < 10
        server.shutdown(socket.SHUT_RDWR)
    assert f"cannot open the port of the coordinator {address} (" in first
    assert "another port for all processes" in first
    assert f"found another program at the coordinator {address}: end that program" in second
    for peer in peers:
        peer.close()


def test_first_process_when_it_listens_then_on_the_interface_of_its_name_alone():
    with handshake.listen("localhost", 0) as server:
        assert server.getsockname()[0] == "127.0.0.1"
    assert handshake.interface("127.0.0.2") == "127.0.0.2"
    # Where the name says nothing, other machines must still get in.
    assert handshake.interface(None) is None
    assert handshake.interface("name.invalid") is None
    assert handshake.interface("192.0.2.1") is None  # of no interface here (RFC 5737)


def test_interface_when_a_host_name_is_a_loopback_address_here_then_it_is_not_taken(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.1.1", 0))]  # as on Debian
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert handshake.interface("node7") is None
    assert handshake.interface("localhost") == "127.0.1.1"
