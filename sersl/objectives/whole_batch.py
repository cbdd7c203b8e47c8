"""A batch that comes in parts, and what the loss of one part must know of the others.

Gradient accumulation runs a step over one part of the batch after another. A mean whose weights
differ between parts, or a loss of batch statistics, is then not the mean of the parts' losses. So
the parts are gone through twice: first only for the sums that objectives share through
`over_batch` (the compiler leaves out what these do not need; sums of masks need no encoder at all),
then for the gradient, each part knowing the sums of all.

The mean over parts of the losses, and of their gradients, is then that of the whole batch.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import jax

from sersl.core.errors import UserError


class _Parts:
    """How many parts there are, and the shared sums: being collected, or known."""

    def __init__(self, number: int, totals: Sequence[jax.Array] | None):
        self.number, self.totals, self.found = number, totals, []

    def share(self, part: jax.Array) -> jax.Array:
        self.found.append(part)
        if self.totals is None:
            return part
        total = self.totals[len(self.found) - 1]
        scaled = self.number * part
        # The value of the total; the gradient is scaled, since the parts' gradients are averaged.
        return jax.lax.stop_gradient(total - scaled) + scaled


_CURRENT: ContextVar[_Parts | None] = ContextVar("parts", default=None)


def over_batch(part: jax.Array) -> jax.Array:
    """Turns a sum over the rows of this part into the sum over the rows of the batch.

    Args:
      part: a sum over the rows at hand, any shape.

    Returns:
      The sum over all parts, through which the gradient flows; `part` where there is one part.
    """
    parts = _CURRENT.get()
    return part if parts is None else parts.share(part)


def over_batch_constant(part: jax.Array) -> jax.Array:
    """Does what `over_batch` does for sums that carry no gradient, such as those of masks.

    Args:
      part: a sum over the rows at hand, any shape.

    Returns:
      The sum over all parts, without gradient where there are several.
    """
    parts = _CURRENT.get()
    return part if parts is None else parts.share(jax.lax.stop_gradient(part))


def num_parts() -> int:
    """Says in how many parts the batch comes: 1 without accumulation."""
    parts = _CURRENT.get()
    return 1 if parts is None else parts.number


def need_whole_batch(what: str) -> None:
    """Refuses to compare rows with each other that never meet.

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
    """Collects what a loss, traced inside, shares with other parts.

    Args:
      number: of parts.

    Yields:
      List that fills with the part's sums, in the order of their use.
    """
    yield from _within(_Parts(number, None))


@contextlib.contextmanager
def knowing(number: int, totals: Sequence[jax.Array]) -> Iterator[list[jax.Array]]:
    """Gives a loss, traced inside, the sums over all parts.

    Args:
      number: of parts.
      totals: sums over the parts of what `collecting` found.

    Yields:
      List that fills with the part's own sums.
    """
    yield from _within(_Parts(number, totals))


def _within(parts: _Parts) -> Iterator[list[jax.Array]]:
    token = _CURRENT.set(parts)
    try:
        yield parts.found
    finally:
        _CURRENT.reset(token)
