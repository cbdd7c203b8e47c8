"""Measures the cost of checkpoints for a pretraining run."""

import functools
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import jax
from benchmarks.timing import Seconds, in_turns

from sersl.config.load import load_config
from sersl.config.schema import PretrainConfig
from sersl.pretraining.run import pretrain
from sersl.runs.checkpoint import Checkpoints

CONFIG = str(Path(__file__).parents[2] / "configs/pretrain/emotion_aware.py")


class _Run(NamedTuple):
    seconds: Seconds  # of all steps
    waits: list[float]  # seconds that the loop waited for each save


def add_options(parser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument(
        "--data_dir", required=True, metavar="DIR", help="with the embedded corpus, annotated"
    )
    parser.add_argument("--preset", default="tiny", metavar="NAME", help="of emotion_aware.py")
    parser.add_argument("--steps", type=int, default=100, metavar="N")
    parser.add_argument("--every", type=int, default=50, metavar="N", help="steps between saves")
    parser.add_argument("--rounds", type=int, default=2, metavar="N")


def run(arguments) -> dict:
    """Compares steps without and with checkpoints, without the last step, which always saves."""
    ways = {
        "never": functools.partial(_measure, arguments, 10 * arguments.steps),
        "saving": functools.partial(_measure, arguments, arguments.every),
    }
    rows = []
    for name, runs in in_turns(ways, rounds=arguments.rounds).items():
        for one in runs:
            rows.append(
                {
                    "way": name,
                    "cpu_seconds_per_step": round(one.seconds.cpu / arguments.steps, 4),
                    "seconds_per_step": round(one.seconds.clock / arguments.steps, 4),
                    "num_saves": len(one.waits),
                    "seconds_waited": round(sum(one.waits), 2),
                }
            )
            print(rows[-1], flush=True)
    return {"rows": rows}


def _measure(arguments, every: int) -> _Run:
    """Runs the steps, with `every` steps between saves."""
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
        # After the first step, which waits for the compilation, and before the last, which saves.
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
    return _Run(Seconds(wall_after - wall, cpu_after - cpu), waits[:-1])
