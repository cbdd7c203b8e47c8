"""A plan of a run on pretend devices: its numbers add up, and what cannot be is one sentence."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from sersl.cli.main import main
from sersl.config.load import load_config
from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError
from sersl.parallel.sharding import bytes_per_device
from sersl.planning import plan as plan_module
from sersl.planning.largest_batch import Choice, cheapest, fit
from sersl.planning.plan import kept_per_row, make_plan
from sersl.planning.summary import choices_text, plan_record, plan_text
from sersl.planning.times import best_times, sent_by_kind
from sersl.planning.topology import describe_topology
from tests.tiny_runs import PRETRAIN

SETTINGS = (
    "data.max_seconds=2.0",
    "data.seconds_per_batch=32.0",
    "encoder.scan_layers=true",
    "objectives.distill.weight=1.0",
)


def config_of(*settings) -> PretrainConfig:
    return load_config(PretrainConfig, PRETRAIN, [*SETTINGS, *settings])


@pytest.fixture(scope="module")
def plan():
    return make_plan(config_of("mesh.fsdp=4", "encoder.remat=full"), describe_topology("cpu:8"))


def test_plan_when_made_then_has_parameters_and_bytes_of_a_device(plan):
    assert plan.mesh_sizes == {"data": 2, "fsdp": 4, "tensor": 1}
    assert (plan.bucket.rows, plan.bucket.seconds, plan.rows_per_device) == (16, 2.0, 2)
    assert plan.attention == ("xla", "")  # TPUs have a kernel of their own
    total = sum(plan.num_params.values())
    assert set(plan.num_params) == {"encoder", "contrastive", "prosody", "distill"}
    memory = plan.memory
    # A quarter of what fsdp cuts, whole what it does not; two moments; a teacher of the encoder.
    assert total * 4 / 4 < memory.params < total * 4
    assert 2 * memory.params <= memory.optimizer < 2.01 * memory.params
    assert memory.teacher < memory.params
    assert sum(memory) == plan.compiled.peak_bytes
    assert min(memory) > 0
    assert plan.compiled.fits


def test_plan_when_made_then_has_flops_with_and_without_recomputation(plan):
    config, tokens = plan.config, plan.bucket.rows * 100
    # 6 per weight and frame, 12 T D per frame and layer for attention (PaLM, appendix B), of the
    # student; the teacher only looks: a third of it.
    encoder = config.encoder
    weights = encoder.num_layers * (4 * encoder.width**2 + 2 * encoder.width * encoder.mlp_width)
    attention = encoder.num_layers * 2 * 100 * encoder.width
    student = 6 * (weights + attention) * tokens
    assert student * 4 / 3 < plan.model_flops < 6 * student  # nano: the rest is not small
    again = plan.hardware_flops - plan.model_flops
    # A checkpointed layer computes its forward pass again, but for the last product.
    np.testing.assert_allclose(again, student / 3, rtol=0.2)


def test_flops_when_of_a_wide_encoder_then_follow_the_formula():
    wide = ("encoder.width=256", "encoder.mlp_width=1024", "encoder.num_layers=3")
    alone = (
        "objectives.contrastive.weight=0",
        "objectives.distill.weight=0",
        "data.seconds_per_batch=16.0",
    )
    config = config_of(*wide, *alone)
    topology = describe_topology("cpu:1")
    mesh = plan_module.make_mesh(config.mesh, topology.devices)
    bucket = plan_module.longest_bucket(config, mesh, rows_per_device=None)
    with jax.set_mesh(mesh):
        traced = plan_module._trace(config, mesh, bucket)[2]
    tokens = bucket.rows * 100
    encoder = config.encoder
    weights = encoder.num_layers * (4 * encoder.width**2 + 2 * encoder.width * encoder.mlp_width)
    projection = 160 * encoder.width  # its input needs no gradient: 4 instead of 6
    head = encoder.width * config.objectives.prosody.hidden
    expected = 6 * (weights + encoder.num_layers * 2 * 100 * encoder.width + head) * tokens
    expected += 4 * projection * tokens
    found = plan_module.count_flops(traced.jaxpr)
    np.testing.assert_allclose(found, expected, rtol=0.05)
    # XLA counts a loop once, so for it the layers stand side by side.
    listed = dataclasses.replace(config, encoder=dataclasses.replace(encoder, scan_layers=False))
    with jax.set_mesh(mesh):
        traced = plan_module._trace(listed, mesh, bucket)[2]
    np.testing.assert_allclose(plan_module.count_flops(traced.jaxpr), found, rtol=1e-6)
    cost = traced.lower().compile().cost_analysis()["flops"]
    # XLA also counts the sums and exponentials around the products.
    assert found < cost < 1.2 * found


def test_times_when_computed_then_are_bounds_from_the_rates_of_the_chip(plan):
    times, chip = best_times(plan), plan.topology.chip
    assert times.compute == plan.hardware_flops / 8 / chip.flops
    assert times.step == max(times.compute, times.memory, times.links, times.network)
    assert times.network == 0  # one node
    assert times.mfu_in_turn < times.mfu <= 1
    assert times.audio_seconds == 32.0
    np.testing.assert_allclose(times.audio_hours_per_hour, 32.0 / times.step)
    days = times.days_for(60_000)
    np.testing.assert_allclose(times.chip_hours_for(60_000, 8), days * 24 * 8)


def test_record_and_text_when_of_one_plan_then_agree(plan):
    record = json.loads(json.dumps(plan_record(plan, hours=1000.0)))
    text = plan_text(plan, hours=1000.0)
    assert record["memory"]["fits"] and "fits, " in text
    assert f"{record['parameters']['total']:,}" in text
    assert record["memory"]["peak"] == sum(plan.memory)
    assert {one["kind"] for one in record["collectives"]} == {c.kind for c in sent_by_kind(plan)}
    assert record["audio"]["hours"] == 1000.0
    # The codebook is cut by "tensor" only; it is small here, so it is not listed.
    assert record["left_whole"] == []


def test_cost_when_a_price_is_given_then_is_that_of_the_chip_hours(plan):
    times = best_times(plan)
    cost = plan_record(plan, hours=1000.0, price=2.5)["cost"]
    np.testing.assert_allclose(cost["epoch"], 2.5 * 8 * 1000.0 / times.audio_hours_per_hour)
    np.testing.assert_allclose(cost["run"], 2.5 * 8 * times.run_hours)
    text = plan_text(plan, hours=1000.0, price=2.5)
    assert f"at least {cost['epoch']:,.2f} for an epoch and {cost['run']:,.2f} for" in text
    assert "cost" not in plan_record(plan, hours=1000.0)
    assert "chip-hour\n" not in plan_text(plan, hours=1000.0)


def test_plan_when_it_does_not_fit_then_says_by_how_much():
    topology = describe_topology("cpu:2")
    small = topology._replace(chip=topology.chip._replace(memory_bytes=2**19))
    plan = make_plan(config_of(), small, rows_per_device=4)
    assert not plan.compiled.fits
    missing = (plan.compiled.peak_bytes - 2**19) / 2**30
    assert f"DOES NOT FIT, {missing:.2f} too much" in plan_text(plan, hours=1.0)
    assert plan_record(plan, hours=1.0)["memory"]["spare"] < 0


@pytest.mark.slow
def test_plan_when_accumulating_then_keeps_the_activations_of_one_part():
    topology = describe_topology("cpu:1")
    whole = make_plan(config_of(), topology, rows_per_device=8)
    parts = make_plan(config_of("train.accumulate_steps=4"), topology, rows_per_device=8)
    assert parts.memory.params == whole.memory.params
    assert parts.compiled.peak_bytes < 0.6 * whole.compiled.peak_bytes
    # The sums over the batch need masks and codes, not a second run of the encoder.
    assert parts.hardware_flops < 2 * whole.hardware_flops


def test_kept_per_row_when_longer_or_recomputed_then_grows_or_falls():
    def kept(*settings):
        config = config_of(*settings)
        mesh = plan_module.make_mesh(config.mesh, jax.devices()[:1])
        bucket = plan_module.longest_bucket(config, mesh, rows_per_device=1)
        task, state, _ = plan_module._trace(config, mesh, bucket)
        assert bytes_per_device(state.params, plan_module.shardings_of(state.params)) > 0
        return kept_per_row(task, state, bucket)

    none, full = kept(), kept("encoder.remat=full")
    assert full < none
    assert kept("data.max_seconds=4.0", "data.seconds_per_batch=64.0") > 1.8 * none


PER_ROW = {"none": 50, "dots": 20, "full": 10}  # bytes of a pretended step


class Pretended:
    """A step that takes 100 bytes and so many a row, of 777."""

    def __init__(self, config, rows):
        remat = config.encoder.remat
        peak = 100 + PER_ROW[remat] * rows
        self.config, self.topology, self.bucket = config, None, None
        self.rows_per_device = rows
        self.memory = plan_module.Memory(60, 30, 10, 0, 0, 0)
        self.compiled = plan_module.Compiled(
            fits=peak <= 777, peak_bytes=peak, available_bytes=777, seconds=60.0,
            cpu_seconds=0.0, host_bytes=0, collectives=[], memory_traffic=0, notes=[],
        )  # fmt: skip


@pytest.fixture
def pretended(monkeypatch):
    """Compiles nothing; gives the list of what was tried."""
    tries = []

    def pretend(config, topology, *, rows_per_device):
        tries.append((config.encoder.remat, rows_per_device))
        return Pretended(config, rows_per_device)

    monkeypatch.setattr("sersl.planning.largest_batch.make_plan", pretend)
    monkeypatch.setattr(
        "sersl.planning.largest_batch.traced_per_row",
        # the trace sees two thirds of what the compiler needs
        lambda config, topology, bucket: PER_ROW[config.encoder.remat] / 1.5,
    )
    return tries


@pytest.mark.parametrize(("remat", "rows"), [("dots", 30), ("none", 1), ("full", 60)])
def test_fit_when_run_then_finds_the_last_row_that_fits_in_few_compilations(remat, rows, pretended):
    said = []
    config = config_of(f"encoder.remat={remat}")
    choices = fit(config, Pretended(config, rows), report=said.append)
    assert [(c.remat, c.plan.rows_per_device, c.too_many) for c in choices] == [
        ("none", 13, 14),
        ("dots", 33, 34),
        ("full", 67, 68),
    ]
    assert said[0].startswith("fit: 3 policies, at most 11 compilations; the one above took 60 s")
    assert "so up to 11 minutes" in said[0]
    assert len(said) - 1 == len(pretended) <= 9
    assert (remat, rows) not in pretended  # it was there
    assert cheapest(choices, 30).remat == "dots"
    assert cheapest(choices, 100) is None


def test_fit_when_parts_are_accumulated_then_rows_are_multiples_of_them(pretended):
    config = config_of("train.accumulate_steps=4", "encoder.remat=none")
    choices = fit(config, Pretended(config, 4), report=lambda line: None)
    assert [(c.plan.rows_per_device, c.too_many) for c in choices] == [(12, 16), (32, 36), (64, 68)]


def test_fit_when_nothing_fits_then_says_how_few_were_tried(pretended, monkeypatch):
    monkeypatch.setitem(PER_ROW, "none", 700)
    config = config_of("encoder.remat=none")
    choices = fit(config, Pretended(config, 8), report=lambda line: None)
    assert choices[0] == Choice("none", None, 1, 1)
    assert "not even 1 row(s) per device fit" in choices_text(choices[:1])


def test_plan_verb_when_there_is_no_corpus_then_writes_json(tmp_path, capsys):
    output = tmp_path / "plan.json"
    words = ["plan", "--config", PRETRAIN, "--topology", "cpu:4", "--output", str(output)]
    settings = [f"--config.{setting}" for setting in SETTINGS]
    assert main([*words, *settings, "--rows_per_device", "2", "--hours", "500"]) == 0
    record = json.loads(output.read_text())
    assert record["batch"] == {
        "rows": 8, "rows_per_device": 2, "seconds_per_row": 2.0, "accumulate_steps": 1,
    }  # fmt: skip
    assert capsys.readouterr().err == ""
    # Copies of the state exchange their gradients: 2 (n - 1) / n of its bytes, in float32.
    sent = sum(one["sent"] for one in record["collectives"])
    np.testing.assert_allclose(sent, 2 * 3 / 4 * 4 * record["parameters"]["total"], rtol=0.03)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--topology", "v5e:4x4x"], "is not a topology: write CHIP:SHAPE"),
        (["--topology", "cpu:8", "--config.mesh.fsdp=3"], "does not fit the 8 devices"),
        (
            ["--topology", "cpu:8", "--config.data.row_multiple=1",
             "--config.data.seconds_per_batch=6.0", "--config.data.max_seconds=2.0"],
            "a batch of 3 rows does not divide over mesh data=8",
        ),
        (["--topology", "cpu:99999x99999"], "has 9,999,800,001 devices, not 1 to 65,536"),
        (["--topology", "cpu:0"], "has 0 devices, not 1 to"),
        (["--topology", "h100:99999x8"], "has 799,992 devices, not 1 to"),
        (["--topology", "cpu:8", "--slices", "9" * 30], "--slices: takes a whole number"),
        (["--topology", "cpu:8", "--hours", "0"], "--hours: takes a number above 0, not 0.0"),
        (["--topology", "cpu:8", "--hours", "nan"], "--hours: takes a number above 0, not nan"),
        (["--topology", "cpu:8", "--hours", "inf"], "--hours: takes a number of at most"),
        (["--topology", "cpu:8", "--rows_per_device", "0"], "device: takes 1 or more, not 0"),
        (["--topology", "cpu:8", "--rows_per_device", "9" * 30], "takes a number of at most"),
        (["--topology", "cpu:8", "--config.frozen_teachers=a"], "plan without them, with"),
        (["--topology", "cpu:8", "--config.kept_teachers=a"], "plan without them and without"),
    ],
)  # fmt: skip
def test_plan_verb_when_it_cannot_be_then_says_one_sentence(words, sentence, capsys):
    assert main(["plan", "--config", PRETRAIN, *words]) == 2
    assert sentence in capsys.readouterr().err


def test_longest_bucket_when_the_budget_holds_no_row_then_is_refused():
    config = config_of("data.seconds_per_batch=1.0")
    mesh = plan_module.make_mesh(config.mesh, jax.devices()[:1])
    with pytest.raises(UserError, match=r"data.seconds_per_batch=1 holds 0 rows"):
        plan_module.longest_bucket(config, mesh, rows_per_device=None)
