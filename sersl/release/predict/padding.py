"""Few fixed lengths for audio of any length, so that few programs are compiled."""

from collections.abc import Sequence

import numpy as np

from sersl.core import lengths
from sersl.release.predict.windows import MAX_SECONDS


def fixed_length(num_samples: int) -> int:
    """Gives the length to which a stretch of audio is padded.

    Args:
      num_samples: at 16 kHz, up to 30 s.

    Returns:
      The least of 0.64 s, 0.92 s, ... 30 s that holds it: powers of sqrt(2), even in frames
      (cuDNN attention refuses odd counts).
    """
    top = 2 * -(-round(MAX_SECONDS * lengths.FRAME_RATE) // 2)
    frames, power = 32, 5.0
    while lengths.num_samples(frames) < num_samples:
        power += 0.5
        frames = min(2 * round(2**power / 2), top)
    return lengths.num_samples(frames)


def padded_batch(
    waveforms: Sequence[np.ndarray], *, rows: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lays waveforms side by side.

    Args:
      waveforms: up to `rows` of float32 [N], N at most `length`.
      rows: B; those too many repeat the first waveform, since a row of padding means nothing.
      length: N of the batch.

    Returns:
      (waveform float32 [B, N], valid bool [B, N]).
    """
    waveform = np.zeros((rows, length), np.float32)
    valid = np.zeros((rows, length), bool)
    for i in range(rows):
        source = waveforms[i] if i < len(waveforms) else waveforms[0]
        waveform[i, : len(source)] = source
        valid[i, : len(source)] = True
    return waveform, valid
