"""What `sersl pretrain` and `sersl finetune` say when they stop, and what to run after them."""

import shlex
from pathlib import Path

from sersl.parallel import distributed
from sersl.runs.startup import STOPPED
from sersl.training.loop import Preempted


def stopped(stop: Preempted, workdir: str | Path) -> int:
    """Says that the machine was taken away, and leaves a file that scripts can ask for.

    Args:
      stop: with the step that was saved.
      workdir: of the run; gets the file `stopped`, which the next start removes.

    Returns:
      The exit code: 0, for the state is saved.
    """
    if distributed.is_first_process():
        (Path(workdir) / STOPPED).write_text(f"{stop.step}\n")
        print(
            f"stopped by SIGTERM, saved at step {stop.step} in {workdir}: "
            "start the same command again to go on"
        )
    return 0


def say_next(*words: str | Path) -> None:
    """Says which command comes next, in the first process.

    Args:
      words: of the command, quoted where the shell needs it.
    """
    if distributed.is_first_process():
        print(f"next: {shlex.join(str(word) for word in words)}")
