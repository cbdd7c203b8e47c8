"""Deals a stream of positions to several receivers in exact shares, with random access."""

from collections.abc import Sequence

import numpy as np

_SCALE = (
    2**31
)  # resolution of a share; a receiver drifts by one after 2**31 positions at the earliest


class Shares:
    """Deals positions 0, 1, 2, ... to receivers so that every prefix has the wanted shares.

    After n positions receiver k has n * shares[k] of them to within depth / 2, where depth is the
    number of levels of a balanced binary tree over the receivers (1 for two, 3 for eight). The
    difference does not grow with n, and no running sum is kept.

    A node of the tree that has seen n positions has sent round(n * share of the left side) of
    them to the left, so both sides grow monotonically and every position has one receiver.
    """

    def __init__(self, shares: Sequence[float]):
        """Makes the tree.

        Args:
          shares: [K] non-negative numbers, at least one positive; they are normalised.
        """
        self.num_receivers = len(shares)
        self._depth = (self.num_receivers - 1).bit_length()
        self._leaves = 1 << self._depth
        weight = np.zeros(2 * self._leaves)
        weight[self._leaves : self._leaves + self.num_receivers] = shares
        self._left_share = np.zeros(2 * self._leaves, np.int64)
        for node in range(self._leaves - 1, 0, -1):
            left, right = weight[2 * node], weight[2 * node + 1]
            weight[node] = left + right
            if left and right:
                share = round(left / (left + right) * _SCALE)
                self._left_share[node] = min(max(share, 1), _SCALE - 1)
            elif left:
                self._left_share[node] = _SCALE

    def deal(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Finds who receives each position.

        Args:
          position: int64 [B], non-negative.

        Returns:
          (receiver int64 [B], ordinal int64 [B]): the ordinal counts the earlier positions of the
          same receiver.
        """
        rest = np.asarray(position, np.int64)
        node = np.ones_like(rest)
        for _ in range(self._depth):
            to_left = self._sent_left(node, rest)
            goes_left = self._sent_left(node, rest + 1) > to_left
            rest = np.where(goes_left, to_left, rest - to_left)
            node = 2 * node + ~goes_left
        return node - self._leaves, rest

    def counts(self, num_positions: int) -> np.ndarray:
        """Counts what each receiver has of the first positions.

        Args:
          num_positions: how many have been dealt.

        Returns:
          int64 [K], summing to `num_positions`.
        """
        seen = np.array([num_positions], np.int64)
        for level in range(self._depth):
            nodes = np.arange(1 << level, 2 << level)
            to_left = self._sent_left(nodes, seen)
            seen = np.stack([to_left, seen - to_left], axis=1).reshape(-1)
        return seen[: self.num_receivers]

    def _sent_left(self, node: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Computes round(seen * left share); products stay below 2**63 for any `seen`."""
        share = self._left_share[node]
        whole, part = seen // _SCALE, seen % _SCALE
        return whole * share + (part * share + _SCALE // 2) // _SCALE
