"""What one CPU computes faster in parts: large arrays fit no cache, and new memory takes time."""

from flax import nnx

from sersl.models.attention import Attention
from sersl.models.waveform import WaveformFrontend


def compute_in_parts(model: nnx.Module) -> None:
    """Sets the convolutions to compute row by row, and attention over long rows head by head.

    Answers stay the same; docs/benchmarks/predict.md has what it saves.
    """
    for _, part in nnx.iter_modules(model):
        if isinstance(part, WaveformFrontend):
            part.row_by_row = True
        elif isinstance(part, Attention):
            part.head_by_head = True
