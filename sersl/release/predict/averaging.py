"""Answers averaged over a recording and copies of it at other speeds, see `views.average`."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sersl.audio.warp import change_speed, changed_length
from sersl.data.buckets import is_answerable
from sersl.eval.confidence import with_temperature
from sersl.release.predict.with_views import WithViews

Arrays = dict[str, np.ndarray]
_MEANS = ("category", "dimensions", "vacuity", "open_set")
_ALL_CATEGORIES = ("category", "frames")


class Part(NamedTuple):
    """Recordings at one speed.

    Attributes:
      waveforms: float32 [N] each, 16 kHz.
      recordings: that they are of.
      copies: whether they are at another speed than the recordings.
    """

    waveforms: Sequence[np.ndarray]
    recordings: Sequence[WithViews]
    copies: bool


# Gives the outputs of each waveform with its place in the part, in any order.
Compute = Callable[[Part], Iterator[tuple[int, Arrays]]]


class Averaging:
    """Computes outputs of recordings and of their copies, and averages them.

    Attributes:
      speeds: of the copies; () changes nothing.
    """

    def __init__(self, speeds: Sequence[float], *, temperature: float | None):
        """Keeps the speeds, and the temperature that the means get if there are any."""
        self.speeds, self._temperature = tuple(speeds), temperature

    def __call__(
        self,
        compute: Compute,
        waveforms: Sequence[np.ndarray],
        recordings: Sequence[WithViews],
    ) -> Iterator[tuple[int, Arrays]]:
        """Computes outputs as the runs of `sersl finetune` do, one speed after the other.

        Args:
          compute: the network; without temperature where there are speeds.
          waveforms: float32 [N] each, 16 kHz, up to 30 s. A copy that is longer than 30 s has no
            share in the mean.
          recordings: of the waveforms.

        Yields:
          (index of a waveform, outputs), in any order: means of probabilities, dimensions and
          uncertainties; anything else is of the recording itself.
        """
        plain = compute(Part(waveforms, recordings, copies=False))
        if not self.speeds:
            yield from plain
            return
        found = {index: [output] for index, output in plain}
        for speed in self.speeds:
            lengths = np.array([changed_length(len(one), speed) for one in waveforms], np.int64)
            chosen = np.flatnonzero(is_answerable(lengths)).tolist()
            copies = [change_speed(waveforms[index], speed) for index in chosen]
            own = [recordings[index] for index in chosen]
            for place, output in compute(Part(copies, own, copies=True)):
                found[chosen[place]].append(output)
        for index, outputs in found.items():
            yield index, self._mean(outputs)

    def _mean(self, outputs: Sequence[Arrays]) -> Arrays:
        """Averages outputs of one recording, of which the first is that of the plain one."""
        result = dict(outputs[0])
        for name in _MEANS:
            if name in result:
                values = np.stack([one[name] for one in outputs])
                result[name] = values.mean(axis=0, dtype=np.float64)
        # The deviations of a mixture of distributions, by the law of total variance.
        if "aleatoric" in result:
            result["aleatoric"] = _root_mean_square([one["aleatoric"] for one in outputs])
        if "epistemic" in result:
            spread = np.std([one["dimensions"] for one in outputs], axis=0, dtype=np.float64)
            own = _root_mean_square([one["epistemic"] for one in outputs])
            result["epistemic"] = np.hypot(own, spread)
        for name in _ALL_CATEGORIES:
            if name in result and self._temperature is not None and result[name].shape[-1]:
                result[name] = with_temperature(result[name], self._temperature)
        return {
            name: value.astype(outputs[0][name].dtype, copy=False) for name, value in result.items()
        }


def _root_mean_square(values: Sequence[np.ndarray]) -> np.ndarray:
    return np.sqrt(np.mean(np.square(values, dtype=np.float64), axis=0))
