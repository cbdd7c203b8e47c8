import csv
import json

import pytest

from sersl.cli import sweep
from sersl.cli.arguments import make_parser
from sersl.core.errors import UserError
from sersl.finetuning.sweep_plan import read_trials

HEAD = "from ml_collections import ConfigDict\n"


def _config(tmp_path, body, name="sweep.py"):
    path = tmp_path / name
    path.write_text(HEAD + body)
    return str(path)


def test_trials_when_given_as_a_grid_then_every_combination_as_on_the_command_line(tmp_path):
    body = "def get_sweep():\n    return {'a.x': [0.1, 1e-5], 'b': [True, (1, 2)], 'c': ['w']}\n"
    assert read_trials(_config(tmp_path, body)) == [
        {"a.x": "0.1", "b": "true", "c": "w"},
        {"a.x": "0.1", "b": "1,2", "c": "w"},
        {"a.x": "1e-05", "b": "true", "c": "w"},
        {"a.x": "1e-05", "b": "1,2", "c": "w"},
    ]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("def get_config():\n    return ConfigDict()\n", r"defines no get_sweep\(\): add one"),
        ("def get_sweep():\n    return 3\n", "must return a list of dicts, or a dict of lists"),
        ("def get_sweep():\n    return [{'a': 1}]\n", "gives 1 trials; it must give 2 to"),
        ("def get_sweep():\n    return {'a': 1}\n", "gives 'a' no list of values"),
        ("def get_sweep():\n    return [{'a': 1}, {'a': 1}]\n", "twice: leave one"),
        (
            "def get_sweep():\n    return {'protocol.name': ['x', 'y']}\n",
            "changes 'protocol.name', which changes what is measured",
        ),
        ("def get_sweep():\n    return 1 / 0\n", "line 3 cannot be run: ZeroDivisionError"),
    ],
)
def test_trials_when_the_config_file_is_wrong_then_one_sentence(tmp_path, body, sentence):
    with pytest.raises(UserError, match=sentence):
        read_trials(_config(tmp_path, body))


@pytest.fixture
def run_sweep(data_dir, tmp_path, monkeypatch):
    """Runs a sweep of two baselines on four voices; more words of the command line are taken."""
    for name in ("initialize", "watch"):
        monkeypatch.setattr(sweep.distributed, name, lambda **_: None)
    config = _config(
        tmp_path,
        "def get_config():\n"
        "    config = ConfigDict()\n"
        "    config.baseline = {'kind': 'majority', 'features': ('logmel',)}\n"
        "    config.protocol = {'name': 'leave-one-speaker-out', 'final_model': False,\n"
        "                       'validation_fraction': 0.0}\n"
        "    return config\n"
        "def get_sweep():\n"
        "    return {'baseline.kind': ['majority', 'logistic']}\n",
    )

    def run(*words, overrides=()):
        line = ["sweep", "--config", config, "--workdir", str(tmp_path / "w"), *words]
        arguments = make_parser().parse_args(line)
        arguments.overrides = [f"data.data_dir={data_dir}", "data.corpora=synthetic", *overrides]
        return sweep.run(arguments)

    return run


def test_sweep_when_run_in_two_jobs_then_the_last_chooses_by_validation_and_tests_once(
    run_sweep, tmp_path, capsys
):
    workdir = tmp_path / "w"
    assert run_sweep("--jobs", "1/2") == 0
    assert "1 of 2 trials are not done" in capsys.readouterr().out
    assert not list(workdir.rglob("results.json"))  # nothing is tested before the choice
    assert run_sweep("--jobs", "0/2") == 0
    assert "best on validation: trial 1, baseline.kind=logistic" in capsys.readouterr().out
    with open(workdir / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == ["1", "0"]
    assert float(rows[0]["validation"]) > float(rows[1]["validation"])
    assert [path.parent.name for path in workdir.rglob("results.json")] == ["0001"]
    winner = json.loads((workdir / "winner.json").read_text())
    results = json.loads((workdir / "trials" / "0001" / "results.json").read_text())
    assert winner["settings"] == {"baseline.kind": "logistic"}
    assert winner["test"]["uar"] == results["metrics"]["uar"]
    # Again: nothing is done twice, and another sweep is refused.
    before = (workdir / "winner.json").stat().st_mtime_ns
    assert run_sweep() == 0
    assert (workdir / "winner.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="is of a sweep with other trials or settings"):
        run_sweep(overrides=["baseline.inner_folds=2"])


def test_sweep_when_there_is_no_validation_side_then_refused_before_any_work(tmp_path):
    body = (
        "def get_config():\n"
        "    return ConfigDict({'protocol': {'validation_fraction': 0.0}})\n"
        "def get_sweep():\n"
        "    return {'heads.dropout': [0.1, 0.2]}\n"
    )
    words = ["sweep", "--config", _config(tmp_path, body), "--workdir", str(tmp_path / "w")]
    arguments = make_parser().parse_args(words)
    arguments.overrides = []
    with pytest.raises(UserError, match=r"protocol.validation_fraction is 0: set it"):
        sweep.run(arguments)
    assert not list((tmp_path / "w").rglob("*"))
