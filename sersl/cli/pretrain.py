"""`sersl pretrain`: from a config to the checkpoints of a workdir."""

from sersl.cli.stopping import say_next, stopped
from sersl.config.load import load_config
from sersl.config.schema import PretrainConfig
from sersl.parallel import distributed
from sersl.parallel.watchdog import ends_together
from sersl.pretraining.run import pretrain
from sersl.release.starting_weights import read_weights
from sersl.training.loop import Preempted


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
    weights = read_weights(config.init_from) if config.init_from else None
    frozen = [read_weights(folder) for folder in config.frozen_teachers]
    try:
        pretrain(
            config,
            arguments.workdir,
            preempted=distributed.preempted,
            weights=weights,
            frozen=frozen,
        )
    except Preempted as stop:
        return stopped(stop, arguments.workdir)
    if distributed.is_first_process():
        print(f"pretrained: {arguments.workdir}")
    own = ("--workdir", "DIR", f"--config.init_from={arguments.workdir}")
    say_next("sersl", "finetune", "--config", "configs/finetune/emotion.py:tiny", *own)
    return 0
