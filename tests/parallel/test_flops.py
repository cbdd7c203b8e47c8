"""FLOPs from a trace: against formulas, against XLA where it counts right, and through loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl

from sersl.parallel.flops import count_flops


def flops(function, *shapes, static=()):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return count_flops(jax.jit(function).trace(*arguments).jaxpr)


def xla(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


def test_flops_when_of_a_product_then_two_per_pair():
    assert flops(lambda x, w: x @ w, (8, 16), (16, 4)) == 2 * 8 * 16 * 4
    assert flops(lambda q, k: jnp.einsum("bthd,bshd->bhts", q, k), (2, 5, 3, 4), (2, 7, 3, 4)) == (
        2 * 2 * 3 * 5 * 7 * 4
    )


def test_flops_when_of_the_gradient_of_a_product_then_twice_the_product():
    loss = jax.value_and_grad(lambda w, x: jnp.square(x @ w).sum(), argnums=(0, 1))
    assert flops(loss, (16, 4), (8, 16)) == 3 * 2 * 8 * 16 * 4


def test_flops_when_of_a_scan_then_its_body_times_its_length():
    def run(x, w):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0].sum()

    body = 2 * 8 * 16 * 16
    assert flops(run, (8, 16), (5, 16, 16)) == 5 * body
    # Forward once, and twice as much backward.
    assert flops(jax.grad(run, argnums=(0, 1)), (8, 16), (5, 16, 16)) == 3 * 5 * body


def test_flops_when_checkpointed_then_recomputation_counts():
    def run(remat, x, w):
        layer = lambda x, w: jnp.tanh(x @ w) @ w  # noqa: E731
        layer = jax.checkpoint(layer) if remat else layer
        return jnp.square(layer(x, w)).sum()

    product = 2 * 8 * 16 * 16
    kept = flops(jax.grad(lambda x, w: run(False, x, w), argnums=(0, 1)), (8, 16), (16, 16))
    again = flops(jax.grad(lambda x, w: run(True, x, w), argnums=(0, 1)), (8, 16), (16, 16))
    assert kept == 3 * 2 * product
    assert again == kept + product  # the first product; the second's result is not needed


def test_flops_when_there_are_branches_then_the_most_expensive_counts():
    def run(x, w):
        return jax.lax.cond(x.sum() > 0, lambda: x @ w, lambda: (x @ w) @ w)

    assert flops(run, (8, 16), (16, 16)) == 2 * 2 * 8 * 16 * 16


@pytest.mark.parametrize("groups", [1, 4])
def test_flops_when_of_a_strided_convolution_and_its_gradients_then_equal_those_of_xla(groups):
    def convolve(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (2,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=groups
        )

    shapes = (4, 101, 8), (3, 8 // groups, 16)
    outputs = 4 * 50 * 16
    assert flops(convolve, *shapes) == 2 * outputs * 3 * 8 / groups == xla(convolve, *shapes)
    loss = jax.grad(lambda x, w: jnp.square(convolve(x, w)).sum(), argnums=(0, 1))
    # Each of the two gradients costs what the convolution does.
    np.testing.assert_allclose(flops(loss, *shapes), 3 * flops(convolve, *shapes), rtol=0.06)


def test_flops_when_of_a_fourier_transform_then_five_n_log_n():
    assert flops(jnp.fft.rfft, (6, 512)) == 6 * 2.5 * 512 * 9
    assert flops(lambda x: jnp.fft.fft(x), (6, 512)) == 6 * 5 * 512 * 9


def test_flops_when_in_a_shard_map_then_all_devices_count():
    mesh = jax.make_mesh((2, 4), ("data", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    rows = jax.sharding.PartitionSpec("data")

    def run(x, w):
        whole = jax.sharding.PartitionSpec()
        return jax.shard_map(lambda x, w: x @ w, in_specs=(rows, whole), out_specs=rows)(x, w)

    with jax.set_mesh(mesh):
        # Peers along an axis that cuts nothing do the same work again.
        assert flops(run, (8, 16), (16, 4)) == 4 * 2 * 8 * 16 * 4


def test_flops_when_of_a_kernel_then_its_body_times_its_grid():
    def kernel(x, w, out):
        out[...] = x[...] @ w[...]

    def run(x, w):
        return pl.pallas_call(
            kernel,
            grid=(4, 2),
            in_specs=[
                pl.BlockSpec((8, 16), lambda i, j: (i, 0)),
                pl.BlockSpec((16, 8), lambda i, j: (0, j)),
            ],
            out_specs=pl.BlockSpec((8, 8), lambda i, j: (i, j)),
            out_shape=jax.ShapeDtypeStruct((32, 16), jnp.float32),
        )(x, w)

    assert flops(run, (32, 16), (16, 16)) == 2 * 32 * 16 * 16
