"""Measures `sersl serve` on this machine: throughput by clients, lost requests, memory."""

import concurrent.futures
import contextlib
import http.client
import itertools
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from sersl.core.errors import UserError
from sersl.corpora.listing import AUDIO_EXTENSIONS, list_files

_CLIENTS = (1, 8, 64)
_TRIES = 1_000  # of a request that is refused with 503
_PARTS = 10  # of the long run, between which memory is read


def add_options(parser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--model", required=True, metavar="DIR")
    parser.add_argument("--audio_dir", required=True, metavar="DIR")
    parser.add_argument("--files", type=int, default=100, metavar="N", help="drawn with seed 0")
    parser.add_argument("--requests", type=int, default=400, metavar="N", help="per line")
    parser.add_argument("--long", type=int, default=10_000, metavar="N", help="for memory; 0: none")


def run(arguments) -> dict:
    """Compares a service, asked by 1, 8 and 64 clients, with predict on the same files.

    Raises:
      UserError: there is no audio, or the service does not start.
    """
    folder = Path(arguments.audio_dir)
    names = sorted(list_files(folder, AUDIO_EXTENSIONS))
    if not names:
        raise UserError(f"--audio_dir {folder} holds no audio: give a folder of wav or flac files")
    order = np.random.default_rng(0).permutation(len(names))[: arguments.files]
    files = [folder / names[i] for i in order]
    rows = [_predict(arguments.model, files, arguments.requests)]
    print(json.dumps(rows[0]), flush=True)
    bodies = [path.read_bytes() for path in files]
    with _service(arguments.model) as (port, process):
        _ask_all(port, bodies, 2 * len(bodies), clients=8)  # compiles
        for clients in _CLIENTS:
            rows.append(_ask_all(port, bodies, arguments.requests, clients=clients))
            print(json.dumps(rows[-1]), flush=True)
        memory = [_resident_mib(process)]
        for _ in range(_PARTS if arguments.long else 0):
            part = _ask_all(port, bodies, arguments.long // _PARTS, clients=8)
            memory.append(_resident_mib(process))
            print(json.dumps({"resident_mib": memory[-1], "lost": part["lost"]}), flush=True)
        process.terminate()
        code = process.wait(timeout=120)
    return {"files": len(files), "rows": rows, "resident_mib": memory, "exit_code": code}


def _predict(model: str, files: list[Path], requests: int) -> dict:
    """Times `model.answers` on as many files, in a process of its own, compiled before."""
    work = (
        "import json, sys, time, sersl\n"
        "model, *files = json.load(sys.stdin)\n"
        "loaded = sersl.load(model)\n"
        "list(loaded.answers(files, embedding=False))\n"
        "start = time.perf_counter()\n"
        "answers = list(loaded.answers(files, embedding=False))\n"
        "print(time.perf_counter() - start, sum(answer.end for answer in answers))\n"
    )
    given = [str(file) for file in itertools.islice(itertools.cycle(files), requests)]
    done = subprocess.run(
        [sys.executable, "-c", work],
        input=json.dumps([model, *given]),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise UserError(f"predict failed: {done.stderr.strip().splitlines()[-1]}")
    seconds, audio = map(float, done.stdout.split())
    return _row("predict", requests, seconds, audio)


@contextlib.contextmanager
def _service(model: str):
    command = [sys.executable, "-m", "sersl", "serve", "--model", model, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        found = next(filter(None, (re.search(r":(\d+) ", line) for line in process.stderr)), None)
        if found is None:
            raise UserError("the service did not start: run `sersl serve` to see why")
        port = int(found[1])
        while _ask(http.client.HTTPConnection("127.0.0.1", port), "GET", "/readyz")[0] != 200:
            time.sleep(0.2)
        yield port, process
    finally:
        process.kill()
        process.wait()


def _ask(connection: http.client.HTTPConnection, method: str, path: str, body=None):
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def _ask_all(port: int, bodies: list[bytes], count: int, *, clients: int) -> dict:
    """Sends requests from clients that each wait for their answer; counts those without one."""
    numbers = iter(range(count))  # next() of a range's iterator is atomic in CPython
    latencies: list[float] = []
    audio: list[float] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        for number in numbers:
            started = time.perf_counter()
            for _ in range(_TRIES):
                status, answer = _ask(connection, "POST", "/predict", bodies[number % len(bodies)])
                if status != 503:
                    break
                time.sleep(0.05)
            if status == 200:
                latencies.append(time.perf_counter() - started)
                audio.append(answer["end"])
        connection.close()

    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as threads:
        for done in [threads.submit(work) for _ in range(clients)]:
            done.result()
    seconds = time.perf_counter() - started
    row = _row(f"serve, {clients} clients", count, seconds, sum(audio))
    median, late = np.percentile(latencies, [50, 95]) if latencies else (np.nan, np.nan)
    quantiles = {"median_seconds": round(float(median), 3), "p95_seconds": round(float(late), 3)}
    return row | quantiles | {"lost": count - len(latencies)}


def _row(way: str, requests: int, seconds: float, audio: float) -> dict:
    return {
        "way": way,
        "requests": requests,
        "requests_per_second": round(requests / seconds, 1),
        "audio_per_second": round(audio / seconds, 1),
    }


def _resident_mib(process: subprocess.Popen) -> int:
    """Reads the memory of the service without its decoders."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) // 1024
