"""The loop: what it logs, saves and stops for; steps are doubles that take no time."""

import json
from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sersl.config.schema import MeshConfig
from sersl.core.errors import UserError
from sersl.objectives.mean import Mean
from sersl.parallel.mesh import make_mesh
from sersl.runs.checkpoint import Checkpoints
from sersl.training.finite import BadUpdates, without_bad_updates
from sersl.training.loop import Evaluator, Guards, Intervals, Loop, Output, Preempted, read_means
from sersl.training.observe import Metrics, Progress, read_metrics
from sersl.training.profile import Profile
from sersl.training.program import Program
from sersl.training.state import TrainState

NUM_SAMPLES = 400


def batches():
    while True:
        yield {"valid": np.ones([8, NUM_SAMPLES], bool)}


def new_state():
    params = {"w": jnp.zeros([3])}
    return TrainState(jnp.int32(0), params, None, (jnp.zeros([]),))


def stepping(losses):
    """A step that counts in `w` and gives the losses of a table."""

    def step(state, batch, constants):
        assert batch["valid"].shape == (8, NUM_SAMPLES)
        number = int(state.step)
        loss = losses[number] if number < len(losses) else 1.0
        params = {"w": state.params["w"] + 1}
        metrics = {"loss": loss, "gradient_norm": 1.0, "audio_seconds": 2.0}
        means = {name: Mean.of(jnp.float32(value)) for name, value in metrics.items()}
        return TrainState(state.step + 1, params, None, state.opt_state), means

    return step


@pytest.fixture
def make_loop(tmp_path):
    opened = []

    def make(*, losses=(), start_step=0, **changes):
        checkpoints = Checkpoints(tmp_path / "checkpoints", keep_last=2)
        metrics = Metrics(tmp_path, start_step=start_step, enabled=True)
        opened.extend([checkpoints, metrics])
        settings = {
            "compiled": {NUM_SAMPLES: stepping(losses)},
            "rows": {NUM_SAMPLES: 8},
            "constants": {},
            "mesh": make_mesh(MeshConfig()),
            "checkpoints": checkpoints,
            "metrics": metrics,
            "progress": Progress("test", total=10, enabled=False),
            "saved": {},
            "shown": ("loss",),
            "profile": Profile(tmp_path / "profile", first_step=0, num_steps=0),
            "num_steps": 10,
            "log_every_steps": 2,
            "save_every_steps": 3,
            "preempted": lambda step: False,
            "bad_updates": BadUpdates(skip=False, max_in_a_row=10),
            "check": None,
        } | changes
        evaluators = settings.pop("evaluators", ())

        def part(kind):
            return kind(
                **{f.name: settings.pop(f.name) for f in fields(kind) if f.name in settings}
            )

        loop = Loop(
            program=part(Program),
            output=part(Output),
            intervals=part(Intervals),
            guards=part(Guards),
            evaluators=evaluators,
        )
        assert not settings
        return loop

    yield make
    for one in opened:
        one.close()


def logged(tmp_path):
    return read_metrics(tmp_path / "metrics.jsonl")


def test_loop_logs_one_object_a_log_step_and_tensorboard_events(make_loop, tmp_path):
    state = make_loop(losses=np.arange(10.0)).run(new_state(), start_step=0, batches=batches())
    assert int(state.step) == 10
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10]
    assert [line["loss"] for line in lines] == [1.0, 3.0, 5.0, 7.0, 9.0]
    assert set(lines[0]) == {
        "step",
        "loss",
        "gradient_norm",
        "audio_seconds_per_second",
        "step_seconds",
        "data_wait_share",
        "host_memory_gib",
        "crc32",
    }
    assert 0 <= lines[0]["data_wait_share"] <= 1 and lines[0]["host_memory_gib"] > 0
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1


def test_loop_saves_every_few_steps_and_the_last(make_loop, tmp_path):
    loop = make_loop(num_steps=10)
    loop.run(new_state(), start_step=0, batches=batches())
    assert loop.output.checkpoints.steps() == [9, 10]
    step, items = loop.output.checkpoints.restore({"params": placed({"w": jnp.zeros([3])})})
    assert step == 10
    np.testing.assert_array_equal(items["params"]["w"], np.full(3, 10.0))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_loop_when_the_loss_is_not_finite_then_stops_and_keeps_the_last_good_state(
    make_loop, tmp_path, bad
):
    # Step 6 would save; its own loss is bad, so what was saved at 3 is the last.
    loop = make_loop(losses=[1.0] * 5 + [bad])
    with pytest.raises(UserError, match=r"diverged at step 6 \(not finite: loss\): lower"):
        loop.run(new_state(), start_step=0, batches=batches())
    loop.output.checkpoints.wait()
    assert loop.output.checkpoints.steps() == [3]
    assert [line["step"] for line in logged(tmp_path)] == [2, 4]


def make_bad(step, numbers):
    """The same step, with a loss and parameters that are not finite at some steps."""

    def bad(state, batch, constants):
        new, metrics = step(state, batch, constants)
        is_bad = jnp.isin(state.step, jnp.array(numbers))
        loss = Mean.of(jnp.where(is_bad, jnp.nan, metrics["loss"].total))
        params = jax.tree.map(lambda p: jnp.where(is_bad, jnp.nan, p), new.params)
        return TrainState(new.step, params, None, new.opt_state), {**metrics, "loss": loss}

    return bad


def test_loop_when_bad_updates_are_skipped_then_the_state_is_as_if_they_had_not_been(
    make_loop, tmp_path
):
    step = without_bad_updates(make_bad(stepping([1.0] * 10), [2, 3, 7]))
    loop = make_loop(
        compiled={NUM_SAMPLES: step}, bad_updates=BadUpdates(skip=True, max_in_a_row=2)
    )
    state = loop.run(new_state(), start_step=0, batches=batches())
    assert int(state.step) == 10
    np.testing.assert_array_equal(state.params["w"], np.full(3, 7.0))
    lines = {line["step"]: line for line in logged(tmp_path)}
    assert lines[4]["loss"] is None and lines[6]["loss"] == 1.0
    assert [line.get("skipped_updates") for line in lines.values()] == [None, 2, 2, 3, 3]


def test_loop_when_too_many_updates_in_a_row_are_skipped_then_stops(make_loop, tmp_path):
    step = without_bad_updates(make_bad(stepping([1.0] * 10), [1, 4, 5, 6]))
    loop = make_loop(
        compiled={NUM_SAMPLES: step}, bad_updates=BadUpdates(skip=True, max_in_a_row=2)
    )
    with pytest.raises(UserError, match=r"diverged at step 7 \(3 updates in a row were skipped"):
        loop.run(new_state(), start_step=0, batches=batches())


def test_loop_when_a_profile_is_asked_for_then_it_holds_those_steps(make_loop, tmp_path):
    profile = Profile(tmp_path / "profile", first_step=8, num_steps=5)  # beyond the last step
    make_loop(profile=profile).run(new_state(), start_step=0, batches=batches())
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_loop_when_it_saves_then_the_mean_loss_since_the_last_time_goes_with_it(make_loop):
    loop = make_loop(losses=np.arange(10.0))
    loop.run(new_state(), start_step=0, batches=batches())
    stored = [
        loop.output.checkpoints.read_config(step)["loss"]
        for step in loop.output.checkpoints.steps()
    ]
    assert stored == [7.0, 9.0]  # of updates 7 to 9, and of 10


def test_loop_when_a_collapse_is_diagnosed_then_stops_with_the_sentence(make_loop, tmp_path):
    loop = make_loop(check=lambda step, values: "it has collapsed" if step == 4 else None)
    with pytest.raises(UserError, match="it has collapsed"):
        loop.run(new_state(), start_step=0, batches=batches())
    assert [line["step"] for line in logged(tmp_path)] == [2, 4]  # the evidence is logged
    loop.output.checkpoints.wait()
    assert loop.output.checkpoints.steps() == [3]


def test_loop_when_preempted_then_saves_that_step_and_leaves(make_loop, tmp_path):
    loop = make_loop(preempted=lambda step: step == 5)
    with pytest.raises(Preempted) as stop:
        loop.run(new_state(), start_step=0, batches=batches())
    assert stop.value.step == 5
    assert loop.output.checkpoints.steps() == [3, 5]


def test_loop_when_preempted_at_a_saved_step_then_does_not_save_it_twice(make_loop):
    loop = make_loop(preempted=lambda step: step == 3)
    with pytest.raises(Preempted):
        loop.run(new_state(), start_step=0, batches=batches())
    assert loop.output.checkpoints.steps() == [3]


def test_loop_evaluates_every_few_steps_and_at_the_end_and_logs_the_scores(make_loop, tmp_path):
    seen = []

    def evaluate(state, step):
        seen.append((step, int(state.params["w"][0])))
        return {"uar": step / 10}

    evaluators = [Evaluator(name="validation", every_steps=4, evaluate=evaluate)]
    make_loop(evaluators=evaluators, log_every_steps=5).run(
        new_state(), start_step=0, batches=batches()
    )
    assert seen == [(4, 4), (8, 8), (10, 10)]
    scores = {line["step"]: line.get("validation_uar") for line in logged(tmp_path)}
    assert scores == {4: 0.4, 5: None, 8: 0.8, 10: 1.0}


def test_metrics_when_opened_again_then_drop_what_lies_beyond_the_checkpoint(tmp_path):
    first = Metrics(tmp_path, start_step=0, enabled=True)
    for step in (1, 2, 3):
        first.log(step, {"loss": float(step), "bad": float("nan")})
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # killed while writing
    second = Metrics(tmp_path, start_step=2, enabled=True)
    second.log(3, {"loss": 30.0})
    second.close()
    lines = logged(tmp_path)
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert lines[0]["bad"] is None


def test_metrics_of_another_process_than_the_first_write_nothing(tmp_path):
    metrics = Metrics(tmp_path, start_step=0, enabled=False)
    metrics.log(1, {"loss": 1.0})
    metrics.close()
    assert list(tmp_path.iterdir()) == []


def test_read_means_when_nothing_counted_then_the_value_is_left_out():
    means = {"a": Mean(jnp.float32(6.0), jnp.float32(4.0)), "b": Mean.of(jnp.ones(3), jnp.zeros(3))}
    assert read_means(means) == {"a": 1.5}


def test_loop_when_nothing_counts_in_a_loss_then_none_is_logged_or_averaged(make_loop, tmp_path):
    table = stepping(np.arange(10.0))

    def step(state, batch, constants):
        odd = int(state.step) % 2
        state, means = table(state, batch, constants)
        return state, means | {"loss": Mean.of(means["loss"].total, float(odd))}

    loop = make_loop(compiled={NUM_SAMPLES: step}, log_every_steps=1, save_every_steps=10)
    loop.run(new_state(), start_step=0, batches=batches())
    losses = [line.get("loss") for line in logged(tmp_path)]
    assert losses == [None, 1.0, None, 3.0, None, 5.0, None, 7.0, None, 9.0]
    assert loop.output.checkpoints.read_config(10)["loss"] == 5.0


def placed(tree):
    """Shapes of a tree with its shardings."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
