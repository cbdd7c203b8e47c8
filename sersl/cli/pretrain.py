"""`sersl pretrain`: from a config to the checkpoints of a workdir; also before fine-tuning."""

import dataclasses
from pathlib import Path
from typing import TypedDict

from sersl.cli.console.stopping import say_next, stopped
from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.parallel import distributed
from sersl.parallel.watchdog import ends_together
from sersl.pretraining.run import pretrain
from sersl.release.starting_weights import read_weights
from sersl.runs.initial_weights import InitialWeights
from sersl.training.loop import Preempted

FIRST_STAGE = "pretrain"  # of the first stage, in the workdir of fine-tuning


@ends_together
def run(arguments) -> int:
    """Pretrains, or resumes pretraining.

    Args:
      arguments: `config`, `workdir`, `overrides`.

    Returns:
      The exit code: 0, also after SIGTERM, when the state is saved.
    """
    config = load_config(PretrainConfig, arguments.config, arguments.overrides)
    silence = config.train.host_timeout_seconds
    distributed.initialize(host_timeout_seconds=silence)
    distributed.watch(timeout_seconds=silence)
    encoders = _read_encoders(config)
    try:
        pretrain(
            config,
            arguments.workdir,
            preempted=distributed.preempted,
            **encoders,
        )
    except Preempted as stop:
        return stopped(stop, arguments.workdir)
    if distributed.is_first_process():
        print(f"pretrained: {arguments.workdir}")
    say_next(*next_command(config, arguments.workdir))
    return 0


def next_command(config: PretrainConfig, workdir: str) -> list[str]:
    """Writes the command that fine-tunes a pretrained encoder on the same data."""
    recipe = "frozen.py:ridge" if config.init_from else "emotion.py:tiny"
    settings = {
        "init_from": workdir,
        "data.data_dir": config.data.data_dir,
        "data.corpora": ",".join(config.data.corpora),
    }
    return [
        *("sersl", "finetune", "--config", f"configs/finetune/{recipe}"),
        *("--workdir", f"{workdir.rstrip('/')}-finetuned"),
        *(f"--config.{name}={value}" for name, value in settings.items()),
    ]


def pretrain_first(
    config: FinetuneConfig, workdir: Path, *, spec: str, num_steps: int | None
) -> FinetuneConfig:
    """Pretrains on the corpora of a fine-tuning run, or resumes that, or finds it done.

    No label is used, but the audio of all speakers is, also of those that are tested.

    Args:
      config: of fine-tuning, which gives the corpora, `init_from`, the mesh and the seed.
      workdir: of fine-tuning; the first stage runs in its folder `pretrain`.
      spec: "FILE.py" or "FILE.py:PRESET", the config of pretraining.
      num_steps: updates of the first stage; None: those of its config.

    Returns:
      The config of fine-tuning that starts from the pretrained encoder.

    Raises:
      UserError: `spec` names another `init_from`, or see `pretrain`.
      Preempted: the state was saved before the last step.
    """
    own = load_config(PretrainConfig, spec)
    if own.init_from not in ("", config.init_from):
        raise UserError(
            f"--pretrain {spec} has init_from={own.init_from!r}, and fine-tuning has "
            f"{config.init_from!r}: set it in one of them, or both alike"
        )
    source = config.init_from or own.init_from
    data = dataclasses.replace(
        own.data,
        data_dir=config.data.data_dir,
        corpora=config.data.corpora,
        weights=config.data.weights,
    )
    train = dataclasses.replace(own.train, seed=config.train.seed)
    if num_steps is not None:
        train = dataclasses.replace(train, num_steps=num_steps)
    own = dataclasses.replace(own, data=data, train=train, mesh=config.mesh, init_from=source)
    folder = workdir / FIRST_STAGE
    pretrain(
        own,
        folder,
        preempted=distributed.preempted,
        **_read_encoders(own),
    )
    return dataclasses.replace(config, init_from=str(folder))


class _Encoders(TypedDict):
    """What a run starts from and learns from, as `pretrain` takes it."""

    weights: InitialWeights | None
    frozen: list[InitialWeights]
    kept: list[InitialWeights]


def _read_encoders(config: PretrainConfig) -> _Encoders:
    """Reads the folders that the settings name."""
    return {
        "weights": read_weights(config.init_from) if config.init_from else None,
        "frozen": [read_weights(folder) for folder in config.frozen_teachers],
        "kept": [read_weights(folder, setting="kept_teachers") for folder in config.kept_teachers],
    }
