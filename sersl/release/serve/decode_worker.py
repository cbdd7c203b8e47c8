"""A process that decodes uploads: a damaged file can neither block nor end the service.

It reads from standard input a line of JSON and the bytes of a file, and writes to standard output a
line of JSON and float32 samples at 16 kHz, until standard input ends.
"""

import json
import resource
import signal
import sys
from typing import IO

import numpy as np

from sersl.audio.decode import open_audio
from sersl.audio.source import IN_MEMORY
from sersl.core.display import one_sentence
from sersl.core.errors import UserError
from sersl.core.files import parse_json
from sersl.core.lengths import SAMPLE_RATE

_MOST_BYTES = 4 << 30  # of addresses; a decoder that wants more fails
TOO_LONG, UNREADABLE = "too_long", "unreadable"


def decode(content: bytes, most_seconds: float) -> np.ndarray:
    """Decodes a file to float32 [N] at 16 kHz; memory grows with what is decoded, not a header.

    Raises:
      OverflowError: longer than `most_seconds`.
      UserError: it cannot be read.
    """
    most = round(most_seconds * SAMPLE_RATE)
    waveform = bytearray()
    with open_audio(content) as audio:
        for block in audio.blocks():
            if len(waveform) // 4 + len(block) > most:
                raise OverflowError
            waveform += np.ascontiguousarray(block, np.float32).data
    return np.frombuffer(waveform, np.float32)


def answer(request: dict[str, float], content: bytes) -> tuple[dict[str, object], bytes]:
    """Decodes an upload.

    Args:
      request: has "most_seconds".
      content: of the file.

    Returns:
      What is written: {"bytes": count, "kind": "", TOO_LONG or UNREADABLE, "error": sentence}, and
      the bytes of the samples.
    """
    most = float(request["most_seconds"])
    try:
        samples = decode(content, most)
    except OverflowError:
        error = f"the upload is longer than {most:g} s: cut it into shorter files"
        return {"bytes": 0, "kind": TOO_LONG, "error": error}, b""
    except (UserError, MemoryError, OSError) as cause:
        sentence = str(cause).replace(IN_MEMORY, "the upload") or "the upload is damaged"
        return {"bytes": 0, "kind": UNREADABLE, "error": one_sentence(sentence)}, b""
    return {"bytes": samples.nbytes, "kind": "", "error": ""}, samples.tobytes()


def work(reading: IO[bytes], writing: IO[bytes]) -> None:
    """Answers requests until there are no more."""
    while line := reading.readline():
        request = parse_json(line)
        content = reading.read(request["bytes"])
        if len(content) < request["bytes"]:
            return
        found, samples = answer(request, content)
        del content
        writing.write(json.dumps(found).encode() + b"\n")
        writing.write(samples)
        writing.flush()


def main() -> int:
    """Runs the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _MOST_BYTES if hard == resource.RLIM_INFINITY else min(hard, _MOST_BYTES)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        work(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        sys.stdout = None  # nobody reads: nothing to flush at exit
    return 0


if __name__ == "__main__":
    sys.exit(main())
