"""Runs an exported StableHLO program with JAX alone: sersl is not imported.

python stablehlo_only.py MODEL RECORDING.wav
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import soundfile
from safetensors.numpy import load_file

model, recording = Path(sys.argv[1]), sys.argv[2]
weights = load_file(model / "stablehlo" / "weights.safetensors")

waveform, rate = soundfile.read(recording, dtype="float32", always_2d=True)
if rate != 16_000:
    raise SystemExit(f"{recording} has {rate} Hz: resample it to 16,000 Hz first")
waveform = waveform.mean(1)[: 30 * rate]

# One program for up to 5 s, one for up to 30 s; padding changes no answer.
length = 80_000 if len(waveform) <= 80_000 else 480_000
content = (model / "stablehlo" / f"program_{length}.bin").read_bytes()
program = jax.export.deserialize(bytearray(content))
padded = np.zeros((1, length), np.float32)
padded[0, : len(waveform)] = waveform
outputs = program.call(weights, padded, np.array([len(waveform)], np.int32))

about = json.loads((model / "sersl.json").read_text())
for output, names in (("category", "categories"), ("dimensions", "dimensions")):
    for name, score in zip(about[names], np.asarray(outputs[output])[0], strict=True):
        print(f"{name} {score:.4f}")
