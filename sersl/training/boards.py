"""Dashboards for the values of a run: Weights & Biases."""

from collections.abc import Mapping
from pathlib import Path

from sersl.core.errors import UserError
from sersl.core.extras import install_hint

_PROJECT = "sersl"


class WandbBoard:
    """A run of Weights & Biases; offline runs are stored in `<folder>/wandb` for `wandb sync`."""

    def __init__(self, folder: str | Path, *, mode: str, name: str, config: Mapping):
        """Opens the run.

        Args:
          folder: of the run or fold.
          mode: "offline" or "online".
          name: of the run in the dashboard.
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
        """Logs the values of a step, `step` updates being done."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Writes everything and ends the run."""
        self._run.finish()


def open_board(mode: str, folder: str | Path, *, config: Mapping, enabled: bool):
    """Opens the dashboard of a run, or returns None if `train.wandb` is "off".

    Args:
      mode: `train.wandb`.
      folder: of the run or fold; its path names the run.
      config: resolved.
      enabled: False in all processes but the first.

    Raises:
      UserError: the extra is not installed.
    """
    if mode == "off" or not enabled:
        return None
    folder = Path(folder)
    return WandbBoard(folder, mode=mode, name="/".join(folder.parts[-2:]), config=config)
