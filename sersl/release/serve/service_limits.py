"""What the service accepts, and how it refuses the rest."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of the service; all are options of `sersl serve`.

    Attributes:
      upload_mb: size of an upload, in units of 10^6 bytes.
      audio_seconds: of one recording, and of each message of a stream.
      seconds: from the first byte of a request to its answer, and between messages of a stream.
      concurrency: requests in progress.
      queue: decoded recordings and windows that wait for the model.
      streams: WebSocket streams at once.
      memory_mb: of all uploads and decoded audio at once, in units of 10^6 bytes.
      decoders: processes that decode audio.
      batch_seconds: of audio in a batch, padding included.
      batch_delay: seconds that a request waits for others to share its batch.
    """

    upload_mb: float = 25.0
    audio_seconds: float = 300.0
    seconds: float = 60.0
    concurrency: int = 128
    queue: int = 128
    streams: int = 16
    memory_mb: float = 1000.0
    decoders: int = 2
    batch_seconds: float = 60.0
    batch_delay: float = 0.01

    @property
    def upload_bytes(self) -> int:
        """Most bytes of an upload."""
        return round(self.upload_mb * 1e6)


class RefusedError(Exception):
    """A request that is not answered: a status code of HTTP and one sentence."""

    def __init__(self, status: int, sentence: str):
        """Takes the status code and the sentence."""
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Memory:
    """Counts the bytes that requests hold; used by the event loop alone."""

    def __init__(self, most: int):
        """Takes the most bytes."""
        self._most = most
        self.held = 0

    def take(self, count: int) -> None:
        """Counts bytes that a request is about to hold.

        Raises:
          RefusedError: there would be too many.
        """
        if self.held + count > self._most:
            raise RefusedError(503, "the service holds as much audio as it may: try again later")
        self.held += count

    def give_back(self, count: int) -> None:
        """Counts bytes that a request no longer holds."""
        self.held -= count
