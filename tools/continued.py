"""Rows of docs/results/continued.md: an encoder continued in several ways, by a frozen probe.

    python tools/continued.py --model runs/whisper-base --data_dir data --output runs/continued \
        --corpora ravdess nemo librispeech picovoice --target ravdess --protocol emobox \
        --rows start random functionals multiview ours

Each row is `sersl pretrain` without the target corpus, then the ridge probe of
`configs/finetune/frozen.py:ridge` on it. `sersl compare` writes the table of all finished rows with
paired intervals by speaker. A finished command is skipped when this one is run again, and a run
that was interrupted resumes from its checkpoint.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECIPE = f"{ROOT}/configs/pretrain/continue_emotion.py"
PROBE = f"{ROOT}/configs/finetune/frozen.py:ridge"
_OFF = ("objectives.functionals.weight=0", "objectives.multiview.weight=0")
_FAST = ("optimizer.learning_rate=1e-4", "objectives.functionals.weight=0")
_FREE = (*_FAST, "objectives.anchor.weight=0")
_NEAR = (*_FAST, "objectives.anchor.weight=1", "frozen_teachers={model}")
_CONTRAST = ("objectives.contrastive.weight=1", "masking.rule=uniform")
# Row: (preset, settings of pretraining that differ from the recipe); None: the start itself.
ROWS: dict[str, tuple[str, tuple[str, ...]] | None] = {
    "start": None,
    # A branch that keeps its initial weights.
    "random": ("side", ("optimizer.learning_rate=1e-30", "optimizer.weight_decay=0")),
    "functionals": ("side", _OFF[1:]),
    "multiview": ("side", _OFF[:1]),
    "ours": ("side", ()),
    "near": ("near", ()),
    # Without emotion knowledge: two distortions of an utterance are a pair.
    "instances": (
        "side",
        (*_OFF, "objectives.instances.weight=1", "distortion.noise_probability=1"),
    ),
    # The whole encoder, near its start; `{model}` is the folder of --model.
    "anchored": ("anchored", ("frozen_teachers={model}",)),
    "free": ("anchored", ("frozen_teachers={model}", "objectives.anchor.weight=0")),
    # The whole encoder by one objective; those with _free have no anchor.
    "contrast_free": ("anchored", (*_FREE, *_CONTRAST)),
    "prosody_free": ("anchored", (*_FREE, *_CONTRAST, "objectives.prosody.weight=1")),
    "contrast": ("anchored", (*_NEAR, *_CONTRAST)),
    "prosody": ("anchored", (*_NEAR, *_CONTRAST, "objectives.prosody.weight=1")),
    "reconstruction": (
        "anchored",
        (*_NEAR, "objectives.reconstruction.weight=1", "masking.rule=uniform"),
    ),
    # Its own start's outputs on clean audio, from distorted audio.
    "distillation": ("anchored", (*_NEAR, "distortion.noise_probability=1")),
    "intensity_mask": ("anchored", (*_NEAR, *_CONTRAST, "masking.rule=intensity")),
    "intensity_target": ("anchored", (*_NEAR, *_CONTRAST, "objectives.intensity.weight=1")),
    "intensity_pairs": (
        "anchored",
        (*_NEAR, "objectives.supervised.weight=1", "objectives.supervised.pairs=intensity"),
    ),
}
ROWS |= {  # The control: intensities that mean nothing.
    f"random_{row}": ("anchored", (*ROWS[f"intensity_{row}"][1], "data.annotator=random"))
    for row in ("mask", "target", "pairs")
}


def commands(row: str, arguments: argparse.Namespace) -> list[tuple[Path, list[str]]]:
    """Lists the commands of a row, each with the file that it writes when it is done."""
    folder = arguments.output / f"{arguments.target}-{row}"
    data = [f"--config.data.data_dir={arguments.data_dir}"]
    found, encoder = [], arguments.model
    recipe = ROWS[row]
    if recipe is not None:
        preset, settings = recipe
        others = [name for name in arguments.corpora if name != arguments.target]
        encoder = folder / "pretrain"
        values = [f"init_from={arguments.model}", f"train.num_steps={arguments.steps}"]
        values += [f"train.seed={arguments.seed}", f"data.corpora={','.join(others)}"]
        values += [value.format(model=arguments.model) for value in settings]
        command = ["pretrain", "--config", f"{RECIPE}:{preset}", "--workdir", str(encoder), *data]
        command += [f"--config.{value}" for value in values]
        found.append((encoder / "checkpoints" / str(arguments.steps), command))
    probe = folder / "probe"
    values = [f"init_from={encoder}", f"data.corpora={arguments.target}"]
    values += [f"protocol.name={arguments.protocol}", "protocol.final_model=False"]
    values += [f"views.speeds=({','.join(arguments.speeds)})"]
    command = ["finetune", "--config", PROBE, "--workdir", str(probe), *data]
    command += [f"--config.{value}" for value in values]
    return [*found, (probe / "results.json", command)]


def main() -> int:
    """Runs the rows and compares them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="folder of `sersl import`")
    parser.add_argument("--data_dir", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--corpora", required=True, nargs="+", help="prepared, with the target")
    parser.add_argument("--target", required=True, help="corpus of the probe")
    parser.add_argument("--protocol", required=True)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speeds", nargs="*", default=[], help="copies that the probe trains on")
    arguments = parser.parse_args()
    for row in arguments.rows:
        for done, command in commands(row, arguments):
            if not done.exists() and (code := run(command)):
                return code
    probes = [f"{row}={arguments.output}/{arguments.target}-{row}/probe" for row in arguments.rows]
    table = ["--output", str(arguments.output / f"compare-{arguments.target}")]
    return run(["compare", *probes, *table]) if len(probes) > 1 else 0


def run(command: list[str]) -> int:
    """Prints and runs a command of sersl; its exit code."""
    print("sersl", *command, flush=True)
    return subprocess.run([sys.executable, "-m", "sersl", *command], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
