"""Clients that are slow, leave, or send rubbish: the service answers the others."""

import base64
import gzip
import io
import os
import socket
import struct
import zipfile

import numpy as np
import pytest

from tests.fake_speech import make_voice
from tests.release.serve.running import running, wav

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
UPGRADE = (
    b"GET /stream?window=1&hop=1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    + base64.b64encode(b"0123456789abcdef")
    + b"\r\n\r\n"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    options = ("--seconds", "6", "--upload_mb", "1", "--audio_seconds", "60")
    with running(tmp_path_factory.mktemp("attacked"), *options) as service:
        yield service


@pytest.fixture(autouse=True)
def alive(served):
    yield
    served.check_idle()


def raw(served, data, *, unread=False):
    """Sends bytes over a connection of its own; unread: with a small buffer for answers."""
    connection = socket.socket()
    if unread:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(120)
    connection.connect(("127.0.0.1", served.port))
    connection.sendall(data)
    return connection


def opened(served, **options):
    """Opens a stream and waits until it is accepted."""
    connection = raw(served, UPGRADE, **options)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 101")
    return connection


def read_all(connection):
    """Reads until the service closes the connection."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@pytest.mark.slow
def test_post_when_clients_are_slow_or_leave_then_others_are_answered(served):
    head = HEAD + b"Content-Length: 5000\r\n\r\n"
    slow = [raw(served, head + b"RIFF") for _ in range(20)]
    slow += [raw(served, HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nRIFF\r\n")]
    slow_heads = [raw(served, b"POST /predict HTTP/1.1\r\nX: ") for _ in range(20)]
    whole = wav(make_voice(1.0))
    for _ in range(20):
        raw(served, head + b"RIFF").close()
        length = str(len(whole)).encode()
        raw(served, head.replace(b"5000", length) + whole).close()
    assert served.ask("GET", "/model")[0] == 200
    for connection in slow:
        with connection:
            assert read_all(connection).startswith(b"HTTP/1.1 408")
    for connection in slow_heads:
        with connection:
            assert read_all(connection) == b""


def test_post_when_chunks_never_end_then_it_is_refused_at_the_limit(served):
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with raw(served, HEAD + b"Transfer-Encoding: chunked\r\n\r\n") as connection:
        try:
            for _ in range(200):
                connection.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        else:
            raise AssertionError("the service took 13 MB, its limit is 1 MB")
    with raw(served, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + 17 * chunk) as connection:
        assert read_all(connection).startswith(b"HTTP/1.1 413")


@pytest.mark.slow
def test_connections_when_nobody_reads_their_answers_then_they_are_closed(served):
    many = b"GET /page.js HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000
    ping = b"\x89\xfd" + bytes(4) + b"p" * 125
    with raw(served, b"", unread=True) as plain, opened(served, unread=True) as stream:
        for connection, data in ((plain, many), (stream, 10_000 * ping)):
            connection.settimeout(60)
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                while True:
                    connection.sendall(data)


def flac_of(total, *, rate=16_000, channels=1):
    """Gives a FLAC file whose header counts `total` samples and which has none."""
    about = rate << 44 | (channels - 1) << 41 | 15 << 36 | total
    info = struct.pack(">HH", 4096, 4096) + bytes(6) + about.to_bytes(8, "big") + bytes(16)
    return b"fLaC\x80" + len(info).to_bytes(3, "big") + info


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", bytes(50_000_000))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        pytest.param(wav(np.zeros(40 * 16_000), kind="FLAC") * 3, (200, 413, 422), id="twice"),
        pytest.param(wav(np.zeros(90 * 16_000), kind="FLAC"), (413,), id="silence"),
        pytest.param(flac_of((1 << 36) - 1), (413, 422), id="count"),
        pytest.param(flac_of(1 << 30, rate=1, channels=8), (413, 422), id="rate"),
        pytest.param(wav(make_voice(1.0), kind="FLAC")[:-500], (200, 422), id="truncated"),
        pytest.param(zipped(), (422,), id="zip"),
        pytest.param(gzip.compress(bytes(50_000_000)), (422,), id="gzip"),
        pytest.param(b"\x00\x00\x00\x20ftypM4A " + b"\xff" * 5_000, (422,), id="mp4"),
        pytest.param(b"#!/bin/sh\nexit 1\n", (422,), id="script"),
        pytest.param(b"concat:/etc/passwd", (422,), id="playlist"),
        pytest.param(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", (422,), id="m3u"),
    ],
)
def test_post_when_a_container_promises_more_than_it_holds_then_it_is_refused(
    served, content, status
):
    found, answer = served.post(content)
    assert found in status
    if found != 200:
        assert "\n" not in answer["error"] and "root:" not in answer["error"]


def test_post_when_its_headers_are_wrong_then_a_status_says_so(served):
    content = wav(make_voice(1.0))
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    several = part + content + b"\r\n" + part + content + b"\r\n--x--\r\n"
    for headers, body, status, sentence in [
        ({"Content-Type": "text/html"}, content, 200, ""),
        ({"Content-Type": "application/x-www-form-urlencoded"}, content, 200, ""),
        ({"Content-Encoding": "gzip"}, gzip.compress(content), 415, "send the file as it is"),
        (FORM, several, 400, "several files"),
        (FORM, b"--x\r\n" + b"A: b\r\n" * 10_000, 400, "form"),
    ]:
        found, answer = served.ask("POST", "/predict", body, headers)
        assert (found, sentence in answer.get("error", "")) == (status, True)


@pytest.mark.parametrize(
    "data",
    [
        os.urandom(1_000),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # TLS
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/x\r\n\r\n",
        UPGRADE.replace(b"Version: 13", b"Version: 0"),
        UPGRADE.replace(b"Key: ", b"Key: not base64"),
        b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_connection_when_it_carries_rubbish_then_it_is_closed_with_a_4xx(served, data):
    with raw(served, data) as connection:
        answer = read_all(connection)
    assert not answer or answer.startswith(b"HTTP/1.1 4"), answer[:200]


@pytest.mark.parametrize(
    "frame",
    [
        os.urandom(1_000),
        b"\x82\x05hello",  # not masked
        b"\x83\x80" + bytes(4),  # an opcode that is not in use
        b"\xf2\x80" + bytes(4),  # reserved bits
        b"\x82\xff" + struct.pack(">Q", 1 << 62) + bytes(4),  # 4 EiB follow
        b"\x80\x80" + bytes(4),  # the rest of a message that never began
        b"\x81\x82" + bytes(4) + b"\xc3\x28",  # no UTF-8
        b"\x89\xfe\xff\xff" + bytes(4) + bytes(65_535),  # a ping of 64 KiB
        b"\x88\x81" + bytes(4) + b"x",  # half a code
        b"\x02\xfe\xff\xff" + bytes(4) + bytes(65_535) + 30 * (b"\x00\xfe\xff\xff" + bytes(65_539)),
    ],
)
def test_stream_when_a_client_sends_rubbish_then_it_is_closed(served, frame):
    with opened(served) as connection:
        connection.sendall(frame)
        assert b"\x88" in read_all(connection)  # a frame that closes


def test_streams_when_clients_vanish_then_their_places_are_free(served):
    for _ in range(40):
        with opened(served) as connection:
            connection.sendall(b"\x82\x84" + bytes(8))
        raw(served, UPGRADE).close()
    served.check_idle()
    with opened(served) as connection:
        connection.sendall(b"\x81\x86" + bytes(4) + b"finish")
        assert b"\x88\x02\x03\xe8" in read_all(connection)  # 1000: it ended well
