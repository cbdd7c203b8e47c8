"""A profile of a few steps, to look at with TensorBoard or Perfetto."""

from pathlib import Path

import jax

from sersl.config.schema import TrainConfig


class Profile:
    """Starts and ends the profiler of jax at the steps that are asked for."""

    def __init__(self, folder: str | Path, *, first_step: int, num_steps: int):
        """Plans it.

        Args:
          folder: gets `plugins/profile/<time>/` with one file per host.
          first_step: updates done when it begins.
          num_steps: how many steps it lasts; 0 for no profile.
        """
        self._folder = str(folder)
        self._first, self._num = first_step, num_steps
        self._running = False

    @classmethod
    def of(cls, folder: str | Path, config: TrainConfig) -> "Profile":
        """Plans the profile that a config asks for.

        Args:
          folder: as above.
          config: with the steps.

        Returns:
          The profile.
        """
        return cls(folder, first_step=config.profile_from, num_steps=config.profile_steps)

    def before(self, step: int) -> None:
        """Begins or ends it; called before every step.

        Args:
          step: updates done.
        """
        inside = self._first <= step < self._first + self._num
        if inside and not self._running:
            jax.profiler.start_trace(self._folder)
            self._running = True
        elif self._running and not inside:
            self.close()

    def close(self) -> None:
        """Ends it and writes its files."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
