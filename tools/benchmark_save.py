"""Measures what saving costs a pretraining run: CPU time of steps with and without, and the wait.

Command: python tools/benchmark_save.py --data_dir DIR, a folder with the prepared and annotated
embedded corpus, as ./launch/quickstart.sh leaves one in runs/data. Runs alternate: without saves,
with, without, with; the last step saves in all of them and is left out.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax

from sersl.config.load import load_config
from sersl.config.schema import PretrainConfig
from sersl.pretraining.run import pretrain
from sersl.runs.checkpoint import Checkpoints

CONFIG = str(Path(__file__).parents[1] / "configs/pretrain/emotion_aware.py")


def main() -> int:
    """Runs them and prints one line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, metavar="DIR")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--every", type=int, default=50, help="steps between saves")
    arguments = parser.parse_args()
    for every in (10 * arguments.steps, arguments.every) * 2:
        wall, cpu, waits = measure(arguments, every)
        saves = f"{len(waits)} saves waited for {sum(waits):.2f} s" if waits else "no save"
        print(
            f"{cpu / arguments.steps:.4f} CPU s a step, {wall / arguments.steps:.4f} s by the "
            f"clock, {saves}",
            flush=True,
        )
    return 0


def measure(arguments, every: int) -> tuple[float, float, list[float]]:
    """Runs `--steps` steps.

    Args:
      arguments: of the command line.
      every: steps between saves.

    Returns:
      (wall seconds, CPU seconds, seconds that the loop waited for each save).
    """
    overrides = [
        f"data.data_dir={arguments.data_dir}",
        "data.corpora=synthetic",
        "data.num_buckets=1",
        f"train.num_steps={arguments.steps + 2}",
        f"checkpoint.every_steps={every}",
    ]
    config = load_config(PretrainConfig, f"{CONFIG}:{arguments.preset}", overrides)
    clock: list[tuple[float, float]] = []
    waits: list[float] = []
    save = Checkpoints.save

    def timed(self, *args, **kwargs):
        begin = time.perf_counter()
        save(self, *args, **kwargs)
        waits.append(time.perf_counter() - begin)

    def watch(step: int) -> bool:
        # After the first step, which waits for compilation, and before the last, which saves.
        if step in (1, arguments.steps + 1):
            clock.append((time.perf_counter(), time.process_time()))
        return False

    Checkpoints.save = timed
    try:
        with tempfile.TemporaryDirectory() as workdir:
            pretrain(config, Path(workdir) / "run", preempted=watch, devices=jax.devices()[:1])
    finally:
        Checkpoints.save = save
    (wall, cpu), (wall_after, cpu_after) = clock
    return wall_after - wall, cpu_after - cpu, waits[:-1]


if __name__ == "__main__":
    sys.exit(main())
