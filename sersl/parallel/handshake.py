"""Connections between the processes of one run; each side proves that it has the run's token.

A process that listens on a port must expect connections from anything: port scanners, health
checks, processes of another run. None of them may end the run, take the place of one of its
processes, or keep the others waiting.

Whoever listens sends a random challenge first. The other side answers with its own challenge, with
facts about itself, and with a keyed hash of both; then it gets a keyed hash of its challenge back.
"""

import contextlib
import hashlib
import hmac
import ipaddress
import json
import secrets
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping

from sersl.core.files import parse_json

VARIABLE = "SERSL_TOKEN"
SECONDS = 5.0  # for a whole handshake
_LINE_BYTES = 65536
_STRANGERS = 64  # handshakes at a time; further connections are closed at once
_POLL_SECONDS = 0.2
_VERSION = 1


class RefusedError(Exception):
    """The other side is part of a run of sersl with another token."""


class StrangerError(Exception):
    """The other side is not a process of sersl."""


def run_token(environment: Mapping[str, str]) -> bytes:
    """Derives the token from the variable SERSL_TOKEN, which is empty if it is not set."""
    return hashlib.sha256(f"sersl {environment.get(VARIABLE, '')}".encode()).digest()


class Channel:
    """A connection that carries one JSON object a line, both ways."""

    def __init__(self, peer: socket.socket):
        """Takes over a connected socket."""
        self._peer, self._read = peer, b""
        self._sending = threading.Lock()
        peer.settimeout(SECONDS)  # of sending

    def send(self, message: Mapping) -> None:
        """Sends one message.

        Raises:
          OSError: the connection broke.
        """
        with self._sending:
            self._peer.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, seconds: float) -> dict:
        """Waits for one message.

        Args:
          seconds: for all of it.

        Returns:
          The message.

        Raises:
          TimeoutError: it did not come in time.
          ConnectionError: the other side closed the connection.
          OSError: the connection broke.
          ValueError: what came is not a message.
        """
        deadline = time.monotonic() + seconds
        while b"\n" not in self._read:
            if not self._has_data(max(deadline - time.monotonic(), 0.0)):
                raise TimeoutError
            data = self._peer.recv(_LINE_BYTES)
            if not data:
                raise ConnectionResetError("closed by the other side")
            self._read += data
            if len(self._read) > _LINE_BYTES:
                raise ValueError("a line is too long")
        line, _, self._read = self._read.partition(b"\n")
        return parse_json(line)

    def is_gone(self) -> bool:
        """Tells whether the other side has closed the connection; for one that sends nothing."""
        try:
            return self._has_data(0.0) and not self._peer.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def close(self) -> None:
        """Closes the connection."""
        with contextlib.suppress(OSError):
            self._peer.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for a message
        self._peer.close()

    def _has_data(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._peer, select.POLLIN)
        return bool(poll.poll(1000 * seconds))


def connect(host: str, port: int, token: bytes, about: Mapping) -> Channel:
    """Connects to a `Door` of the same run.

    Args:
      host: where it listens.
      port: of the door.
      token: of the run.
      about: facts about this process, JSON.

    Returns:
      The channel.

    Raises:
      OSError: no process listens there.
      RefusedError: the door is of a run with another token.
      StrangerError: something else listens there.
    """
    channel = Channel(socket.create_connection((host, port), timeout=SECONDS))
    deadline = time.monotonic() + SECONDS
    try:
        nonce = str(channel.receive(SECONDS)["sersl"])
        own = secrets.token_hex(16)
        facts = json.dumps(dict(about), sort_keys=True)
        proof = _proof(token, nonce, facts)
        channel.send({"version": _VERSION, "nonce": own, "about": facts, "proof": proof})
        answer = channel.receive(deadline - time.monotonic())
    except (OSError, ValueError, KeyError) as error:
        channel.close()
        raise StrangerError from error
    if not _equal(answer.get("proof"), _proof(token, own, "door")):
        channel.close()
        raise RefusedError if "refused" in answer else StrangerError
    return channel


class Door:
    """Listens in the background and hands over every connection that proves the token."""

    def __init__(
        self, server: socket.socket, token: bytes, welcome: Callable[[Channel, dict], None]
    ):
        """Starts to listen.

        Args:
          server: bound and listening; closed with the door.
          token: of the run.
          welcome: called in a thread of its own with each channel and the facts about its process.
        """
        self._server, self._token, self._welcome = server, token, welcome
        self._free = threading.BoundedSemaphore(_STRANGERS)
        self._closed = threading.Event()
        self._refused: set[str] = set()
        server.settimeout(_POLL_SECONDS)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening; the port is free afterwards."""
        self._closed.set()
        self._thread.join()
        self._server.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                peer, address = self._server.accept()
            except TimeoutError:
                continue
            except OSError:  # too many open files, or a peer that has left
                time.sleep(_POLL_SECONDS)
                continue
            if not self._free.acquire(blocking=False):
                peer.close()
                continue
            threading.Thread(target=self._greet, args=(peer, address[0]), daemon=True).start()

    def _greet(self, peer: socket.socket, address: str) -> None:
        channel = Channel(peer)
        try:
            about = self._check(channel, address)
        except (OSError, ValueError, KeyError, TypeError):
            about = None
        finally:
            self._free.release()
        if about is None or self._closed.is_set():
            channel.close()
        else:
            self._welcome(channel, about)

    def _check(self, channel: Channel, address: str) -> dict | None:
        """Asks for the proof; gives the facts about the process, or None for another's."""
        deadline = time.monotonic() + SECONDS
        nonce = secrets.token_hex(16)
        channel.send({"sersl": nonce})
        hello = channel.receive(deadline - time.monotonic())
        facts = hello["about"]
        if not _equal(hello["proof"], _proof(self._token, nonce, str(facts))):
            channel.send({"refused": "another token"})
            self._report(address)
            return None
        channel.send({"proof": _proof(self._token, str(hello["nonce"]), "door")})
        return parse_json(str(facts))

    def _report(self, address: str) -> None:
        if address not in self._refused and len(self._refused) < _STRANGERS:
            self._refused.add(address)
            with contextlib.suppress(OSError):
                print(
                    f"sersl: refused a process at {address} that has another {VARIABLE}: give the "
                    "same one to all processes of a run",
                    file=sys.stderr,
                    flush=True,
                )


def listen(host: str | None, port: int, *, backlog: int = 128) -> socket.socket:
    """Opens a port on the interface of a host name.

    Args:
      host: of this machine, as the other processes reach it; None: unknown.
      port: 0 for one that the system chooses.
      backlog: connections that may wait.

    Returns:
      The listening socket, on all interfaces where the name belongs to none of this machine.

    Raises:
      OSError: the port is in use.
    """
    address = interface(host)
    if address is not None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family, backlog=backlog)
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog
        )
    return socket.create_server(("", port), backlog=backlog)


def interface(host: str | None) -> str | None:
    """Finds the address of this machine for a host name.

    Args:
      host: a name or an address; None: unknown.

    Returns:
      The address; None where it belongs to no interface of this machine, or is a loopback address
      under a name that other machines may resolve to something else, as Debian's 127.0.1.1.
    """
    if host is None:
        return None
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except OSError:
        return None
    # IPv4 first: clients try both addresses of "localhost".
    for family, *_, place in sorted(found, key=lambda info: info[0] != socket.AF_INET):
        address = str(place[0])
        loopback = ipaddress.ip_address(address.partition("%")[0]).is_loopback
        if loopback and not (host == "localhost" or _is_address(host)):
            continue
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
            return address
    return None


def _is_address(host: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host.strip("[]"))
        return True
    return False


def _proof(token: bytes, nonce: str, facts: str) -> str:
    return hmac.new(token, f"{nonce} {facts}".encode(), hashlib.sha256).hexdigest()


def _equal(given: object, wanted: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), wanted.encode())
