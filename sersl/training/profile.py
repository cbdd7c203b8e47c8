"""A profile of a few steps, for TensorBoard or Perfetto."""

from pathlib import Path

import jax

from sersl.config.schema import TrainConfig


class Profile:
    """Starts and stops the profiler of jax at given steps."""

    def __init__(self, folder: str | Path, *, first_step: int, num_steps: int):
        """Plans the profile.

        Args:
          folder: gets `plugins/profile/<time>/` with one file per host.
          first_step: updates done when it begins.
          num_steps: number of steps; 0 for no profile.
        """
        self._folder = str(folder)
        self._first, self._num = first_step, num_steps
        self._running = False

    @classmethod
    def of(cls, folder: str | Path, config: TrainConfig) -> "Profile":
        """Plans the profile of a config."""
        return cls(folder, first_step=config.profile_from, num_steps=config.profile_steps)

    def before(self, step: int) -> None:
        """Starts or stops the profile; called before every step, `step` updates being done."""
        inside = self._first <= step < self._first + self._num
        if inside and not self._running:
            jax.profiler.start_trace(self._folder)
            self._running = True
        elif self._running and not inside:
            self.close()

    def close(self) -> None:
        """Stops the profile and writes its files."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
