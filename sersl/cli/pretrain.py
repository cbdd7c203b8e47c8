"""`sersl pretrain`: a config and a workdir in, checkpoints out."""

from sersl.config.load import load_config
from sersl.config.schema import PretrainConfig
from sersl.parallel import distributed
from sersl.release.initial import read_weights
from sersl.train.loop import Preempted
from sersl.train.pretrain import pretrain


def run(arguments) -> int:
    """Pretrains, or goes on.

    Args:
      arguments: `config`, `workdir`, `overrides`.

    Returns:
      The exit code: 0, also when the machine was taken away and the state saved.
    """
    config = load_config(PretrainConfig, arguments.config, arguments.overrides)
    distributed.initialize()
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
        if distributed.is_first_process():
            print(
                f"stopped by SIGTERM, saved at step {stop.step} in {arguments.workdir}: "
                "start the same command again to go on"
            )
        return 0
    if distributed.is_first_process():
        print(f"pretrained: {arguments.workdir}")
    return 0
