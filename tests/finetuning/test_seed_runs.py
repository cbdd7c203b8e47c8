"""The runs of a command with several seeds: their configs, their folders, what is refused."""

import dataclasses

import pytest

from sersl.config.load import from_overrides
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.finetuning.seed_runs import seed_runs


def config_of(*settings):
    return from_overrides(FinetuneConfig, settings)


def test_seed_runs_when_one_seed_then_the_workdir_itself(tmp_path):
    (plain,) = seed_runs(config_of("train.seed=4"), tmp_path)
    (listed,) = seed_runs(config_of("train.seeds=(4,)"), tmp_path)
    assert plain == listed
    assert plain.workdir == tmp_path and plain.config.train.seed == 4


def test_seed_runs_when_several_seeds_then_each_is_a_run_of_one_seed(tmp_path):
    config = config_of("train.seeds=(0,7)")
    runs = seed_runs(config, tmp_path)
    assert [one.workdir for one in runs] == [tmp_path / "seeds" / "0", tmp_path / "seeds" / "7"]
    expected = dataclasses.replace(config.train, seeds=(), seed=7)
    assert runs[1].config == dataclasses.replace(config, train=expected)


@pytest.mark.parametrize(
    ("folder", "seeds", "reason"),
    [
        ("folds", "(0,1)", "a run of one seed"),
        ("seeds/0", "(0,)", "a run of several seeds"),
        ("other", "(1,1)", "a seed twice"),
    ],
)
def test_seed_runs_when_the_workdir_or_the_seeds_are_wrong_then_one_sentence(
    tmp_path, folder, seeds, reason
):
    (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(UserError, match=reason):
        seed_runs(config_of(f"train.seeds={seeds}"), tmp_path)
