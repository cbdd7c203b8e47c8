"""Prints the emotion of what the microphone records, while it records.

pip install sounddevice             # which sersl does not need otherwise
python microphone.py MODEL          # Ctrl-C ends
python microphone.py MODEL a.wav    # a file in chunks of 0.1 s instead
"""

import sys
import time

import numpy as np
import soundfile

import sersl

CHUNK_SECONDS = 0.1


def chunks_of_file(path):
    """Gives the sample rate and the chunks of a file."""
    samples, rate = soundfile.read(path, dtype="float32")
    size = round(CHUNK_SECONDS * rate)
    return rate, (samples[start : start + size] for start in range(0, len(samples), size))


def chunks_of_microphone(rate=16_000):
    """Gives the sample rate and the chunks of the microphone, until Ctrl-C."""
    import sounddevice

    def record():
        size = round(CHUNK_SECONDS * rate)
        with sounddevice.InputStream(samplerate=rate, channels=1, blocksize=size) as microphone:
            while True:
                samples, lost = microphone.read(size)
                if lost:
                    print("(too slow: samples were lost)")
                yield samples

    return rate, record()


def show(row):
    """Prints a window."""
    scores = row["scores"]  # none when it is silent
    best = max(scores, key=scores.get) if scores else "-"
    numbers = " ".join(f"{name} {value:.2f}" for name, value in row["dimensions"].items())
    print(f"{row['start']:6.1f} to {row['end']:6.1f} s  {row['status']:9}  ", end="")
    print(f"{best} {scores.get(best, 0):.2f}  {numbers}")


model_folder, *files = sys.argv[1:]
model = sersl.load(model_folder)
rate, chunks = chunks_of_file(files[0]) if files else chunks_of_microphone()
# The first window would wait for the compiler: it is given noise beforehand.
noise = np.random.default_rng(0).normal(0, 0.1, 2 * rate).astype(np.float32)
warm = model.stream(rate, window=2.0, hop=0.5)
warm.add(noise)
warm.finish()

stream = model.stream(rate, window=2.0, hop=0.5)
delays = []  # seconds from a chunk to the answer that it completes
try:
    for chunk in chunks:
        started = time.perf_counter()
        rows = stream.add(chunk)
        if rows:
            delays.append(time.perf_counter() - started)
        for row in rows:
            show(row)
except KeyboardInterrupt:
    pass
for row in stream.finish():
    show(row)
if delays:
    middle, late = np.percentile(delays, [50, 95])
    print(f"{len(delays)} answers: median {1000 * middle:.0f} ms, 95 % {1000 * late:.0f} ms")
