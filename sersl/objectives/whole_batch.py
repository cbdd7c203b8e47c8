"""A batch that is processed in parts, and the sums that a part needs of the others.

Gradient accumulation runs a step over one part of the batch after another. A mean whose weights
differ between parts, or a loss of batch statistics, is then not the mean of the parts' losses. So
every part is traced twice: first only for the sums that objectives share through `over_batch` (the
compiler removes what these do not need; sums of masks need no encoder at all), then for the
gradient, when each part has the sums of all.

The mean over parts of the losses, and of their gradients, is then that of the whole batch. Both
traces must share the same sums in the same order, which is checked.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import jax

from sersl.core.errors import UserError


class _Parts:
    """The number of parts, and the shared sums: being collected, or known."""

    def __init__(self, number: int, totals: Sequence[jax.Array] | None):
        self.number, self.totals = number, totals
        self.found: list[jax.Array] = []

    def share(self, part: jax.Array) -> jax.Array:
        self.found.append(part)
        if self.totals is None:
            return part
        position = len(self.found) - 1
        if position >= len(self.totals) or self.totals[position].shape != part.shape:
            self._differ()
        scaled = self.number * part
        # The value of the total; the gradient is scaled, since the parts' gradients are averaged.
        return jax.lax.stop_gradient(self.totals[position] - scaled) + scaled

    def check_all_used(self) -> None:
        if self.totals is not None and len(self.found) != len(self.totals):
            self._differ()

    def _differ(self) -> None:
        raise RuntimeError(
            "a loss shares other sums in its second trace than in its first: what it shares must "
            "not depend on anything but the shapes of its inputs"
        )


_CURRENT: ContextVar[_Parts | None] = ContextVar("parts", default=None)


def over_batch(part: jax.Array) -> jax.Array:
    """Turns a sum over the rows of this part into the sum over the rows of the batch.

    Args:
      part: a sum over the rows of this part, of any shape.

    Returns:
      The sum over all parts, with gradient; `part` where there is one part.
    """
    parts = _CURRENT.get()
    return part if parts is None else parts.share(part)


def over_batch_constant(part: jax.Array) -> jax.Array:
    """Does the same as `over_batch` for sums without gradient, such as those of masks.

    Args:
      part: a sum over the rows of this part, of any shape.

    Returns:
      The sum over all parts, without gradient where there are several.
    """
    parts = _CURRENT.get()
    return part if parts is None else parts.share(jax.lax.stop_gradient(part))


def num_parts() -> int:
    """Gives the number of parts of the batch: 1 without accumulation."""
    parts = _CURRENT.get()
    return 1 if parts is None else parts.number


def need_whole_batch(what: str) -> None:
    """Refuses an objective that compares all rows of a batch when they come in parts.

    Args:
      what: the setting that asks for the comparison.

    Raises:
      UserError: the batch comes in parts.
    """
    if num_parts() > 1:
        raise UserError(
            f"{what} compares all rows of a batch with each other, and train.accumulate_steps="
            f"{num_parts()} takes them apart: set train.accumulate_steps to 1"
        )


@contextlib.contextmanager
def collecting(number: int) -> Iterator[list[jax.Array]]:
    """Collects the sums that a loss, traced inside, shares with other parts.

    Args:
      number: of parts.

    Yields:
      List that fills with the part's sums, in the order of their use.
    """
    with _within(_Parts(number, None)) as parts:
        yield parts.found


@contextlib.contextmanager
def knowing(number: int, totals: Sequence[jax.Array]) -> Iterator[None]:
    """Gives a loss, traced inside, the sums over all parts.

    Args:
      number: of parts.
      totals: sums over the parts of what `collecting` found, of any shapes.

    Raises:
      RuntimeError: the loss shares other sums than those that were collected.
    """
    with _within(_Parts(number, totals)) as parts:
        yield
        parts.check_all_used()


@contextlib.contextmanager
def _within(parts: _Parts) -> Iterator[_Parts]:
    token = _CURRENT.set(parts)
    try:
        yield parts
    finally:
        _CURRENT.reset(token)
