"""Speed of a run: audio, steps, waiting for data, share of the chips' peak, memory."""

import resource
import sys
import time

import jax

# Values about speed, not about what was learnt; they differ from run to run.
TIMINGS = (
    "audio_seconds_per_second",
    "step_seconds",
    "data_wait_share",
    "model_flops_utilization",
    "device_memory_gib",
    "host_memory_gib",
)
# Those shown while a run is in progress, and their short names.
_SHOWN = {
    "audio_seconds_per_second": "audio_s/s",
    "step_seconds": "s/step",
    "data_wait_share": "wait",
    "model_flops_utilization": "mfu",
    "device_memory_gib": "GiB",
}


class Pace:
    """Counts since the last log step."""

    def __init__(self, *, peak_flops: float | None = None):
        """Starts the clock.

        Args:
          peak_flops: of all devices together, per second; None: unknown.
        """
        self._peak = peak_flops
        self._start()

    def waited(self, seconds: float) -> None:
        """Counts time spent waiting for a batch."""
        self._waited += seconds

    def add(self, audio_seconds: float, flops: float | None) -> None:
        """Counts a step.

        Args:
          audio_seconds: real audio in its global batch.
          flops: of the model in this step, over all devices; None: not counted.
        """
        self._steps += 1
        self._audio += audio_seconds
        self._flops += flops or 0.0

    def close(self) -> dict[str, float]:
        """Computes the speed of the steps since the last call, and starts again.

        Returns:
          The known values of TIMINGS.
        """
        elapsed = max(time.perf_counter() - self._begin, 1e-9)
        values = {
            "audio_seconds_per_second": self._audio / elapsed,
            "step_seconds": elapsed / max(1, self._steps),
            "data_wait_share": min(1.0, self._waited / elapsed),
        }
        if self._peak and self._flops:
            values["model_flops_utilization"] = self._flops / elapsed / self._peak
        self._start()
        return values | memory()

    def _start(self) -> None:
        self._begin = time.perf_counter()
        self._audio, self._steps, self._waited, self._flops = 0.0, 0, 0.0, 0.0


def memory() -> dict[str, float]:
    """Measures the peak memory so far, in GiB, of this process and of its fullest device.

    Returns:
      "host_memory_gib", and "device_memory_gib" if the devices report it (CPUs do not).
    """
    # Linux counts in kilobytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    values = {"host_memory_gib": host / 2**30}
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [one["peak_bytes_in_use"] for one in stats if "peak_bytes_in_use" in one]
    if peaks:
        values["device_memory_gib"] = max(peaks) / 2**30
    return values


def shown(values: dict[str, float]) -> dict[str, float]:
    """Selects the values of `Pace.close` that are shown, by their short names."""
    return {short: values[name] for name, short in _SHOWN.items() if name in values}
