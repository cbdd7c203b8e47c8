"""What a run or fold writes while it trains: metrics, progress, checkpoints and a profile."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sersl.config.load import to_dict
from sersl.config.schema import FinetuneConfig, PretrainConfig
from sersl.runs.checkpoint import Checkpoints
from sersl.training.boards import open_board
from sersl.training.loop import Output
from sersl.training.observe import Metrics, Progress
from sersl.training.profile import Profile


@contextlib.contextmanager
def open_output(
    folder: Path,
    config: FinetuneConfig | PretrainConfig,
    *,
    start_step: int,
    checkpoints: Checkpoints,
    progress: Progress,
    shown: tuple[str, ...],
    plan: str | None = None,
    first: bool,
) -> Iterator[Output]:
    """Opens what the training loop writes, and closes it, checkpoints included.

    Args:
      folder: of the run or fold.
      config: of the run.
      start_step: updates already done.
      checkpoints: of the folder.
      progress: shows values to people.
      shown: names of those values.
      plan: fingerprint of the batches, saved beside every state; None: left out.
      first: whether this is the process that writes.

    Yields:
      The output.

    Raises:
      UserError: a file cannot be read or written, or the extra of a board is not installed.
    """
    settings = to_dict(config)
    board = open_board(config.train.wandb, folder, config=settings, enabled=first)
    with contextlib.ExitStack() as opened:
        opened.callback(checkpoints.close)
        opened.callback(progress.close)
        metrics = Metrics(
            folder,
            start_step=start_step,
            enabled=first,
            every_steps=config.train.log_every_steps,
            board=board,
        )
        opened.callback(metrics.close)
        yield Output(
            metrics=metrics,
            progress=progress,
            shown=shown,
            checkpoints=checkpoints,
            saved={"config": settings} | ({} if plan is None else {"plan": plan}),
            profile=Profile.of(folder / "profile", config.train),
        )
