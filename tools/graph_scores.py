"""Scores ONNX graphs of one fold of a run on the speakers that the fold did not train on.

Command: python tools/graph_scores.py --workdir RUN --fold fold1 --data_dir DATA
         MODEL/onnx/model.onnx MODEL/onnx/model_int8.onnx
"""

import argparse
import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

from sersl.core.errors import UserError
from sersl.data.sources import CorpusSource
from sersl.eval.metrics import confusion_matrix, uar


def main() -> int:
    """Prints UAR, size, speed, and how many answers are those of the first graph."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="of a scored run")
    parser.add_argument("--fold", required=True, help="that the model of the graphs is from")
    parser.add_argument("--data_dir", required=True, metavar="DIR", help="from `sersl prepare`")
    parser.add_argument("graphs", nargs="+", metavar="FILE.onnx")
    arguments = parser.parse_args()
    with open(Path(arguments.workdir) / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] == arguments.fold]
    truth = {row["utterance_id"]: row["category"] for row in rows}
    try:
        source = CorpusSource(arguments.data_dir, rows[0]["corpus"])
        ids = source.index.column("utterance_id").tolist()
        waveforms = {name: source.waveform(ids.index(name)) for name in truth}
    except (UserError, IndexError, ValueError) as error:
        print(f"graph_scores: {arguments.fold} of {arguments.workdir}: {error}", file=sys.stderr)
        return 2
    seconds = sum(map(len, waveforms.values())) / 16_000
    first: np.ndarray | None = None
    for path in map(Path, arguments.graphs):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = json.loads(session.get_modelmeta().custom_metadata_map["categories"])
        began, answers = time.process_time(), []
        for waveform in waveforms.values():
            feed = {"waveform": waveform[None], "num_samples": np.array([len(waveform)])}
            answers.append(session.run(["category"], feed)[0][0])
        taken, found = time.process_time() - began, np.stack(answers)
        first = found if first is None else first
        labels = np.array([names.index(name) for name in truth.values()])
        counts = confusion_matrix(labels, found.argmax(1), len(names))
        size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
        print(
            f"{path.name}: UAR {uar(counts):.4f} on {len(labels)} utterances, "
            f"{(found.argmax(1) == first.argmax(1)).sum()} answers as the first, probabilities "
            f"differ by at most {np.abs(found - first).max():.3f}, {size / 1e6:.1f} MB, "
            f"{seconds / taken:.0f} s of audio per second of CPU",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
