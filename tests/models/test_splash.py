"""The attention kernel of TPUs, interpreted on CPU, beside plain products; where it is chosen."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from sersl.models import splash as module
from sersl.models.attention import ATTENTION, chosen
from sersl.models.splash import blocks, splash
from sersl.models.transformer import Transformer
from tests.models.small import ENCODER
from tests.tolerances import FP32, LOSS_ACROSS_MESHES

interpreted = functools.partial(splash, interpret=True)


def plain(query, key, value, seen):
    return ATTENTION["xla"](query, key, value, seen, None, 0.0, None)


def arrays(frames, *, rows=2, heads=2, size=8):
    rng = np.random.default_rng(frames)
    shape = (3, rows, frames, heads, size)
    lengths = rng.integers(1, frames, rows)
    lengths[0] = frames
    return jnp.asarray(rng.normal(size=shape), jnp.float32), np.arange(frames) < lengths[:, None]


def output_and_gradients(attend, inputs, seen):
    """Of an uneven sum over real frames: what is said of padding means nothing."""

    @jax.jit
    def run(*inputs):
        mixed, pull_back = jax.vjp(lambda *inputs: attend(*inputs, seen), *inputs)
        uneven = jnp.sin(jnp.arange(mixed.size, dtype=jnp.float32)).reshape(mixed.shape)
        real = seen[..., None, None]
        return jnp.where(real, mixed, 0.0), *pull_back(jnp.where(real, uneven, 0.0))

    return run(*inputs)


@pytest.mark.parametrize(("frames", "longest"), [(77, 1024), (128, 1024), (201, 1024), (301, 128)])
def test_splash_when_rows_are_padded_then_values_and_gradients_of_plain_products(
    frames, longest, monkeypatch
):
    monkeypatch.setattr(module, "LONGEST_BLOCK", longest)
    inputs, seen = arrays(frames)
    found = output_and_gradients(interpreted, inputs, seen)
    expected = output_and_gradients(plain, inputs, seen)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, **FP32)


def test_splash_when_on_a_mesh_then_every_device_has_its_rows_and_heads():
    inputs, seen = arrays(40, rows=4)
    expected = plain(*inputs, seen)
    mesh = jax.make_mesh((2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)
    with jax.set_mesh(mesh):
        found = jax.jit(interpreted)(*inputs, seen)
    assert tuple(found.sharding.spec)[:3] == (("data", "fsdp"), None, "tensor")
    np.testing.assert_allclose(found, expected, **LOSS_ACROSS_MESHES)


def test_splash_when_frames_are_bfloat16_then_so_is_the_result_and_close():
    inputs, seen = arrays(50)
    found = jax.jit(interpreted)(*inputs.astype(jnp.bfloat16), seen)
    assert found.dtype == jnp.bfloat16
    error = np.asarray(found, np.float32) - np.asarray(plain(*inputs, seen))
    assert np.sqrt(np.mean(error**2)) < 0.01  # bfloat16 has 8 bits


def test_blocks_when_cut_then_cover_the_frames_in_equal_parts_with_less_than_a_block_over():
    for frames in (1, 128, 129, 780, 1024, 1025, 1500, 5000):
        count, block = blocks(frames)
        assert block % 128 == 0
        assert block <= 1024
        assert frames <= count * block < frames + count * 128
    assert blocks(780) == (1, 896)


def pretended(platform, *, tensor=1):
    device = AbstractDevice(device_kind="TPU v5 lite", num_cores=1, platform=platform)
    return AbstractMesh(
        (2, 2, tensor),
        ("data", "fsdp", "tensor"),
        axis_types=(AxisType.Auto,) * 3,
        abstract_device=device,
    )


@pytest.mark.parametrize(
    ("platform", "changes", "name", "why"),
    [
        ("tpu", {}, "splash", ""),
        ("cpu", {}, "xla", ""),
        ("gpu", {}, "xla", ""),
        ("tpu", {"attention": "xla"}, "xla", ""),
        ("tpu", {"attention": "jax"}, "jax", ""),
        ("tpu", {"relative_bias": True}, "xla", "encoder.relative_bias is added to scores"),
        ("tpu", {"attention_dropout": 0.1}, "xla", "encoder.attention_dropout drops scores"),
        ("tpu", {"num_heads": 1}, "xla", "mesh.tensor does not divide encoder.num_heads"),
    ],
)
def test_chosen_when_the_mesh_is_of_a_platform_then_its_kernel_or_why_not(
    platform, changes, name, why
):
    with jax.sharding.use_abstract_mesh(pretended(platform, tensor=2)):
        assert chosen(dataclasses.replace(ENCODER, **changes)) == (name, why)


def test_chosen_when_there_is_no_mesh_then_plain_products():
    assert chosen(ENCODER) == ("xla", "")


@pytest.mark.parametrize("remat", ["none", "dots", "full"])
def test_transformer_when_lowered_for_tpus_then_its_gradient_has_the_kernel_and_no_scores(remat):
    config = dataclasses.replace(ENCODER, scan_layers=True, remat=remat, dtype="bfloat16")
    shape = jax.ShapeDtypeStruct((4, 200, ENCODER.width), jnp.float32)

    def loss(x):
        model = Transformer(config, key=jax.random.key(0))
        return model(x, jnp.ones(x.shape[:2], bool)).astype(jnp.float32).sum()

    with jax.sharding.use_abstract_mesh(pretended("tpu")):
        text = jax.jit(jax.grad(loss)).trace(shape).lower(lowering_platforms=("tpu",)).as_text()
    assert text.count("tpu_custom_call") >= 2
    assert "x200x200x" not in text
    assert "x256x256x" not in text
