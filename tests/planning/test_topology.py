"""Hardware that is not there: what exists is described, what does not is one sentence."""

import importlib.util

import jax
import pytest

from sersl.config.schema import MeshConfig
from sersl.core.errors import UserError
from sersl.parallel import mesh as mesh_module
from sersl.parallel.chips import CHIPS
from sersl.parallel.mesh import make_mesh
from sersl.planning import topology as topology_module
from sersl.planning.topology import describe_topology


def test_topology_when_of_cpus_then_has_the_devices_of_this_process():
    topology = describe_topology("cpu:2x2")
    assert topology.devices == jax.devices()[:4]
    assert topology.chip is CHIPS["cpu"]
    assert topology.domain(reversed(topology.devices)) == [0] * 4
    sliced = describe_topology("cpu:2", slices=2)
    assert sliced.domain(topology.devices) == [0, 0, 1, 1]
    assert (topology.title, sliced.title) == ("cpu:2x2", "2 x cpu:2")
    # The nodes of a GPU cluster are in its name.
    assert sliced._replace(name="h100:2x8").title == "h100:2x8"


@pytest.mark.parametrize(
    ("name", "slices", "sentence"),
    [
        ("v5f:4x4", 1, "unknown chip 'v5f': did you mean 'v5"),
        ("v5e", 1, "--topology v5e with 1 slices is not a topology: write CHIP:SHAPE"),
        ("v5e:4by4", 1, "is not a topology: write CHIP:SHAPE"),
        ("cpu:4", 0, "with 0 slices is not a topology"),
        ("cpu:64", 1, "needs 64 CPU devices and this process has 8: set JAX_NUM_CPU_DEVICES=64"),
        ("h100:2x4x8", 1, "--topology h100:2x4x8 with 1 slices is not a GPU cluster"),
    ],
)
def test_topology_when_it_does_not_exist_then_one_sentence(name, slices, sentence):
    with pytest.raises(UserError, match=sentence):
        describe_topology(name, slices=slices)


def test_tpu_topology_when_the_compiler_is_missing_then_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed: pip install 'sersl\[tpu\]'"):
        describe_topology("v5e:4x4")


def test_tpu_topology_when_the_compiler_refuses_it_then_one_sentence(monkeypatch):
    def refuse(**_):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: not divisible by\n bounds")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(topology_module.topologies, "get_topology_desc", refuse)
    expected = r"v5e:3x3 does not exist .INVALID_ARGUMENT: not divisible by bounds.: the smallest"
    with pytest.raises(UserError, match=expected):
        describe_topology("v5e:3x3")


def test_gpu_topology_when_the_plugin_is_missing_then_names_it(monkeypatch):
    def refuse(**_):
        raise NotImplementedError("topology not implemented for cuda")

    monkeypatch.setattr(topology_module.topologies, "get_topology_desc", refuse)
    monkeypatch.setenv("XLA_FLAGS", "")
    with pytest.raises(UserError, match=r"needs jax's CUDA plugin, .* 'jax\[cuda13\]=="):
        describe_topology("h100:2x8")


class Chip:
    """A TPU core that says where it is."""

    platform, device_kind, core_on_chip, num_cores = "tpu", "TPU v5 lite", 0, 1

    def __init__(self, number: int, slice_index: int):
        self.id, self.slice_index, self.process_index = number, slice_index, slice_index
        self.coords = (number % 2, number // 2 % 2, 0)

    def __repr__(self):
        return f"chip {self.id}"


def test_mesh_when_over_slices_then_fsdp_stays_within_a_slice():
    chips = [Chip(number, slice_index) for slice_index in (0, 1) for number in range(4)]
    rows = mesh_module._arrange([4, 2, 1], chips, "asked")
    assert rows.shape == (4, 2, 1)
    assert [[chip.slice_index for chip in row[:, 0]] for row in rows] == [[0, 0]] * 2 + [[1, 1]] * 2


def test_mesh_when_fsdp_crosses_slices_then_is_refused():
    chips = [Chip(number, slice_index) for slice_index in (0, 1) for number in range(4)]
    with pytest.raises(UserError, match=r"data=1 does not divide over the 2 slices.*multiple of 2"):
        make_mesh(MeshConfig(data=1, fsdp=8), chips)


def test_chips_when_listed_then_have_a_source_and_plausible_rates():
    for name, chip in CHIPS.items():
        assert chip.source.startswith("https://") or name == "cpu"
        assert 1e11 <= chip.flops <= 1e16 and 2**30 <= chip.memory_bytes <= 2**38
        assert chip.memory_bandwidth > chip.link_bandwidth >= chip.network_bandwidth > 0 or (
            name == "cpu"
        )
