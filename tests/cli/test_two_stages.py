"""`sersl finetune --pretrain`: task-adaptive pretraining, then the labels, as one command."""

import json

import numpy as np
import pytest

from sersl.cli.main import main
from sersl.parallel import distributed
from sersl.runs.checkpoint import load_params
from tests.tiny_runs import arguments

pytestmark = pytest.mark.slow

CONFIG = """
from ml_collections import ConfigDict

def get_config():
    return ConfigDict({
        "init_from": "%s",
        "encoder": {"num_layers": 1, "width": 16, "num_heads": 2, "mlp_width": 16},
        "objectives": {"reconstruction": {"weight": 1.0, "hidden": 16}},
        "data": {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1},
        "train": {"num_steps": 100},
    })
"""


def test_finetune_when_told_to_pretrain_first_then_it_starts_from_that_and_resumes(
    data_dir, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(distributed, "initialize", lambda **options: None)
    monkeypatch.setattr(distributed, "preempted", lambda step: False)
    (tmp_path / "first.py").write_text(CONFIG % "")
    workdir = tmp_path / "run"
    settings = ("train.num_steps=2", "checkpoint.every_steps=2", "protocol.folds=('fold1',)")
    frozen = ("unfreeze=(('encoder/.*',-1),('.*',0))", "store=off")
    words = arguments("finetune", data_dir, workdir, *settings, *frozen)
    words += ["--pretrain", str(tmp_path / "first.py"), "--pretrain_steps", "3"]
    assert main(words) == 0
    first = load_params(workdir / "pretrain")
    assert json.loads((workdir / "pretrain" / "config.json").read_text())["train"]["num_steps"] == 3
    own = load_params(workdir / "folds" / "fold1")
    kernels = [
        params["encoder"]["context"]["layers"][0]["mlp_in"]["kernel"] for params in (first, own)
    ]
    np.testing.assert_array_equal(*kernels)
    results = json.loads((workdir / "results.json").read_text())
    assert 0 < results["parameters"]["trained"] < results["parameters"]["total"]
    capsys.readouterr()
    assert main(words) == 0
    assert "nothing to do: 3 of 3 steps are done" in capsys.readouterr().out
    (tmp_path / "first.py").write_text(CONFIG % "runs/other")
    assert main(words) == 2
    assert "set it in one of them, or both alike" in capsys.readouterr().err
