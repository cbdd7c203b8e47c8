"""THE length arithmetic: samples, frames and resampled samples. Nothing else computes a length.

Every frontend makes frames with the geometry of the wav2vec 2.0 conv stack, so that intensity,
prosody, masks, teachers and predictions of any two models line up frame by frame:
frame t is centred on sample 320 t + 200 and a waveform of N samples has (N - 80) // 320 frames.
All functions take ints, numpy arrays and traced jax arrays alike.
"""

SAMPLE_RATE = 16_000  # Hz; every waveform inside sersl
HOP = 320  # samples = 20 ms, total stride of the conv stack (wav2vec 2.0, sec. 2)
WINDOW = 400  # samples = 25 ms, receptive field of the conv stack (wav2vec 2.0, sec. 2)
FRAME_RATE = SAMPLE_RATE / HOP  # 50 frames per second
# (kernel, stride) of each layer of the conv stack, in its own input frames (wav2vec 2.0, sec. 4.2).
CONVOLUTIONS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))


def num_frames(num_samples):
    """Counts the frames of a waveform.

    Args:
      num_samples: samples at 16 kHz; an int or an integer array of any shape.

    Returns:
      max(0, (num_samples - 80) // 320), of the same kind: the frames whose window of 400
      samples fits, as `floor((N - 400) / 320) + 1`.
    """
    frames = (num_samples - (WINDOW - HOP)) // HOP
    return frames * (frames > 0)


def num_samples(num_frames):
    """Gives the fewest samples that make this many frames: 320 T + 80.

    Args:
      num_frames: frames at 50 Hz (at least 1); an int or an integer array.

    Returns:
      Samples at 16 kHz, of the same kind.
    """
    return num_frames * HOP + (WINDOW - HOP)


def convolved(length, kernel: int, stride: int):
    """Counts the frames that a convolution without padding makes.

    Through all of `CONVOLUTIONS` in turn, N samples become `num_frames(N)` frames.

    Args:
      length: frames in; an int or an integer array of any shape.
      kernel: frames that one output sees.
      stride: frames between outputs.

    Returns:
      Frames out, of the same kind: 0 where the kernel does not fit once.
    """
    frames = (length - kernel) // stride + 1
    return frames * (frames > 0)


def resampled_length(num_samples: int, sample_rate: int) -> int:
    """Gives the number of 16 kHz samples that a waveform at another rate becomes.

    Args:
      num_samples: samples at `sample_rate`.
      sample_rate: Hz.

    Returns:
      ceil(num_samples * 16000 / sample_rate).
    """
    return -(-num_samples * SAMPLE_RATE // sample_rate)
