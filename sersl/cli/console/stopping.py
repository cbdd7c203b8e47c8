"""What `sersl pretrain` and `sersl finetune` print at their end: how to resume, what is next."""

import shlex
from pathlib import Path

from sersl.parallel import distributed
from sersl.runs.startup import STOPPED
from sersl.training.loop import Preempted


def stopped(stop: Preempted, workdir: str | Path) -> int:
    """Prints how to resume a run that SIGTERM has stopped, and writes the file `stopped`.

    Args:
      stop: with the step that was saved.
      workdir: of the run; the next start removes the file.

    Returns:
      The exit code 0, since the state is saved.
    """
    if distributed.is_first_process():
        (Path(workdir) / STOPPED).write_text(f"{stop.step}\n")
        print(
            f"stopped by SIGTERM, saved at step {stop.step} in {workdir}: "
            "run the same command again to resume"
        )
    return 0


def say_next(*words: str | Path) -> None:
    """Prints the next command, with shell quoting, in the first process."""
    if distributed.is_first_process():
        print(f"next: {shlex.join(str(word) for word in words)}")
