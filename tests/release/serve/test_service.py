"""A running service: answers, refusals, streams and its end."""

import concurrent.futures
import json
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.parse

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import sersl
from sersl.cli.main import main
from tests.fake_speech import RATE, make_voice
from tests.release import fake_model
from tests.release.serve.running import running, wav

LIMITS = ("--upload_mb", "1", "--audio_seconds", "20", "--seconds", "300", "--memory_mb", "20")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def served(folder):
    with running(folder, *LIMITS) as service:
        yield service


@pytest.fixture(scope="module")
def model(served, folder):
    return sersl.load(folder / "model")


@pytest.fixture(autouse=True)
def alive(served):
    yield
    served.check_idle()


def same(found, expected):
    """Compares a row of JSON with one of `Model.predict`."""
    assert (found["category"], found["status"]) == (expected["category"], expected["status"])
    for group in ("scores", "dimensions"):
        assert found[group] == pytest.approx(expected[group], abs=1e-4)
    assert found["end"] == pytest.approx(expected["end"], abs=1e-3)


def test_post_when_a_file_is_sent_then_the_answer_is_that_of_predict(served, model):
    content = wav(make_voice(3.0))
    status, found = served.post(content, name="../../etc/x\x1b[31m\n.wav")
    assert status == 200 and found["file"] == "../../etc/x\\x1b[31m\\n.wav"
    expected = model.predict(content)
    assert found.keys() == expected.keys() - {"embedding"}
    same(found, expected)
    status, found = served.post(content, window=1, hop=0.5, frames=1, embedding=1)
    rows = model.predict(content, window=1, hop=0.5, frames=True)
    assert status == 200 and len(found) == len(rows)
    for one, row in zip(found, rows, strict=True):
        same(one, row)
        np.testing.assert_allclose(one["embedding"], row["embedding"], atol=1e-4)
        assert one["frames"].keys() == row["frames"].keys()


def test_post_when_a_form_is_sent_then_its_first_file_is_taken(served, model):
    content = wav(make_voice(2.0), kind="FLAC")
    form = (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nnot a file\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="../q.flac"\r\n'
        b"Content-Type: audio/flac\r\n\r\n" + content + b"\r\n--x--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    status, found = served.ask("POST", "/predict", form, kind)
    assert status == 200 and found["file"] == "../q.flac"
    same(found, model.predict(content))
    for broken, sentence in [
        (form[:100], "no file"),
        (form[: len(form) // 2], "ends within"),
        (b"rubbish", "form"),
    ]:
        status, found = served.ask("POST", "/predict", broken, kind)
        assert status == 400 and sentence in found["error"]
    status, found = served.ask("POST", "/predict", form, {"Content-Type": "multipart/form-data"})
    assert status == 400 and "boundary" in found["error"]


def lying_header(rate=RATE, size=0xFFFFFFF0):
    data = bytearray(wav(make_voice(1.0)))
    data[4:8] = data[40:44] = struct.pack("<I", size)
    data[24:28] = struct.pack("<I", rate)
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (b"", 422, "empty"),
        (b"\0" * 1000, 422, "not audio"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt ", 422, "the upload"),
        (lying_header(rate=1), 422, "sample rate of 1 Hz"),
        (lying_header(rate=0xFFFFFFFF), 422, "the upload"),
        (wav(make_voice(2.0), kind="FLAC")[:2000], 422, "the upload"),
        (wav(make_voice(2.0), kind="OGG")[:300], 422, "the upload"),
        (wav(np.full(16_000, np.nan, np.float32), kind="AIFF")[:50], 422, "the upload"),
        (wav(np.zeros(30 * 4_000, np.int16), rate=4_000), 413, "longer than 20 s"),
        (b"\0" * 1_000_001, 413, "larger than 1 MB"),
        (json.dumps({"audio": "x"}).encode(), 422, "not audio"),
    ],
)
def test_post_when_the_upload_is_hostile_then_a_sentence_says_why(
    served, content, status, sentence
):
    found, answer = served.post(content)
    assert found == status and sentence in answer["error"]
    assert "\n" not in answer["error"] and "audio in memory" not in answer["error"]


def test_post_when_a_header_counts_too_many_samples_then_those_that_are_there_are_scored(served):
    status, found = served.post(lying_header())
    assert status in (200, 422)
    assert found.get("end", 1.0) == pytest.approx(1.0, abs=0.01)


def test_post_when_there_is_nothing_to_score_then_the_status_says_so(served):
    for content, status in [
        (wav(np.zeros(RATE)), "silent"),
        (wav(make_voice(0.05)), "too_short"),
    ]:
        code, found = served.post(content)
        assert (code, found["status"]) == (200, status)
        assert found["error"].startswith("the upload is") and not found["scores"]


def test_paths_when_they_are_unknown_then_a_sentence_says_what_there_is(served):
    for method, path, status in [
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "/predict", 405),
        ("POST", "/predict?windows=1", 400),
    ]:
        found, answer = served.ask(method, path, b"x" if method == "POST" else None)
        assert found == status and set(answer) == {"error"}


def test_pages_when_they_are_read_then_nothing_comes_from_elsewhere(served):
    for path in ("/", "/page.js", "/page.css", "/drawing.js", "/capture.js", "/icon.svg"):
        status, text = served.ask("GET", path)
        outside = text.replace("http://www.w3.org/2000/svg", "").replace("http://ADDRESS", "")
        assert status == 200 and "http://" not in outside and "https://" not in outside
    about = served.ask("GET", "/model")[1]
    assert about["model"] == "model" and about["categories"] == list(fake_model.NAMES)
    assert about["limits"]["upload_mb"] == 1.0


def raw(served, data):
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=30)
    connection.sendall(data)
    return connection


def test_post_when_ten_gigabytes_are_announced_then_it_is_refused_unread(served):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n"
    started = time.monotonic()
    with raw(served, head + b"x" * 1000) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")
    assert time.monotonic() - started < 6


def test_posts_when_many_come_at_once_then_none_is_lost(served, model):
    uploads = [wav(make_voice(0.5 + 0.25 * (i % 7), i)) for i in range(8)]
    expected = model.predict(uploads)
    before = served.number('sersl_requests_total{status="200"}')
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(served.post, uploads * 8))
    assert [status for status, _ in answers] == [200] * 64
    for i, (_, found) in enumerate(answers):
        same(found, expected[i % 8])
    assert served.number('sersl_requests_total{status="200"}') == before + 64
    assert served.number("sersl_batch_size_count") < before + 64  # some shared a batch


def stream(served, **query):
    return connect(f"ws://127.0.0.1:{served.port}/stream?{urllib.parse.urlencode(query)}")


@pytest.mark.parametrize(("encoding", "rate"), [("s16", 16_000), ("f32", 44_100)])
def test_stream_when_chunks_are_sent_then_the_answers_are_those_of_windows(
    served, model, encoding, rate
):
    voice = make_voice(3.2, rate=rate)
    if encoding == "s16":
        voice = np.round(voice * 32767).astype("<i2")
    own = model.stream(rate, window=1.0, hop=0.5)
    expected = [*own.add(voice), *own.finish()]
    with stream(served, sample_rate=rate, encoding=encoding, window=1, hop=0.5) as socket_:
        for chunk in np.array_split(voice, 13):
            socket_.send(chunk.tobytes())
        socket_.send("finish")
        found = [json.loads(message) for message in socket_]
    assert len(found) == len(expected) == 6
    for one, row in zip(found, expected, strict=True):
        assert one["start"] == pytest.approx(row["start"])
        same(one, row)
    assert socket_.protocol.close_code == 1000


@pytest.mark.parametrize(
    ("query", "message", "sentence"),
    [
        ({"sample_rate": "16"}, b"", "out of range"),
        ({"sample_rate": "x"}, b"", "not a whole number"),
        ({"encoding": "mp3"}, b"", "unknown encoding"),
        ({"speech": "1", "window": "2"}, b"", "give one"),
        ({}, b"odd", "no whole number of samples"),
        ({}, "rubbish", "a text message is 'finish'"),
        ({"encoding": "f32"}, b"\xff\xff\xff\x7f" * 4, "NaN"),
    ],
)
def test_stream_when_something_is_wrong_then_a_sentence_says_so(served, query, message, sentence):
    with stream(served, **query) as socket_:
        if message:
            socket_.send(message)
        assert sentence in json.loads(socket_.recv(timeout=20))["error"]
        with pytest.raises(ConnectionClosed):
            socket_.recv(timeout=20)
    assert socket_.protocol.close_code == 1008


def test_stream_when_a_page_of_another_site_opens_it_then_it_is_refused(served):
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{served.port}/stream", origin="http://elsewhere.example")
    with connect(
        f"ws://127.0.0.1:{served.port}/stream", origin=f"http://127.0.0.1:{served.port}"
    ) as socket_:
        socket_.send("finish")
        assert list(socket_) == []


def test_service_when_its_port_is_in_use_then_one_sentence_and_exit_code_2(served, folder, capsys):
    arguments = ["serve", "--model", str(folder / "model"), "--port", str(served.port)]
    assert main(arguments) == 2
    assert f"port {served.port} of 127.0.0.1 is in use" in capsys.readouterr().err
    assert main(["serve", "--model", str(folder / "missing"), "--port", "0"]) == 2
    assert "missing" in capsys.readouterr().err
    assert main(["serve", "--model", str(folder / "model"), "--host", "no such host"]) == 2
    assert "no such host is not known" in capsys.readouterr().err
    fake_model.write_fake_encoder(folder / "encoder")
    assert main(["serve", "--model", str(folder / "encoder"), "--port", "0"]) == 2
    assert "without heads" in capsys.readouterr().err


def test_serve_when_the_extra_is_not_installed_then_the_error_names_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "sersl.release.serve.server", raising=False)
    monkeypatch.delattr("sersl.release.serve.server", raising=False)
    assert main(["serve", "--model", "anything"]) == 2
    assert "sersl[serve]" in capsys.readouterr().err


def test_service_when_it_is_terminated_then_what_it_took_is_answered(folder):
    with running(folder, "--batch_delay", "2") as service:
        with stream(service, window=1, hop=1) as socket_:
            socket_.send(np.zeros(8_000, "<i2").tobytes())
            with concurrent.futures.ThreadPoolExecutor(2) as threads:
                taken = [threads.submit(service.post, wav(make_voice(1.0))) for _ in range(2)]
                while service.number("sersl_requests_in_progress") < 2:
                    time.sleep(0.01)
                service.process.send_signal(signal.SIGTERM)
                assert [one.result()[0] for one in taken] == [200, 200]
            assert json.loads(socket_.recv(timeout=60))["status"] == "silent"
            with pytest.raises(ConnectionClosed):
                socket_.recv(timeout=60)
            assert socket_.protocol.close_code == 1012
        with pytest.raises(ConnectionError):
            service.ask("GET", "/healthz")
        assert service.process.wait(60) == 0


def test_service_when_it_is_killed_then_its_decoders_end(folder):
    with running(folder) as service:
        tool = ["ps", "-o", "pid=", "--ppid", str(service.process.pid)]
        children = subprocess.run(tool, capture_output=True, text=True).stdout.split()
        assert len(children) == 2
        service.stop(signal.SIGKILL)
        deadline = time.monotonic() + 20
        while subprocess.run(["ps", "-p", ",".join(children)], capture_output=True).returncode == 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
