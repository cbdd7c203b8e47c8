"""What the service counts, for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from sersl.core.version import __version__

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Counters:
    """Counters of one service, in a registry of its own."""

    def __init__(self) -> None:
        """Starts at zero."""
        self._registry = CollectorRegistry()
        registry = self._registry
        self.requests = Counter(
            "sersl_requests", "Requests for predictions by status.", ["status"], registry=registry
        )
        self.seconds = Histogram(
            "sersl_request_seconds",
            "Time from a request to its answer.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.audio_seconds = Counter(
            "sersl_audio_seconds", "Seconds of audio that were predicted.", registry=registry
        )
        self.batches = Histogram(
            "sersl_batch_size",
            "Recordings and windows per batch.",
            buckets=_SIZES,
            registry=registry,
        )
        self.windows = Counter(
            "sersl_stream_windows", "Windows of streams that were answered.", registry=registry
        )
        info = Gauge("sersl_info", "Version of sersl.", ["version"], registry=registry)
        info.labels(__version__).set(1)

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Adds a number that is read when the counters are shown."""
        Gauge(name, meaning, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Writes all numbers in the text format of Prometheus."""
        return generate_latest(self._registry)
