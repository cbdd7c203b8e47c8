"""Addressed randomness: a draw is a function of (seed, step, purpose), so nothing is saved."""

import zlib

import numpy as np


def purpose_number(purpose: str) -> int:
    """Maps a purpose such as "crop" to a stable 32-bit number (CRC-32).

    Args:
      purpose: what the randomness is for.

    Returns:
      An int in [0, 2**32).
    """
    return zlib.crc32(purpose.encode())


def generator(seed: int, purpose: str, *address: int) -> np.random.Generator:
    """Makes the numpy generator that belongs to one address.

    Args:
      seed: the run's seed.
      purpose: what the draw is for; two purposes never share a stream.
      address: non-negative ints such as step and row.

    Returns:
      A Generator that depends on nothing but the arguments.
    """
    return np.random.default_rng([seed, purpose_number(purpose), *address])
