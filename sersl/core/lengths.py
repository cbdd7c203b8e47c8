"""Lengths in samples, frames and resampled samples; all of sersl computes them here.

Every frontend has the frame geometry of the wav2vec 2.0 conv stack, so that intensity, prosody,
masks, teachers and predictions of any two models are aligned frame by frame: frame t is centred on
sample 320 t + 200, and a waveform of N samples has (N - 80) // 320 frames.
All functions accept ints, NumPy arrays and traced JAX arrays.
"""

SAMPLE_RATE = 16_000  # Hz, of every decoded waveform
HOP = 320  # samples = 20 ms, total stride of the conv stack (wav2vec 2.0, sec. 2)
WINDOW = 400  # samples = 25 ms, receptive field of the conv stack (wav2vec 2.0, sec. 2)
FRAME_RATE = SAMPLE_RATE / HOP  # 50 frames per second
# (kernel, stride) of each layer of the conv stack, in input frames (wav2vec 2.0, sec. 4.2).
CONVOLUTIONS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))


def num_frames(num_samples):
    """Counts the frames of a waveform.

    Args:
      num_samples: samples at 16 kHz; an int or an integer array of any shape.

    Returns:
      max(0, (num_samples - 80) // 320), of the same type: the number of windows of 400 samples
      that fit, `floor((N - 400) / 320) + 1`.
    """
    frames = (num_samples - (WINDOW - HOP)) // HOP
    return frames * (frames > 0)


def num_samples(num_frames):
    """Computes the smallest number of samples that gives this many frames: 320 T + 80.

    Args:
      num_frames: frames at 50 Hz (at least 1); an int or an integer array.

    Returns:
      Samples at 16 kHz, of the same type.
    """
    return num_frames * HOP + (WINDOW - HOP)


def convolved(length, kernel: int, stride: int):
    """Counts the output frames of a convolution without padding.

    All of `CONVOLUTIONS` in turn make `num_frames(N)` frames of N samples.

    Args:
      length: input frames; an int or an integer array of any shape.
      kernel: input frames per output frame.
      stride: input frames between output frames.

    Returns:
      Output frames, of the same type; 0 if the input is shorter than the kernel.
    """
    frames = (length - kernel) // stride + 1
    return frames * (frames > 0)


def resampled_length(num_samples: int, sample_rate: int) -> int:
    """Counts the samples of a waveform after resampling to 16 kHz.

    Args:
      num_samples: samples at `sample_rate`.
      sample_rate: Hz.

    Returns:
      ceil(num_samples * 16000 / sample_rate).
    """
    return -(-num_samples * SAMPLE_RATE // sample_rate)
