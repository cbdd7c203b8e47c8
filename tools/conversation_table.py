"""UAR and CCC with and without the context of a dialogue, for docs/conversations.md.

    python tools/conversation_table.py --runs runs/conversations --data_dir data
    python tools/conversation_table.py --runs runs/conversations --data_dir data gru gru-causal

Prepares synthetic_dialogues if it is not there, writes the encoder of the model in the package to
RUNS/encoder, and runs `sersl finetune` on it with each preset of configs/finetune/conversation.py.
A finished run is not run again.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from sersl.config.schema import PretrainConfig
from sersl.core.files import read_json
from sersl.corpora.index import find_corpus
from sersl.release.folder import read_model, write_encoder
from sersl.release.packaged.shipped import shipped_model

CONFIG = Path(__file__).parents[1] / "configs" / "finetune" / "conversation.py"
CORPUS = "synthetic_dialogues"
SYSTEMS = ("none", "gru", "gru-causal", "transformer", "graph")


def main() -> int:
    """Trains what is not finished, then prints a row for each system."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("systems", nargs="*", default=SYSTEMS, help="PRESET or PRESET-causal")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--data_dir", default="data", help="of sersl prepare")
    arguments = parser.parse_args()
    if find_corpus(arguments.data_dir, CORPUS) is None:
        run("prepare", "--corpus", CORPUS, "--data_dir", arguments.data_dir)
    encoder = arguments.runs / "encoder"
    if not encoder.is_dir():
        arguments.runs.mkdir(parents=True, exist_ok=True)
        released = read_model(shipped_model())
        config = PretrainConfig(
            name="encoder",
            frontend=released.architecture.frontend,
            encoder=released.architecture.encoder,
        )
        write_encoder(
            encoder, params=released.params, config=config, corpora=released.about["corpora"]
        )
    rows = []
    for system in arguments.systems:
        workdir = arguments.runs / system
        preset, _, causal = system.partition("-")
        if not (workdir / "results.json").is_file():
            run(
                *("finetune", "--config", f"{CONFIG}:{preset}", "--workdir", str(workdir)),
                f"--config.init_from={encoder}",
                f"--config.data.data_dir={arguments.data_dir}",
                f"--config.data.corpora={CORPUS}",
                "--config.protocol.final_model=False",
                f"--config.conversation.causal={bool(causal)}",
            )
        results = read_json(workdir / "results.json", what="results", remedy="train again")
        metrics, (low, high) = results["metrics"], results["confidence"]["uar"]
        ccc = [f"{metrics['ccc'][name]:.3f}" for name in ("arousal", "dominance", "valence")]
        rows.append([system, f"{metrics['uar']:.3f} [{low:.3f}, {high:.3f}]", *ccc])
    head = ["preset", "UAR", "CCC of arousal", "of dominance", "of valence"]
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(row)} |")
    return 0


def run(*words: str) -> None:
    """Runs `sersl` with these words."""
    code = subprocess.run([sys.executable, "-m", "sersl", *words], check=False).returncode
    if code:
        raise SystemExit(code)  # sersl has said what is wrong


if __name__ == "__main__":
    sys.exit(main())
