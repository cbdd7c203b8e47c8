"""Runs an exported ONNX file with onnxruntime alone: neither sersl nor JAX is imported.

python onnx_only.py MODEL/onnx/model.onnx RECORDING.wav
"""

import json
import sys

import numpy as np
import onnxruntime
import soundfile

file, recording = sys.argv[1:3]
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

waveform, rate = soundfile.read(recording, dtype="float32", always_2d=True)
if rate != 16_000:
    raise SystemExit(f"{recording} has {rate} Hz: resample it to 16,000 Hz first")
waveform = waveform.mean(1)[: 30 * rate]  # mono; longer audio in parts of up to 30 s

values = session.run(None, {"waveform": waveform[None], "num_samples": np.array([len(waveform)])})
outputs = dict(zip([output.name for output in session.get_outputs()], values, strict=True))

# The names of the scores are in the file.
about = session.get_modelmeta().custom_metadata_map
for output, names in (("category", "categories"), ("dimensions", "dimensions")):
    if output in outputs:
        for name, score in zip(json.loads(about[names]), outputs[output][0], strict=True):
            print(f"{name} {score:.4f}")
