"""Random numbers addressed by purpose, which each device draws for its own part of an array.

A number is a hash of (key, position), so it does not depend on the mesh. On CPU it takes a third of
the compile time and half of the run time of threefry. The hash is good enough for dropout, masks
and noise, not for cryptography.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl

from sersl.core.errors import UserError
from sersl.core.seeds import purpose_number

_GOLDEN = 0x9E3779B9  # 2^32 / golden ratio, odd: multiples of it fill 32 bits evenly
_PI = (np.uint32(0x243F6A88), np.uint32(0x85A308D3))  # the first digits of pi
# Domains of the hash, so that drawing, folding and splitting never share a number.
_DRAW, _FOLD, _SPLIT, _HIGH = 0, 1, 3, 5


def run_key(seed: int, purpose: str) -> jax.Array:
    """Makes the key of one purpose of a run.

    Args:
      seed: 0 <= seed < 2**32.
      purpose: what is drawn; the numbers of two purposes are independent.

    Returns:
      A scalar key array for `jax.random`.

    Raises:
      UserError: the seed is out of range.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"train.seed={seed} is not in 0..4294967295: choose another seed")
    return fold(jax.random.key(seed, impl=_MIX32), purpose)


def fold(key: jax.Array, purpose: str) -> jax.Array:
    """Derives the scalar key of one purpose from another scalar key."""
    return jax.random.fold_in(key, purpose_number(purpose))


def _mix(x: jax.Array) -> jax.Array:
    """Mixes the bits of uint32 values, one to one.

    Source: "lowbias32" of C. Wellons' hash prospector (2018), bias 0.17 of 2^32 inputs.
    """
    x = x ^ (x >> 16)
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> 15)
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _words(key: jax.Array, domain: int, position: jax.Array) -> jax.Array:
    """Hashes positions under a key of two words, in three rounds so that streams differ."""
    inner = _mix(position ^ key[0]) + np.uint32(domain * _GOLDEN % 2**32)
    return _mix(_mix(inner) ^ key[1])


def _positions(shape: tuple[int, ...]) -> jax.Array:
    """Numbers the elements of an array; each device computes those of its own part."""
    if np.prod(shape, dtype=np.int64) >= 2**32:
        raise ValueError(f"shape {shape} has more than 2^32 elements: draw it in parts")
    number, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        along = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        number, stride = number + along * np.uint32(stride), stride * shape[axis]
    return number


def _seed(seed: jax.Array) -> jax.Array:
    low = jnp.asarray(seed).astype(jnp.uint32)
    return jnp.stack([_mix(low + _PI[0]), _mix(_mix(low ^ _PI[1]))])


def _random_bits(key: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    position = _positions(shape)
    low = _words(key, _DRAW, position)
    if bit_width <= 32:
        return low.astype(jnp.dtype(f"uint{bit_width}"))
    return (_words(key, _HIGH, position).astype(jnp.uint64) << 32) | low.astype(jnp.uint64)


def _apart(key: jax.Array) -> jax.Array:
    """Keeps the derivation of a key out of the loop that draws with it.

    XLA would repeat the whole chain of hashes in that loop, and LLVM's vectoriser takes exponential
    time for such a chain: a step of one small layer then takes over 80 s to compile instead of 10.
    """
    return jax.lax.optimization_barrier(key)


def _fold_in(key: jax.Array, data: jax.Array | int) -> jax.Array:
    data = jnp.asarray(data).astype(jnp.uint32)
    return _apart(jnp.stack([_words(key, _FOLD, data), _words(key, _FOLD + 1, data)]))


def _split(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    number = _positions(shape)
    words = [_words(key, _SPLIT, number), _words(key, _SPLIT + 1, number)]
    return _apart(jnp.stack(words, axis=-1))


_MIX32 = define_prng_impl(
    key_shape=(2,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="sersl_mix32",
    tag="mix",
)
