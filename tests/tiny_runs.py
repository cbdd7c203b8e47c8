"""Runs small enough for tests: a corpus of four voices, nano models, and the real command line."""

import os
import subprocess
import sys
from pathlib import Path

from sersl.annotation.annotate import annotate_corpus
from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig, PretrainConfig
from sersl.corpora.catalog.registry import CORPORA
from sersl.corpora.prepare import prepare
from sersl.corpora.synthetic.corpus import SyntheticBuilder
from sersl.training.observe import read_metrics
from sersl.training.pace import TIMINGS

ROOT = Path(__file__).parents[1]
PRETRAIN = str(ROOT / "configs" / "pretrain" / "emotion_aware.py") + ":nano"
FINETUNE = str(ROOT / "configs" / "finetune" / "emotion.py") + ":nano"

# One batch shape of 8 rows x 1.2 s: one short compilation.
_DATA = ("data.num_buckets=1", "data.max_seconds=1.2", "data.seconds_per_batch=9.6")
PRETRAIN_SETTINGS = (
    *_DATA,
    "objectives.distill.weight=1.0",
    "teacher.decay_start=0.9",
    "train.log_every_steps=1",
)
FINETUNE_SETTINGS = (
    *_DATA,
    "protocol.num_folds=2",
    "protocol.final_model=false",
    "train.log_every_steps=1",
    "evaluate_every_steps=5",
)


class FourVoices(SyntheticBuilder):
    """The embedded corpus with 64 utterances."""

    name = "synthetic"

    def __init__(self, *, data_dir):
        super().__init__(data_dir=data_dir, num_speakers=4, utterances_per_speaker=16)


def prepare_four_voices(data_dir: Path, monkeypatch) -> None:
    """Prepares and annotates the small corpus."""
    monkeypatch.setitem(CORPORA, "synthetic", FourVoices)
    prepare(data_dir=data_dir, corpus="synthetic")
    annotate_corpus("signal", "synthetic", data_dir=data_dir)


def pretrain_config(data_dir: Path, *settings: str) -> PretrainConfig:
    overrides = [f"data.data_dir={data_dir}", *PRETRAIN_SETTINGS, *settings]
    return load_config(PretrainConfig, PRETRAIN, overrides)


def finetune_config(data_dir: Path, *settings: str) -> FinetuneConfig:
    overrides = [f"data.data_dir={data_dir}", *FINETUNE_SETTINGS, *settings]
    return load_config(FinetuneConfig, FINETUNE, overrides)


def never(step: int) -> bool:
    """No SIGTERM comes."""
    return False


def values_of(folder: Path) -> list[dict]:
    """What a run logged, without how fast it went."""
    return [
        {name: value for name, value in line.items() if name not in TIMINGS}
        for line in read_metrics(folder / "metrics.jsonl")
    ]


def arguments(verb: str, data_dir: Path, workdir: Path, *settings: str) -> list[str]:
    """The command line of a run."""
    config, own = (
        (PRETRAIN, PRETRAIN_SETTINGS) if verb == "pretrain" else (FINETUNE, FINETUNE_SETTINGS)
    )
    given = (f"data.data_dir={data_dir}", *own, *settings)
    words = [verb, "--config", config, "--workdir", str(workdir)]
    return words + [f"--config.{setting}" for setting in given]


# Runs `sersl` and does something to its own process before a step: what a cluster would do.
_INTERRUPTED = """
import os, resource, shutil, signal, sys, time
from sersl.cli.main import main
from sersl.parallel import distributed
ask, at = distributed.preempted, int(sys.argv[1])
def preempted(step):
    if step == at:
        {action}
    return ask(step)
distributed.preempted = preempted
sys.exit(main(sys.argv[2:]))
"""
ACTIONS = {
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    # jax agrees on a step in the background: the pause gives it time, the run has few steps
    "terminate": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(2)",
    # no file may grow over 20 kB: as on a full disk, writing fails with an error
    "full disk": (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    ),
    "remove": "shutil.rmtree(sys.argv[sys.argv.index('--workdir') + 1])",
}


def start(words: list[str], *, action: str = "", at: int = 0, devices: int = 1, **environment):
    """Starts `sersl` with these words in a process of its own.

    Args:
      words: as from `arguments`.
      action: what happens to it, a key of ACTIONS, or "".
      at: step before which it happens.
      devices: pretend CPU devices.
      environment: more variables.

    Returns:
      The Popen object with text pipes.
    """
    if action:
        command = ["-c", _INTERRUPTED.format(action=ACTIONS[action]), str(at), *words]
    else:
        command = ["-m", "sersl", *words]
    settings = {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **settings, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(words: list[str], **options) -> tuple[int, str, str]:
    """Runs `start` to its end: (exit code, standard output, standard error)."""
    process = start(words, **options)
    try:
        out, err = process.communicate(timeout=900)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, err
