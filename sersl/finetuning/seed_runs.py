"""The runs of a fine-tuning command: one in the workdir, or one in it for each of several seeds."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from sersl.config.load import save_json
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.eval.over_seeds import SEEDS, seed_folders
from sersl.parallel.agreement import of_first


class SeedRun(NamedTuple):
    """A run of one seed: its config, with `train.seed` alone, and its folder."""

    config: FinetuneConfig
    workdir: Path


def seed_runs(config: FinetuneConfig, workdir: Path) -> list[SeedRun]:
    """Lists the runs of a command, one for each seed.

    Args:
      config: of the command.
      workdir: of the command, and of the run if there is one only.

    Raises:
      UserError: a seed is there twice, or the workdir holds a run of one seed and now there are
        several, or the other way round.
    """
    seeds = config.train.seeds or (config.train.seed,)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"train.seeds={seeds} has a seed twice: give each seed once")
    runs = [
        SeedRun(
            dataclasses.replace(
                config, train=dataclasses.replace(config.train, seed=seed, seeds=())
            ),
            workdir if len(seeds) == 1 else workdir / SEEDS / str(seed),
        )
        for seed in seeds
    ]
    one = of_first(int((workdir / "folds").is_dir()))
    several = of_first(int(bool(seed_folders(workdir))))
    if several and len(seeds) == 1:
        raise UserError(
            f"workdir {workdir} has a run of several seeds: give train.seeds as before, or use "
            "another workdir"
        )
    if one and len(seeds) > 1:
        raise UserError(
            f"workdir {workdir} has a run of one seed: use another workdir for train.seeds={seeds}"
        )
    return runs


def write_command(config: FinetuneConfig, workdir: Path) -> None:
    """Writes the config.json of a command of several seeds, beside `seeds/`."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        save_json(config, workdir / "config.json")
    except OSError as error:
        raise UserError(f"workdir {workdir} cannot be written: {error}") from error
