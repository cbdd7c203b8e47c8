"""Decodes uploads in processes that are killed and replaced when they take too long or die."""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

import numpy as np

from sersl.core.files import parse_json
from sersl.release.serve.decode_worker import TOO_LONG
from sersl.release.serve.service_limits import RefusedError

_ROOT = Path(__file__).parents[3]
_MODULE = "sersl.release.serve.decode_worker"


class Decoders:
    """A fixed number of decoding processes; used by one event loop."""

    def __init__(self, count: int, *, most_seconds: float):
        """Starts no process yet.

        Args:
          count: of processes.
          most_seconds: of audio in an upload.
        """
        self._count = count
        self._most_seconds = most_seconds
        self._free: asyncio.Queue[asyncio.subprocess.Process | None] = asyncio.Queue()
        self._running: set[asyncio.subprocess.Process] = set()

    async def start(self) -> None:
        """Starts the processes."""
        for _ in range(self._count):
            self._free.put_nowait(await self._started())

    async def decode(self, content: bytes) -> np.ndarray:
        """Decodes an upload to float32 [N] at 16 kHz; when cancelled, its process is killed.

        Raises:
          RefusedError: it cannot be read, or is too long.
        """
        process = await self._free.get()
        done = False
        try:
            if process is None or process.returncode is not None:
                process = await self._started()
            found, samples = await self._ask(process, content)
            done = True
        except (OSError, EOFError, ValueError) as cause:
            sentence = "the upload is damaged: it ended the decoder, convert it to wav or flac"
            raise RefusedError(422, sentence) from cause
        finally:
            if not done and process is not None:
                self._kill(process)
            self._free.put_nowait(process if done else None)
        if found["kind"]:
            raise RefusedError(413 if found["kind"] == TOO_LONG else 422, found["error"])
        return np.frombuffer(samples, np.float32)

    async def close(self) -> None:
        """Ends all processes."""
        for process in list(self._running):
            self._kill(process)
            await process.wait()

    async def _ask(
        self, process: asyncio.subprocess.Process, content: bytes
    ) -> tuple[dict[str, str], bytes]:
        assert process.stdin is not None and process.stdout is not None
        request = {"bytes": len(content), "most_seconds": self._most_seconds}
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.write(content)
        await process.stdin.drain()
        found = parse_json(await process.stdout.readline())
        # IncompleteReadError is an EOFError.
        return found, await process.stdout.readexactly(int(found["bytes"]))

    async def _started(self) -> asyncio.subprocess.Process:
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        settings = {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _MODULE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=os.environ | settings,
        )
        self._running.add(process)
        return process

    def _kill(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        self._running.discard(process)
