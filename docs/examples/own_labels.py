"""Fine-tunes a small model on a table of labelled recordings, and reads the scores.

python own_labels.py MANIFEST.csv WORKDIR
"""

import json
import subprocess
import sys
from pathlib import Path

manifest, workdir = sys.argv[1:3]
sersl = [sys.executable, "-m", "sersl"]

# Prepares the audio, trains every fold of a speaker-held-out protocol, scores and reports.
subprocess.run(
    [
        *sersl,
        "finetune",
        "--config=configs/finetune/emotion.py:nano",  # to try things; then use :tiny
        f"--manifest={manifest}",
        f"--workdir={workdir}",
        "--config.protocol.num_folds=2",
        "--config.protocol.final_model=True",  # one more model on all speakers, for release
    ],
    check=True,
)
results = json.loads((Path(workdir) / "results.json").read_text())
print("UAR", results["metrics"]["uar"], "majority", results["baseline"]["majority"]["uar"])

# A folder that `sersl predict` and `sersl.load` take.
subprocess.run(
    [*sersl, "export", f"--workdir={workdir}", f"--output={workdir}/model", "--licence=CC0-1.0"],
    check=True,
)
