"""Boards that a run's values are also shown on: Weights & Biases."""

from collections.abc import Mapping
from pathlib import Path

from sersl.core.errors import UserError
from sersl.core.extras import install_hint

_PROJECT = "sersl"


class WandbBoard:
    """A run of Weights & Biases; offline ones wait in `<folder>/wandb` for `wandb sync`."""

    def __init__(self, folder: str | Path, *, mode: str, name: str, config: Mapping):
        """Opens it.

        Args:
          folder: of the run or fold.
          mode: "offline" or "online".
          name: of the run on the board.
          config: resolved, JSON-able.

        Raises:
          UserError: the extra is not installed.
        """
        try:
            import wandb
        except ImportError as error:
            raise UserError(
                f"train.wandb needs Weights & Biases: {install_hint('wandb')}, or leave it off"
            ) from error
        self._run = wandb.init(
            project=_PROJECT, name=name, dir=str(folder), mode=mode, config=dict(config)
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the values of a step.

        Args:
          step: updates done.
          values: name to value.
        """
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Writes everything and ends the run on the board."""
        self._run.finish()


def open_board(mode: str, folder: str | Path, *, config: Mapping, enabled: bool):
    """Opens the board of a run, if it is to have one.

    Args:
      mode: `train.wandb`.
      folder: of the run or fold; its path names the run.
      config: resolved.
      enabled: False in all processes but the first.

    Returns:
      A WandbBoard, or None.

    Raises:
      UserError: unknown mode, or the extra is not installed.
    """
    if mode == "off" or not enabled:
        return None
    folder = Path(folder)
    return WandbBoard(folder, mode=mode, name="/".join(folder.parts[-2:]), config=config)
