"""Random numbers and permutations by address, without stored state.

Draws are functions of 64-bit keys computed with integer arithmetic only, so a batch is the same
on every machine and with every numpy version, and a permutation of ten million utterances takes
no memory.
"""

import numpy as np

# Constants of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
# OOPSLA 2014).
_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_ROUNDS = (
    8  # of the Feistel network; 4 make a strong permutation (Luby, Rackoff 1988), 8 for n < 20
)


def draw(key, *address) -> np.ndarray:
    """Draws 64 random bits that belong to one address.

    Args:
      key: uint64, a scalar or an array.
      address: non-negative integers or integer arrays that broadcast with the key.

    Returns:
      uint64 array of the broadcast shape, uniform.
    """
    bits = np.asarray(key, np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64
        for number in address:
            bits = bits + np.asarray(number).astype(np.uint64) + _INCREMENT
            bits = (bits ^ (bits >> np.uint64(30))) * _MULTIPLIERS[0]
            bits = (bits ^ (bits >> np.uint64(27))) * _MULTIPLIERS[1]
            bits = bits ^ (bits >> np.uint64(31))
    return bits


def permute(position, size, key) -> np.ndarray:
    """Gives elements of random permutations without storing them.

    A Feistel network on the grid ceil(sqrt(size)) x ceil(size / ceil(sqrt(size))), applied again
    to the few cells beyond `size`.

    Args:
      position: int64 [B] in [0, size).
      size: int64 [B] or scalar, the number of elements, at least 1.
      key: uint64 [B] or scalar; each key is another permutation.

    Returns:
      int64 [B] in [0, size): the element at each position.

    Source: Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002 (generalised
    Feistel and cycle walking).
    """
    position, size, key = np.broadcast_arrays(np.asarray(position, np.int64), size, key)
    height = np.ceil(np.sqrt(size)).astype(np.int64)
    width = -(-size // height)
    element = _feistel(position, height, width, key)
    outside = np.flatnonzero(element >= size)
    while outside.size:  # ends, since the walk is a cycle through `position`, which is inside
        element[outside] = _feistel(element[outside], height[outside], width[outside], key[outside])
        outside = outside[element[outside] >= size[outside]]
    return element


def _feistel(cell: np.ndarray, height: np.ndarray, width: np.ndarray, key: np.ndarray):
    """Maps the cells of a height x width grid onto themselves, one to one."""
    row, column = cell // width, cell % width
    for number in range(0, _ROUNDS, 2):
        row = (
            row + (draw(key, number, column) % height.astype(np.uint64)).astype(np.int64)
        ) % height
        column = (
            column + (draw(key, number + 1, row) % width.astype(np.uint64)).astype(np.int64)
        ) % width
    return row * width + column
