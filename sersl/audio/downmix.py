"""Mixes several channels to one."""

import numpy as np

from sersl.core.errors import UserError

_SILENT = 1e-6  # mean power, -60 dBFS
# Of the power that the mean of unrelated channels has: 20 dB less, and they cancel each other.
_CANCELLED = 0.01


class Downmix:
    """Takes one channel, or the mean of all, block by block."""

    def __init__(self, name: str, channels: int, channel: int | None = None):
        """Checks the channel.

        Args:
          name: of the audio, for messages.
          channels: C.
          channel: the one to take, from 0; None: the mean of all.

        Raises:
          UserError: there is no such channel.
        """
        if channel is not None and not 0 <= channel < channels:
            raise UserError(
                f"{name} has {channels} channels, so there is no channel {channel}: they count "
                "from 0"
            )
        self._name, self._channels = name, channels
        self._channel = 0 if channels == 1 else channel
        self._samples, self._mono, self._all = 0, 0.0, 0.0

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Mixes a block [n, C] float32 to [n]."""
        if self._channel is not None:
            return block[:, self._channel]
        with np.errstate(all="ignore"):  # samples are checked after mixing
            mono = block.mean(axis=1, dtype=np.float32)
            self._samples += len(block)
            self._mono += float(np.vdot(mono, mono))
            self._all += float(np.vdot(block, block)) / self._channels
        return mono

    def check(self) -> None:
        """Checks that the channels did not cancel each other in all blocks so far.

        Raises:
          UserError: they did, as those of a stereo file with one channel inverted do.
        """
        has_sound = self._all > _SILENT * self._samples
        if has_sound and self._mono < _CANCELLED * self._all / self._channels:
            raise UserError(
                f"{self._name} has {self._channels} channels that cancel each other when they are "
                "averaged (one is inverted): keep one channel of it"
            )
