"""The largest batch that fits, for each policy of recomputation."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax

from sersl.config.schema import PretrainConfig
from sersl.models.transformer import REMAT_POLICIES
from sersl.planning.plan import Plan, make_plan, traced_per_row

MOST_COMPILES = 4  # per policy: each takes minutes for a large model
CLOSE = 0.02  # a search stops when this share more rows than fit are known not to fit


class Choice(NamedTuple):
    """The largest batch under one policy.

    Attributes:
      remat: the policy, a key of `REMAT_POLICIES`.
      plan: with the most rows that fit; None if no batch that was tried fits.
      smallest: the fewest rows per device that were tried.
      too_many: the fewest rows per device that did not fit; None if all did.
    """

    remat: str
    plan: Plan | None
    smallest: int
    too_many: int | None


def fit(config: PretrainConfig, plan: Plan, *, report: Callable[[str], None]) -> list[Choice]:
    """Finds the most rows that a device can hold under each policy.

    Memory grows almost linearly with the rows. The first try under a policy follows from the given
    plan and from the bytes that the policy keeps per row, as traced; each further try is where the
    line through the previous ones reaches the memory of the chip. The result is always compiled,
    and so is a batch that is too large by at most `CLOSE` or the smallest step, unless
    `MOST_COMPILES` are used up before.

    Args:
      config: of the run; its `encoder.remat` is ignored.
      plan: of the run on its devices, with the requested batch.
      report: called with a line about the search, and one per try.

    Returns:
      One choice per policy, in the order of `REMAT_POLICIES`, least recomputation first.
    """
    most = MOST_COMPILES * len(REMAT_POLICIES) - 1  # the given plan is one of them
    report(
        f"fit: {len(REMAT_POLICIES)} policies, at most {most} compilations; the one above took "
        f"{plan.compiled.seconds:.0f} s, so up to {most * plan.compiled.seconds / 60:.0f} minutes"
    )
    kept = {
        remat: traced_per_row(_under(config, remat), plan.topology, plan.bucket)
        for remat in REMAT_POLICIES
    }
    choices = []
    for remat in REMAT_POLICIES:
        search = _Search(_under(config, remat), plan, report)
        if remat == plan.config.encoder.remat:
            search.add(plan)
        else:
            search.guess(plan, extra=kept[remat] - kept[plan.config.encoder.remat])
        choices.append(search.run())
    return choices


def cheapest(choices: list[Choice], rows_per_device: int) -> Choice | None:
    """Picks the policy of `fit` that recomputes least and holds the rows; None if none does."""
    for choice in choices:
        if choice.plan is not None and choice.plan.rows_per_device >= rows_per_device:
            return choice
    return None


def _under(config: PretrainConfig, remat: str) -> PretrainConfig:
    return dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, remat=remat))


class _Search:
    """The search for the most rows under one policy."""

    def __init__(self, config: PretrainConfig, asked: Plan, report: Callable[[str], None]):
        self._config, self._topology, self._report = config, asked.topology, report
        self._unit = config.train.accumulate_steps
        self._most = 64 * asked.rows_per_device
        self._peaks: dict[int, int] = {}  # by rows, bytes
        self._best: Plan | None = None
        self._too_many: int | None = None
        self._rows = self._unit

    def add(self, plan: Plan) -> None:
        """Adds a plan, and chooses the rows to try next."""
        rows, compiled = plan.rows_per_device, plan.compiled
        self._peaks[rows] = compiled.peak_bytes
        if not compiled.fits:
            self._too_many = min(rows, self._too_many or rows)
        elif rows > self._held:
            self._best = plan
        points = sorted(self._peaks.items())
        if len(points) == 1:
            points = [(0, _state(plan)), *points]
        # The two closest to the limit: the line bends because the compiler saves scarce memory.
        split = sum(peak <= compiled.available_bytes for _, peak in points)
        first = min(max(split - 1, 0), len(points) - 2)
        (low, low_bytes), (high, high_bytes) = points[first : first + 2]
        slope = max((high_bytes - low_bytes) / (high - low), 1.0)
        self._aim(low + (compiled.available_bytes - low_bytes) / slope)

    def guess(self, plan: Plan, *, extra: float) -> None:
        """Chooses the first rows to try.

        Args:
          plan: of another policy.
          extra: bytes that a row keeps under this policy, minus those under the other.
        """
        peak = plan.compiled.peak_bytes
        own = max(peak - _state(plan), peak / 16) / plan.rows_per_device
        per_row = max(own + extra, own / 8)
        self._aim((plan.compiled.available_bytes - _state(plan)) / per_row)

    def run(self) -> Choice:
        """Compiles until the limit is found."""
        while len(self._peaks) < MOST_COMPILES and not self._found():
            jax.clear_caches()  # keeps the memory of this machine from growing with each try
            plan = make_plan(self._config, self._topology, rows_per_device=self._rows)
            self._report(
                f"remat {self._config.encoder.remat}, {self._rows} rows a device: "
                f"{plan.compiled.peak_bytes / 2**30:.2f} GiB, "
                f"{'fits' if plan.compiled.fits else 'does not fit'} "
                f"({plan.compiled.seconds:.0f} s)"
            )
            self.add(plan)
        return Choice(self._config.encoder.remat, self._best, min(self._peaks), self._too_many)

    @property
    def _held(self) -> int:
        return self._best.rows_per_device if self._best else 0

    def _found(self) -> bool:
        return self._too_many is not None and self._too_many - self._held <= max(
            self._unit, CLOSE * self._held
        )

    def _aim(self, rows: float) -> None:
        """Sets the rows to try next, between those that fit and those that do not."""
        lowest = self._held + self._unit
        highest = max(self._most, 4 * lowest)
        if self._too_many is not None:
            highest = self._too_many - self._unit
        self._rows = min(max(int(rows) // self._unit * self._unit, lowest), highest)


def _state(plan: Plan) -> int:
    return plan.memory.params + plan.memory.optimizer + plan.memory.teacher
