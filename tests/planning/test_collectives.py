"""What a compiled step sends, read from its text: loops, groups in every spelling, and reach."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.config.schema import MeshConfig
from sersl.parallel.mesh import make_mesh
from sersl.planning.collectives import collectives
from sersl.planning.hlo import arrays, read
from sersl.planning.traffic import memory_traffic

MESH = (2, 4, 1)  # data, fsdp, tensor
PROGRAM = """HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%fused (p0: bf16[4,16], p1: f32[]) -> bf16[16,16] {
  %p0 = bf16[4,16]{1,0:T(8,128)(2,1)} parameter(0)
  %p1 = f32[] parameter(1)
  ROOT %gather.1 = bf16[16,16]{1,0:T(8,128)(2,1)S(1)} all-gather(%p0), channel_id=7, GROUPS, dimensions={0}
}

%condition (state: (s32[], bf16[4,16])) -> pred[] {
  %bound = s32[]{:T(128)} constant(12)
  %state = (s32[]{:T(128)}, bf16[4,16]{1,0}) parameter(0)
  %number = s32[]{:T(128)} get-tuple-element(%state), index=0
  ROOT %less = pred[]{:T(512)} compare(%number, %bound), direction=LT
}

%body (state.1: (s32[], bf16[4,16])) -> (s32[], bf16[4,16]) {
  %state.1 = (s32[]{:T(128)}, bf16[4,16]{1,0}) parameter(0)
  %part = bf16[4,16]{1,0} get-tuple-element(%state.1), index=1
  %zero = f32[] constant(0)
  %start = bf16[16,16]{1,0} fusion(%part, %zero), kind=kCustom, calls=%fused
  %done = bf16[16,16]{1,0} fusion(%part, %zero), kind=kCustom, calls=%fused.2
  %number.1 = s32[]{:T(128)} get-tuple-element(%state.1), index=0
  ROOT %next = (s32[]{:T(128)}, bf16[4,16]{1,0}) tuple(%number.1, %part)
}

%fused.2 (p0.2: bf16[4,16], p1.2: f32[]) -> bf16[16,16] {
  %p0.2 = bf16[4,16]{1,0} parameter(0)
  %p1.2 = f32[] parameter(1)
  ROOT %gather.2 = bf16[16,16]{1,0} all-gather(%p0.2), channel_id=7, GROUPS, dimensions={0}
}

%all-reduce-scatter.3 (p0.3: f32[16,8]) -> f32[4,8] {
  %p0.3 = f32[16,8]{1,0} parameter(0)
  %whole = f32[16,8]{1,0} all-reduce(%p0.3), channel_id=9, GROUPS, to_apply=%add
  %zero.3 = s32[] constant(0)
  ROOT %own = f32[4,8]{1,0} dynamic-slice(%whole, %zero.3, %zero.3), dynamic_slice_sizes={4,8}
}

ENTRY %main (x: bf16[4,16], g: f32[16,8]) -> (f32[4,8], (f32[2], f32[3])) {
  %x = bf16[4,16]{1,0} parameter(0)
  %g = f32[16,8]{1,0} parameter(1)
  %first = s32[] constant(0)
  %begin = (s32[]{:T(128)}, bf16[4,16]{1,0}) tuple(%first, %x)
  %loop = (s32[]{:T(128)}, bf16[4,16]{1,0}) while(%begin), condition=%condition, body=%body
  %scattered = f32[4,8]{1,0} fusion(%g), kind=kCustom, calls=%all-reduce-scatter.3
  %two = f32[2]{0} constant({1, 2})
  %three = f32[3]{0} constant({1, 2, 3})
  %both = (f32[2]{0}, f32[3]{0}) all-reduce(%two, %three), channel_id=11, replica_groups={}, to_apply=%add
  ROOT %result = (f32[4,8]{1,0}, (f32[2]{0}, f32[3]{0})) tuple(%scattered, %both)
}
"""  # noqa: E501
SPELLINGS = (
    "replica_groups={{0,1,2,3},{4,5,6,7}}",
    "replica_groups=[2,4]<=[8]",
    "replica_groups=mesh['axis_0'=4,'axis_1'=1,'axis_2'=2], device_ids=([2,4]T(1,0)) {'axis_0'}",
    "replica_groups=mesh['data'=2,'fsdp'=4] {'fsdp'}",
)


def mesh_of(data, fsdp, tensor):
    return make_mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_collectives_when_in_a_loop_then_are_counted_with_loops_and_groups(spelling):
    computations, notes = read(PROGRAM.replace("GROUPS", spelling))
    assert notes == []
    assert computations["body"].runs == computations["fused"].runs == 12
    found = collectives(computations, mesh_of(*MESH), domain=[0] * 4 + [1] * 4)
    by_kind = {one.kind: one for one in found}
    assert len(found) == len(by_kind) == 3
    gather = by_kind["all-gather"]  # once a turn, though two fusions show it
    assert (gather.axes, gather.group_size, gather.runs) == (("fsdp",), 4, 12)
    assert (gather.payload, gather.sent) == (16 * 16 * 2, 16 * 16 * 2 * 3 / 4)
    scatter = by_kind["reduce-scatter"]
    assert (scatter.payload, scatter.sent, scatter.crosses) == (16 * 8 * 4, 384, False)
    reduce = by_kind["all-reduce"]
    assert (reduce.axes, reduce.payload, reduce.crosses) == (("data", "fsdp"), 20, True)
    assert reduce.sent == 2 * 20 * 7 / 8


def test_groups_when_devices_are_transposed_then_span_the_other_axis():
    text = PROGRAM.replace("GROUPS", "replica_groups=[4,2]<=[2,4]T(1,0)")
    found = collectives(read(text)[0], mesh_of(*MESH), domain=[0] * 8)
    assert {one.axes for one in found} == {("data",), ("data", "fsdp")}


def test_read_when_attributes_reach_over_lines_then_the_computation_goes_on():
    text = """HloModule jit_step

ENTRY %main (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  %kernel = f32[8]{0} custom-call(%p), custom_call_target="tpu_custom_call", kernel_metadata={
"xprof_metadata":"{}"
}}, metadata={op_name="kernel"}
  ROOT %sum = f32[8]{0} add(%p, %kernel)
}
"""
    computations, _ = read(text)
    assert list(computations["main"].instructions) == ["p", "kernel", "sum"]
    assert memory_traffic(computations) == 2 * 32 + 3 * 32


def test_memory_traffic_when_of_a_prefetch_then_is_what_it_moves():
    text = """HloModule jit_step

ENTRY %main (p: f32[64]) -> f32[8] {
  %p = f32[64]{0} parameter(0)
  %start = ((f32[64]{0}), f32[8]{0:S(1)}, s32[]{:S(2)}) slice-start(%p), slice={[0:8]}
  %part = f32[8]{0:S(1)} slice-done(%start)
  %back = (f32[8]{0}, f32[8]{0:S(1)}, u32[]{:S(2)}) copy-start(%part)
  ROOT %copy = f32[8]{0} copy-done(%back)
}
"""
    assert memory_traffic(read(text)[0]) == 32 + 32


def test_read_when_a_trip_count_is_unknown_then_says_so():
    text = PROGRAM.replace("direction=LT", "direction=NE").replace(
        "%bound = s32[]{:T(128)} constant(12)",
        "%bound = s32[]{:T(128)} constant(12)\n  %other = s32[] constant(3)",
    )
    computations, notes = read(text)
    assert computations["body"].runs == 1
    assert notes == ["loop loop: trip count unknown, counted once"]


def test_arrays_when_of_a_nested_shape_then_have_bytes_and_memory():
    found = arrays("(f32[8,400]{1,0:T(8,128)}, (bf16[3]{0:T(256)S(1)}, s32[]), pred[7]{0})")
    assert [one.num_bytes for one in found] == [12800, 6, 4, 7]
    assert [one.on_chip for one in found] == [False, True, False, False]


def test_collectives_when_of_a_compiled_scan_then_are_the_gathers_of_its_layers():
    mesh = mesh_of(1, 8, 1)
    layers, width = 6, 32

    def run(x, w):
        def layer(x, w):
            w = jax.lax.with_sharding_constraint(w, NamedSharding(mesh, P()))
            return jnp.tanh(x @ w), None

        return jax.lax.scan(layer, x, w)[0]

    x = jax.ShapeDtypeStruct((16, width), jnp.float32, sharding=NamedSharding(mesh, P("fsdp")))
    w = jax.ShapeDtypeStruct(
        (layers, width, width), jnp.float32, sharding=NamedSharding(mesh, P(None, "fsdp"))
    )
    computations, notes = read(jax.jit(run).lower(x, w).compile().as_text())
    assert notes == []
    found = collectives(computations, mesh, domain=[0] * 8)
    assert {one.kind for one in found} == {"all-gather"}
    assert sum(one.payload * one.runs for one in found) == layers * width * width * 4


def test_all_reduce_when_of_a_gradient_then_sends_twice_its_bytes_minus_a_share():
    mesh = mesh_of(8, 1, 1)
    x = jax.ShapeDtypeStruct((16, 64), jnp.float32, sharding=NamedSharding(mesh, P("data")))
    w = jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=NamedSharding(mesh, P()))
    step = jax.jit(jax.grad(lambda w, x: jnp.square(x @ w).mean()), out_shardings=w.sharding)
    found = collectives(read(step.lower(w, x).compile().as_text())[0], mesh, domain=[0] * 8)
    sent = sum(one.sent * one.runs for one in found)
    np.testing.assert_allclose(sent, 2 * 7 / 8 * 64 * 32 * 4, rtol=0.01)


def test_memory_traffic_when_there_are_no_loops_then_equals_that_of_xla():
    def run(x, w):
        return jnp.tanh(x @ w).sum(0)

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((256, 512), (512, 128))]
    compiled = jax.jit(run).lower(*shapes).compile()
    found = memory_traffic(read(compiled.as_text())[0])
    np.testing.assert_allclose(found, compiled.cost_analysis()["bytes accessed"], rtol=0.05)


def test_memory_traffic_when_of_a_scan_then_reads_a_slice_per_iteration():
    layers, width = 50, 64

    def run(x, w):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]

    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((8, width), (layers, width, width))
    ]
    found = memory_traffic(read(jax.jit(run).lower(*shapes).compile().as_text())[0])
    weights = layers * width * width * 4
    assert weights <= found < 5 * weights  # not layers * weights


@pytest.mark.parametrize(
    ("transfer", "kind", "payload", "sent"),
    [
        ("ALL_REDUCE", "all-reduce", 1024, 1024.0),
        ("ALL_GATHER", "all-gather", 2048, 1024.0),
        ("ONE_TO_ONE", "collective-permute", 1024, 1024.0),
    ],
)
def test_collectives_when_between_slices_then_as_hosts_exchange(transfer, kind, payload, sent):
    part = "f32[2,128]{1,0:T(2,128)}"
    host = (
        'is_host_transfer=true, frontend_attributes={_xla_megascale_target="{1,2}x{0:3}",'
        f'_xla_megascale_transfer_type="{transfer}"}}'
    )
    text = f"""HloModule jit_step

ENTRY %main (p: f32[2,128]) -> f32[2,128] {{
  %p = {part} parameter(0)
  %after = token[] after-all()
  %send = ({part}, u32[], token[]) send(%p, %after), channel_id=3, {host}
  %recv = ({part}, u32[], token[]) recv(%after), channel_id=2, {host}
  %sent = token[] send-done(%send), channel_id=3, is_host_transfer=true
  %received = ({part}, token[]) recv-done(%recv), channel_id=2, is_host_transfer=true
  ROOT %whole = {part} get-tuple-element(%received), index=0
}}
"""
    (one,) = collectives(read(text)[0], mesh_of(*MESH), domain=[0] * 4 + [1] * 4)
    assert one == (kind, ("data",), 2, payload, sent, 1, True)
