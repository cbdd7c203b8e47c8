"""What a start writes down, which boards it shows its values on, and how fast it says it is."""

import json
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import pytest

from sersl.config.schema import MeshConfig
from sersl.core.errors import UserError
from sersl.data.buckets import Bucket
from sersl.parallel.chips import CHIPS
from sersl.parallel.mesh import make_mesh
from sersl.runs.record import git_state, record_start
from sersl.training.boards import open_board
from sersl.training.observe import Metrics
from sersl.training.pace import Pace
from sersl.training.step import Layout
from sersl.training.utilization import flops_per_step, peak_flops


def git(root, *words):
    subprocess.run(
        ["git", "-C", root, "-c", "user.name=a", "-c", "user.email=a@b", *words],
        check=True,
        capture_output=True,
    )


def test_git_state_when_files_change_then_names_the_commit_and_the_change(tmp_path):
    assert git_state(tmp_path) is None
    git(tmp_path, "init")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-m", "a")
    clean = git_state(tmp_path)
    assert set(clean) == {"commit"} and len(clean["commit"]) == 40
    (tmp_path / "a").write_text("2")
    changed = git_state(tmp_path)
    assert changed["commit"] == clean["commit"] and len(changed["changes"]) == 64
    (tmp_path / "a").write_text("3")
    assert git_state(tmp_path)["changes"] != changed["changes"]


def test_start_when_recorded_then_a_line_says_what_it_was_made_of(tmp_path):
    mesh = make_mesh(MeshConfig())
    for step in (0, 7):
        record_start(tmp_path, start_step=step, mesh=mesh, data={"own": "abc"})
    first, second = map(json.loads, (tmp_path / "starts.jsonl").read_text().splitlines())
    assert (first["step"], second["step"]) == (0, 7)
    assert first["data"] == {"own": "abc"} and first["command"] == sys.argv
    assert {"sersl", "python", "jax", "flax", "orbax-checkpoint"} <= first["versions"].keys()
    assert first["processes"] == 1 and first["mesh"].startswith("8 cpu devices")


class Wandb(types.ModuleType):
    """Weights & Biases, as far as a board needs it."""

    def init(self, **settings):
        self.settings, self.logged, self.finished = settings, [], False
        return self

    def log(self, values, *, step):
        self.logged.append((step, values))

    def finish(self):
        self.finished = True


def test_board_when_asked_for_then_is_shown_the_values_and_closed(tmp_path, monkeypatch):
    wandb = Wandb("wandb")
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    board = open_board("offline", tmp_path / "run", config={"seed": 1}, enabled=True)
    metrics = Metrics(tmp_path, start_step=0, enabled=True, board=board)
    metrics.log(1, {"loss": 2.0, "bad": float("nan")})
    metrics.close()
    assert wandb.settings["mode"] == "offline" and wandb.settings["config"] == {"seed": 1}
    assert wandb.settings["name"].endswith("/run")
    assert wandb.logged == [(1, {"loss": 2.0})] and wandb.finished


def test_board_when_off_or_another_process_then_none_and_when_not_installed_then_one_sentence(
    tmp_path, monkeypatch
):
    assert open_board("off", tmp_path, config={}, enabled=True) is None
    assert open_board("online", tmp_path, config={}, enabled=False) is None
    monkeypatch.setitem(sys.modules, "wandb", None)  # not installed
    with pytest.raises(UserError, match=r"pip install 'sersl\[wandb\]'"):
        open_board("offline", tmp_path, config={}, enabled=True)


def device(kind: str):
    return types.SimpleNamespace(device_kind=kind)


def test_peak_of_devices_is_the_sum_of_published_rates_or_unknown():
    assert peak_flops([device("TPU v5 lite")] * 4) == 4 * CHIPS["v5e"].flops
    assert peak_flops([device("NVIDIA H200")]) == CHIPS["h200"].flops
    assert peak_flops([device("NVIDIA H200"), device("cpu")]) is None
    assert peak_flops(jax.devices()) is None


def test_flops_of_a_step_follow_its_batch_shape():
    mesh = make_mesh(MeshConfig())
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    state = jax.ShapeDtypeStruct((16, 4), jnp.float32, sharding=whole)
    buckets = [Bucket(num_samples=n, rows=8) for n in (400, 800)]
    layout = Layout(mesh=mesh, buckets=buckets, needs=frozenset())

    def step(state, batch, constants):
        x = batch["waveform"].reshape(-1, 16)
        return state, {"sum": (x @ state).sum()}

    found = flops_per_step(step, state, layout)
    assert found == {400: 2 * 8 * 400 * 4, 800: 2 * 8 * 800 * 4}


def test_pace_when_closed_then_says_speed_waiting_utilization_and_memory():
    pace = Pace(peak_flops=1e15)
    pace.waited(1e9)
    for _ in range(2):
        pace.add(3.0, 1e6)
    values = pace.close()
    assert values["data_wait_share"] == 1.0  # never above
    assert values["audio_seconds_per_second"] == pytest.approx(3 / values["step_seconds"])
    expected = 1e6 / values["step_seconds"] / 1e15
    assert values["model_flops_utilization"] == pytest.approx(expected)
    assert values["host_memory_gib"] > 0.05
    assert "model_flops_utilization" not in pace.close()  # no step since
