"""A service in a process of its own, and requests to it."""

import contextlib
import dataclasses
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse

import soundfile

from tests.fake_speech import RATE
from tests.release import fake_model
from tests.tiny_runs import ROOT


@dataclasses.dataclass
class Served:
    """A running service."""

    process: subprocess.Popen
    port: int
    log: str

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method, path, body=None, headers=None):
        """Sends a request; returns the status and the JSON, or text, of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.headers["Content-Type"].startswith("application/json"):
            return answer.status, json.loads(content)
        return answer.status, content.decode()

    def post(self, body, **query):
        """Posts audio."""
        return self.ask("POST", f"/predict?{urllib.parse.urlencode(query)}", body)

    def number(self, name):
        """Reads a number of /metrics."""
        text = self.ask("GET", "/metrics")[1]
        return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)[1])

    def check_idle(self):
        """Fails unless the service lives and holds nothing of a request any more."""
        assert self.process.poll() is None
        assert self.ask("GET", "/healthz") == (200, {"status": "ok"})
        deadline = time.monotonic() + 60
        names = ("sersl_held_bytes", "sersl_requests_in_progress", "sersl_streams")
        while any(self.number(name) for name in names):
            assert time.monotonic() < deadline, "what a request held was not given back"
            time.sleep(0.05)

    def stop(self, number=signal.SIGTERM):
        """Sends a signal and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


def wav(waveform, rate=RATE, kind="WAV"):
    """Encodes a waveform as a file."""
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, format=kind)
    return file.getvalue()


def command(folder, *options):
    """The command that serves the model in a folder."""
    return [sys.executable, "-m", "sersl", "serve", "--model", str(folder / "model"), *options]


@contextlib.contextmanager
def running(folder, *options):
    """Serves a tiny model and waits until it is ready."""
    if not (folder / "model").exists():
        fake_model.write_fake(folder / "model")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    log = folder / "log"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command(folder, "--port", "0", *options), stderr=file, env=environment
        )
    try:
        served = Served(process, 0, str(log))
        deadline = time.monotonic() + 900  # on a busy machine
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            found = re.search(r"serving http://[0-9.]+:(\d+)", log.read_text())
            if found:
                served.port = int(found[1])
                if served.ask("GET", "/readyz")[0] == 200:
                    break
            time.sleep(0.1)
        yield served
    finally:
        process.kill()
        process.wait()
        assert "Traceback" not in log.read_text(), log.read_text()
