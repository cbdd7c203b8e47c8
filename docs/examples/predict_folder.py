"""Predicts the emotions of every recording in a folder and prints the most likely one.

python predict_folder.py MODEL FOLDER
"""

import sys
from pathlib import Path

import sersl

model_folder, audio_folder = sys.argv[1:3]
model = sersl.load(model_folder)

files = sorted(path for path in Path(audio_folder).rglob("*") if path.suffix in (".wav", ".flac"))
# A list is batched by length. `answers` gives one answer per file, in order, and goes on after a
# damaged one.
readable = []
for file, answer in zip(files, model.answers(files), strict=True):
    if not answer.scored:
        print(f"{file.name}: {answer.status}: {answer.problem}")
        continue
    readable.append(file)
    scores = answer.rows[0]
    print(f"{file.name}: {scores.best} ({scores.category[scores.best]:.2f})")

# How one recording changes over time: one answer a second, from windows of two seconds.
if readable:
    for window in model.predict(readable[0], window=2.0, hop=1.0):
        print(f"  {window['start']:5.1f} s to {window['end']:5.1f} s: {window['category']}")
