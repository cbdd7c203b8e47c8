"""Random numbers by purpose: uniform, unrelated, and the same on every mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.config.schema import MeshConfig
from sersl.core.errors import UserError
from sersl.parallel.mesh import make_mesh
from sersl.parallel.random import fold, run_key

NUM = 1 << 16
# Every test below draws fixed numbers, so it cannot fail by chance; a fair generator falls under
# this p-value once in a thousand.
UNLIKELY = 1e-3


def streams() -> dict:
    """Keys that stand close together: seeds, purposes, splits, folds."""
    keys = {f"seed {seed}": run_key(seed, "step") for seed in (0, 1, 2, 2**31, 2**32 - 1)}
    keys |= {f"purpose {purpose}": run_key(0, purpose) for purpose in ("init", "stepp", "a", "b")}
    keys |= {f"split {i}": key for i, key in enumerate(jax.random.split(run_key(0, "init"), 4))}
    keys |= {f"step {i}": jax.random.fold_in(run_key(0, "step"), i) for i in range(4)}
    keys |= {f"under {name}": fold(run_key(0, "step"), name) for name in ("masking", "dropout")}
    return keys


@pytest.fixture(scope="module")
def drawn() -> dict:
    draw = jax.jit(lambda key: jax.random.uniform(key, (NUM,)))
    return {name: np.asarray(draw(key)) for name, key in streams().items()}


def test_uniform_when_drawn_from_any_stream_then_fills_256_bins_evenly(drawn):
    for name, values in drawn.items():
        assert values.min() >= 0.0 and values.max() < 1.0
        counts = np.histogram(values, bins=256, range=(0.0, 1.0))[0]
        assert scipy.stats.chisquare(counts).pvalue > UNLIKELY / len(drawn), name


def test_bits_when_drawn_from_any_stream_then_half_are_ones():
    for name, key in streams().items():
        bits = np.asarray(jax.random.bits(key, (NUM,), jnp.uint32))
        ones = (bits[:, None] >> np.arange(32, dtype=np.uint32) & 1).sum(0)
        # binomial: deviation sqrt(n) / 2; five of them for 32 bits of 19 streams
        assert np.abs(ones - NUM / 2).max() < 5 * np.sqrt(NUM) / 2, name


def test_neighbours_when_drawn_from_a_stream_then_are_unrelated(drawn):
    for name, values in drawn.items():
        for lag in (1, 2, 64, 256):
            r = np.corrcoef(values[lag:], values[:-lag])[0, 1]
            assert abs(r) < 5 / np.sqrt(NUM), (name, lag)


def test_streams_when_two_are_drawn_then_are_unrelated_and_share_no_run_of_numbers(drawn):
    names = list(drawn)
    table = np.corrcoef([drawn[name] for name in names])
    np.fill_diagonal(table, 0.0)
    assert np.abs(table).max() < 5 / np.sqrt(NUM)
    pairs = [set(zip(v[:-1].tolist(), v[1:].tolist(), strict=True)) for v in drawn.values()]
    for i in range(len(pairs)):
        for j in range(i):
            assert not pairs[i] & pairs[j], (names[i], names[j])


def test_pairs_when_drawn_then_fill_the_square_evenly(drawn):
    for name, values in drawn.items():
        counts = np.histogram2d(values[::2], values[1::2], bins=16, range=[(0, 1), (0, 1)])[0]
        assert scipy.stats.chisquare(counts.ravel()).pvalue > UNLIKELY / len(drawn), name


def test_rows_when_drawn_as_a_matrix_then_are_unrelated():
    values = np.asarray(jax.random.uniform(run_key(3, "rows"), (64, 4096)))
    table = np.corrcoef(values)
    np.fill_diagonal(table, 0.0)
    assert np.abs(table).max() < 5 / np.sqrt(4096)


def test_normal_gumbel_and_bernoulli_when_drawn_then_have_their_distributions():
    key = run_key(0, "distributions")
    normal = np.asarray(jax.random.normal(jax.random.fold_in(key, 0), (NUM,)))
    gumbel = np.asarray(jax.random.gumbel(jax.random.fold_in(key, 1), (NUM,)))
    bernoulli = np.asarray(jax.random.bernoulli(jax.random.fold_in(key, 2), 0.1, (NUM,)))
    assert scipy.stats.kstest(normal, "norm").pvalue > UNLIKELY
    assert scipy.stats.kstest(gumbel, "gumbel_r").pvalue > UNLIKELY
    assert abs(bernoulli.mean() - 0.1) < 5 * np.sqrt(0.1 * 0.9 / NUM)


def test_bits_when_of_other_widths_then_can_be_drawn():
    for dtype in (jnp.uint8, jnp.uint16, jnp.uint32):
        bits = np.asarray(jax.random.bits(run_key(0, "bits"), (NUM,), dtype))
        assert bits.dtype == dtype
        top = bits >> (8 * bits.itemsize - 8)
        counts = np.bincount(top.astype(np.int64), minlength=256)
        assert scipy.stats.chisquare(counts).pvalue > UNLIKELY


@pytest.mark.parametrize("sizes", [(8, 1, 1), (1, 8, 1), (2, 2, 2)])
def test_draw_when_sharded_then_is_the_same_as_on_one_device(sizes):
    mesh = make_mesh(MeshConfig(data=sizes[0], fsdp=sizes[1], tensor=sizes[2]))

    def draw(key):
        keys = jax.random.split(key, 4)
        return {
            "uniform": jax.random.uniform(keys[0], (16, 24)),
            "normal": jax.random.normal(keys[1], (16, 24)),
            "permuted": jax.random.permutation(keys[2], 16 * 24).reshape(16, 24),
            "many": jax.vmap(lambda k: jax.random.uniform(k, (24,)))(jax.random.split(keys[3], 16)),
        }

    key = run_key(7, "mesh")
    alone = jax.jit(draw)(key)
    spread = jax.jit(draw, out_shardings=NamedSharding(mesh, P(("data", "fsdp"), "tensor")))(key)
    for name in alone:
        np.testing.assert_array_equal(alone[name], spread[name])


def test_draw_when_sharded_then_needs_no_numbers_of_other_devices():
    mesh = make_mesh(MeshConfig(data=8))
    draw = jax.jit(
        lambda key: jax.random.uniform(key, (4096, 64)),
        out_shardings=NamedSharding(mesh, P("data")),
    )
    text = draw.lower(run_key(0, "local")).compile().as_text()
    for collective in ("all-gather", "all-reduce", "collective-permute", "all-to-all"):
        assert collective not in text


def test_vmap_when_over_keys_then_equals_a_loop_over_keys():
    keys = jax.random.split(run_key(0, "vmap"), 3)
    together = jax.vmap(lambda key: jax.random.normal(key, (5,)))(keys)
    apart = jnp.stack([jax.random.normal(key, (5,)) for key in keys])
    np.testing.assert_array_equal(together, apart)


def test_fold_in_when_the_step_is_traced_then_equals_that_of_the_number():
    key = run_key(0, "step")
    traced = jax.jit(lambda step: jax.random.bits(jax.random.fold_in(key, step)))(jnp.int32(7))
    assert traced == jax.random.bits(jax.random.fold_in(key, 7))


def test_run_key_when_made_again_then_gives_the_stored_numbers():
    # Changing the generator breaks the resuming of every run there is.
    assert [int(x) for x in jax.random.bits(run_key(0, "step"), (3,), jnp.uint32)] == [
        4209994138,
        3008030034,
        1382798737,
    ]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_run_key_when_the_seed_is_out_of_range_then_one_sentence_says_so(seed):
    with pytest.raises(UserError, match=rf"train.seed={seed} is not in 0..4294967295"):
        run_key(seed, "step")
