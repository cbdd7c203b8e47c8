"""Weighted ridge regression of several targets, and its answers for groups that are left out.

It minimizes, with weights w_i of the rows and F features,
    sum_i w_i |y_i - x_i W - b|^2 + penalty F |W|^2,
so that a penalty means the same for any number of standardized features. The intercept b is not
penalized. Columns may be scaled first, which penalizes those of a large scale less. With fewer rows
than features the dual (kernel) form is solved, otherwise the primal one.
Directions that should not move the answers become further rows, at the mean of the others plus such
a direction and with the mean answer: a soft form of nuisance attribute projection.

Source: Hoerl and Kennard 1970; the dual form as in Saunders et al. 1998; nuisance attribute
projection, Solomonoff et al. 2005.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import scipy.linalg

_BLOCK = 4096  # rows in float64 at once


class Weights(NamedTuple):
    """A linear map x W + b: kernel float64 [F, M], bias float64 [M]."""

    kernel: np.ndarray
    bias: np.ndarray


class _Form(Protocol):
    def solve(self, penalty: float, scale: int) -> Weights:
        """Fits all rows."""

    def left_out(self, held: np.ndarray, penalties: Sequence[float]) -> np.ndarray:
        """Fits all but bool [n] rows and answers those: [scales, penalties, held, M]."""


class Regression:
    """A regression whose penalty is still to be chosen."""

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        weights: np.ndarray,
        *,
        nuisance: np.ndarray | None = None,
        nuisance_weight: float = 1.0,
        scales: Sequence[np.ndarray] = (),
    ):
        """Computes what all penalties share.

        Args:
          x: float32 [n, F], standardized.
          y: [n, M].
          weights: [n], above 0.
          nuisance: float32 [m, F], directions that should not move the answers; None: none.
          nuisance_weight: sum of their weights, relative to the sum of `weights`.
          scales: float64 [F] each, of the columns; none: all are 1.
        """
        self._scales = list(scales) or [np.ones(x.shape[1])]
        self._shape = y.shape
        self._added = 0
        if nuisance is not None:
            self._added, share = len(nuisance), weights / weights.sum()
            mean = (share @ x).astype(x.dtype)
            x = np.concatenate([x, mean + nuisance])
            y = np.concatenate([y, np.tile(share @ y, (self._added, 1))])
            each = nuisance_weight * weights.sum() / self._added
            weights = np.concatenate([weights, np.full(self._added, each)])
        self._form: _Form = (_Dual if len(x) <= x.shape[1] else _Primal)(
            x, y, weights, self._scales
        )

    def solve(self, penalty: float, scale: int = 0) -> Weights:
        """Fits all rows.

        Args:
          penalty: above 0.
          scale: index of one of the scales.

        Returns:
          Weights of the columns as they were given, not scaled.
        """
        found = self._form.solve(penalty, scale)
        return Weights(found.kernel * self._scales[scale][:, None], found.bias)

    def left_out(self, group: np.ndarray, penalties: Sequence[float]) -> np.ndarray:
        """Answers every row by a regression on the rows of other groups.

        Args:
          group: int [n] from 0, at least two groups.
          penalties: to try.

        Returns:
          float64 [scales, penalties, n, M].
        """
        found = np.zeros((len(self._scales), len(penalties), *self._shape))
        for number in np.unique(group):
            held = group == number
            among_all = np.concatenate([held, np.zeros(self._added, bool)])
            found[:, :, held] = self._form.left_out(among_all, penalties)
        return found


class _Dual:
    """With K = X X^T / F of centred rows: (K + penalty diag(1 / w)) A = Y, W = X^T A / F."""

    def __init__(
        self, x: np.ndarray, y: np.ndarray, weights: np.ndarray, scales: Sequence[np.ndarray]
    ):
        self._x, self._y, self._scales = x, y.astype(np.float64), scales
        self._weights = weights.astype(np.float64)
        self._kernels = [
            ((x * np.square(scale, dtype=x.dtype)) @ x.T).astype(np.float64) / x.shape[1]
            for scale in scales
        ]

    def solve(self, penalty: float, scale: int) -> Weights:
        share = self._weights / self._weights.sum()
        kernel, _ = _centred(self._kernels[scale], self._kernels[scale], share)
        mean = share @ self._y
        dual = _solve_symmetric(kernel, self._y - mean, penalty / self._weights)
        # X^T A of centred rows: the columns of A sum to 0 after this.
        centred = dual - share[:, None] * dual.sum(0)
        found = (self._x.T @ centred) / self._x.shape[1] * self._scales[scale][:, None]
        return Weights(found, mean - (share @ self._x * self._scales[scale]) @ found)

    def left_out(self, held: np.ndarray, penalties: Sequence[float]) -> np.ndarray:
        fit = np.flatnonzero(~held)
        weights = self._weights[fit]
        share = weights / weights.sum()
        mean = share @ self._y[fit]
        target = self._y[fit] - mean
        found = []
        for kernel in self._kernels:
            columns = kernel[:, fit]
            inside, asked = _centred(columns[fit], columns[held], share)
            found.append(
                [
                    mean + asked @ _solve_symmetric(inside, target, one / weights)
                    for one in penalties
                ]
            )
        return np.array(found)


class _Primal:
    """(X^T diag(w) X + penalty F I) W = X^T diag(w) Y, of centred rows."""

    def __init__(
        self, x: np.ndarray, y: np.ndarray, weights: np.ndarray, scales: Sequence[np.ndarray]
    ):
        self._x, self._y, self._scales = x, y.astype(np.float64), scales
        self._weights = weights.astype(np.float64)
        self._sums = self._sums_of(np.arange(len(x)))

    def solve(self, penalty: float, scale: int) -> Weights:
        (found,) = self._fits(self._sums, [penalty], self._scales[scale])
        return found

    def left_out(self, held: np.ndarray, penalties: Sequence[float]) -> np.ndarray:
        own = self._sums_of(np.flatnonzero(held))
        rest = tuple(whole - part for whole, part in zip(self._sums, own, strict=True))
        return np.array(
            [
                [
                    self._x[held] @ (one.kernel * scale[:, None]) + one.bias
                    for one in self._fits(rest, penalties, scale)
                ]
                for scale in self._scales
            ]
        )

    def _sums_of(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Sums over rows of w, w x, w y, w x x^T and w x y^T."""
        width, targets = self._x.shape[1], self._y.shape[1]
        sums: tuple[np.ndarray, ...] = (
            np.zeros(()),
            np.zeros(width),
            np.zeros(targets),
            np.zeros((width, width)),
            np.zeros((width, targets)),
        )
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            x, y = self._x[part].astype(np.float64), self._y[part]
            weighted = x * self._weights[part][:, None]
            found = (
                self._weights[part].sum(),
                weighted.sum(0),
                self._weights[part] @ y,
                weighted.T @ x,
                weighted.T @ y,
            )
            sums = tuple(old + new for old, new in zip(sums, found, strict=True))
        return sums

    def _fits(
        self, sums: Sequence[np.ndarray], penalties: Sequence[float], scale: np.ndarray
    ) -> list[Weights]:
        """Fits scaled columns, from sums over columns that are not."""
        total, x, y, xx, xy = sums
        center, mean = x / total * scale, y / total
        square = xx * scale
        square *= scale[:, None]
        square -= np.outer(x * scale, center)
        product = (xy - np.outer(x, mean)) * scale[:, None]
        found = []
        for penalty in penalties:
            kernel = _solve_symmetric(square, product, penalty * len(center) * np.ones(len(center)))
            found.append(Weights(kernel, mean - center @ kernel))
        return found


def _centred(
    inside: np.ndarray, asked: np.ndarray, share: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centres products of rows around the weighted mean of the fitted ones.

    Args:
      inside: [n, n], among fitted rows.
      asked: [m, n], of other rows with them.
      share: [n], weights of the fitted rows, which sum to 1.
    """
    mean = inside @ share
    middle = share @ mean
    centred = [part - mean - (part @ share)[:, None] + middle for part in (inside, asked)]
    return centred[0], centred[1]


def _solve_symmetric(square: np.ndarray, right: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """Solves (square + diag(diagonal)) Z = right by Cholesky's method."""
    matrix = square.copy()
    matrix[np.diag_indices_from(matrix)] += diagonal
    return scipy.linalg.solve(matrix, right, assume_a="pos", overwrite_a=True)
