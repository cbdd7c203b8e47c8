"""Small good files in every format, and odd ones made from them; run as a program, reads them.

python -m tests.audio.odd_files NUMBER SEED prints one JSON object a file.
"""

import io
import json
import re
import resource
import struct
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

from sersl.audio.decode import read_audio
from sersl.core.errors import UserError

RATE = 16_000
MOST_BYTES = 6 << 30  # of address space: libraries, and what reading may allocate
SOUND_FILES = (
    *(("WAV", coding) for coding in ("PCM_16", "PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW")),
    *(("WAV", coding) for coding in ("GSM610", "IMA_ADPCM", "MS_ADPCM")),
    *((container, "PCM_16") for container in ("WAVEX", "RF64", "W64", "AIFF", "AU", "NIST", "CAF")),
    *(("AIFF", "FLOAT"), ("CAF", "ALAC_16"), ("SVX", "PCM_16"), ("VOC", "PCM_16")),
    *(("AVR", "PCM_16"), ("PAF", "PCM_16"), ("IRCAM", "PCM_16")),
    *(("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS")),
    ("MP3", "MPEG_LAYER_III"),
)
# (container, codec, rate, options of FFmpeg's muxer)
CONTAINERS = (
    ("mp4", "aac", RATE, {}),
    ("mp4", "aac", RATE, {"movflags": "frag_keyframe+empty_moov"}),
    ("mov", "pcm_s16le", RATE, {}),
    ("webm", "libopus", 48_000, {}),
    ("matroska", "pcm_s16le", RATE, {}),
    ("avi", "pcm_s16le", RATE, {}),
    ("adts", "aac", RATE, {}),
    ("mp3", "libmp3lame", RATE, {"write_xing": "0"}),
    ("mp2", "mp2", RATE, {}),
    ("wav", "libmp3lame", RATE, {}),
    ("ogg", "flac", RATE, {}),
)


def tone(seconds: float = 0.5, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """[N, channels] float64: a tone that is louder in the first channel."""
    wave = 0.3 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)
    return wave[:, None] * np.linspace(1, 0.5, channels)


def encoded(container: str, coding: str, samples: np.ndarray, rate: int = RATE) -> bytes:
    """A file as libsndfile writes it."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=coding)
    return buffer.getvalue()


class _Pipe:
    """Takes what is written to it, and cannot go back."""

    def __init__(self):
        self.data = bytearray()

    def write(self, data):
        self.data += data
        return len(data)


def contained(container, codec, samples, rate=RATE, options=None, *, pipe=False) -> bytes:
    """A file as FFmpeg writes it."""
    target = _Pipe() if pipe else io.BytesIO()
    numbers = (samples.T * 32767).astype(np.int16)
    layout = "mono" if len(numbers) == 1 else "stereo"
    with av.open(target, "w", format=container, options=options or {}) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(
            numbers.reshape(1, -1, order="F"), format="s16", layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        packets = av.AudioResampler(format=stream.codec_context.format.name).resample(frame)
        size = stream.codec_context.frame_size or len(samples)
        fifo = av.AudioFifo()
        for part in packets:
            fifo.write(part)
        while part := fifo.read(size, partial=True):
            for packet in stream.encode(part):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
    return bytes(target.data) if pipe else target.getvalue()


def good_files() -> dict[str, bytes]:
    """Name to content, of every format; some with two channels."""
    files = {}
    for number, (container, coding) in enumerate(SOUND_FILES):
        channels = 1 if "GSM610" in coding or container == "SVX" or number % 3 else 2
        samples = tone(channels=channels)
        files[f"{container} {coding} {channels}"] = encoded(container, coding, samples)
    for container, codec, rate, options in CONTAINERS:
        data = contained(container, codec, tone(rate=rate), rate, options)
        files[f"{container} {codec} {len(options)}"] = data
    return files


def odd_file(files: dict[str, bytes], rng: np.random.Generator) -> tuple[str, bytes]:
    """One good file after one to three changes; its name tells them."""
    names = sorted(files)
    name = names[rng.integers(len(names))]
    data, done = files[name], []
    for _ in range(rng.integers(1, 4)):
        kind = CHANGES[rng.integers(len(CHANGES))]
        data = kind(bytearray(data), rng, files[names[rng.integers(len(names))]])
        done.append(kind.__name__)
    return f"{name}: {', '.join(done)}", bytes(data)


def cut(data, rng, _):
    return data[: rng.integers(len(data) + 1)]


def flip_bits(data, rng, _):
    for at in rng.integers(max(1, len(data)), size=rng.integers(1, 30)):
        data[at : at + 1] = bytes([data[at] ^ 1 << rng.integers(8)]) if data else b""
    return data


def flip_in_header(data, rng, _):
    for at in rng.integers(128, size=rng.integers(1, 5)):
        data[at : at + 1] = bytes([rng.integers(256)])
    return data


def change_number(data, rng, _):
    value = (0, 1, 7, 2**15, 2**31 - 1, 2**31, 2**32 - 1, len(data), 10 * len(data))
    number = value[rng.integers(len(value))]
    at = rng.integers(64) * 2
    data[at : at + 4] = struct.pack("<I" if rng.integers(2) else ">I", number)
    return data


def hole(data, rng, _):
    at, size = rng.integers(len(data) + 1), rng.integers(1, 4000)
    data[at : at + size] = bytes(min(size, max(0, len(data) - at)))
    return data


def leave_out(data, rng, _):
    at = rng.integers(len(data) + 1)
    del data[at : at + rng.integers(1, 2000)]
    return data


def insert(data, rng, _):
    at = rng.integers(len(data) + 1)
    data[at:at] = rng.bytes(rng.integers(1, 3000))
    return data


def append_noise(data, rng, _):
    return data + rng.bytes(rng.integers(1, 30_000))


def append_zeros(data, rng, _):
    return data + bytes(rng.integers(1, 90_000))


def append_file(data, rng, other):
    return data + other


def put_tag_before(data, rng, _):
    size = int(rng.integers(300))
    return b"ID3\x04\0\0\0\0" + bytes([size >> 7, size & 127]) + bytes(size) + data


CHANGES = (
    *(cut, flip_bits, flip_in_header, change_number, hole, leave_out, insert),
    *(append_noise, append_zeros, append_file, put_tag_before),
)


def peak_kibibytes() -> int:
    """Reads the largest resident size of this program; getrusage would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def main(number: int, seed: int) -> None:
    """Reads odd files and prints what came of each."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    files = good_files()
    rng = np.random.default_rng(seed)
    for _ in range(number):
        name, data = odd_file(files, rng)
        print(json.dumps({"name": name, "bytes": len(data)}), flush=True)
        start = time.monotonic()
        try:
            samples = read_audio(data)
            answer = {"samples": len(samples), "finite": bool(np.isfinite(samples).all())}
        except UserError as error:
            answer = {"sentence": str(error)}
        except BaseException as error:
            answer = {"traceback": f"{type(error).__name__}: {error}"}
        answer["seconds"] = time.monotonic() - start
        answer["peak"] = peak_kibibytes()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
