"""The frontends as graphs of ONNX operations: from a waveform to projected frames.

Each mirrors a file of `sersl.models`, whose docstrings name the sources; spectra are a product with
sines and cosines in float64, since quiet bands next to loud ones need more digits than float32 has.
"""

from typing import NamedTuple

import numpy as np

from sersl.audio import features
from sersl.config.schema import FrontendConfig
from sersl.core import lengths
from sersl.core.errors import UserError
from sersl.models import frontend as log_mel_frontend
from sersl.models import waveform as waveform_frontend
from sersl.models import whisper
from sersl.models.layers import EPSILON
from sersl.release.onnx.graph import Graph, Params, implemented


class Frames(NamedTuple):
    """Outputs of a frontend, as names of values.

    Attributes:
      x: float32 [B, T, D], projected.
      valid: bool [B, T], the frames of real audio.
      attended: bool [B, T], the frames to attend to; None for all.
    """

    x: str
    valid: str
    attended: str | None


def frames_of(
    graph: Graph, waveform: str, num_samples: str, config: FrontendConfig, params: Params
) -> Frames:
    """Adds a frontend to a graph.

    Args:
      graph: to add to.
      waveform: float32 [B, N].
      num_samples: int64 [B], the real samples of each row, at least 400.
      config: of the frontend.
      params: of the frontend, nested, float32.

    Returns:
      The frames.

    Raises:
      UserError: a frontend or normalization that cannot be exported.
    """
    real = graph.first(num_samples, graph.size(waveform, 1))
    waveform = graph.zero_unless(real, waveform)
    frontend = implemented("frontend.kind", config.kind, FRONTENDS)
    if config.kind == "log_mel" and not config.projection:
        raise UserError(
            "frontend.projection=False cannot be exported to ONNX: export without --onnx"
        )
    return frontend(graph, waveform, real, num_samples, config, params)


def num_frames(graph: Graph, num_samples: str) -> str:
    """Counts frames of int64 samples, of any shape, as `lengths.num_frames` does."""
    count = graph.op("Div", graph.op("Sub", num_samples, lengths.WINDOW - lengths.HOP), lengths.HOP)
    return graph.op("Max", count, 0)


def _power_spectrum(
    graph: Graph, waveform: str, num_windows: str, *, shift: int, window: int, fft_length: int
) -> str:
    """Power of Hann windows of [B, N] every `shift` samples: float32 [B, W, F]."""
    starts = graph.op("Mul", graph.op("Range", 0, graph.squeeze(num_windows, 0), 1), shift)
    places = graph.op("Add", graph.expand(starts, 1), np.arange(window)[None])
    windows = graph.as_double(graph.op("Gather", waveform, places, axis=1))
    exact = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    bins = np.arange(fft_length // 2 + 1)
    angles = 2 * np.pi * np.arange(window)[:, None] * bins / fft_length
    # As the models: the window is rounded to float32.
    hann = exact.astype(np.float32)[:, None]
    real = graph.op("MatMul", windows, graph.double(hann * np.cos(angles)))
    imaginary = graph.op("MatMul", windows, graph.double(hann * np.sin(angles)))
    squares = [graph.op("Mul", part, part) for part in (real, imaginary)]
    return graph.as_float(graph.op("Add", *squares))


def _log_mel(
    graph: Graph,
    waveform: str,
    real: str,
    num_samples: str,
    config: FrontendConfig,
    params: Params,
) -> Frames:
    length = num_frames(graph, graph.size(waveform, 1))
    windows = graph.op("Mul", length, [features.WINDOWS_PER_FRAME])
    half_shift = lengths.HOP // features.WINDOWS_PER_FRAME // 2
    padded = graph.op("Pad", waveform, [0, half_shift, 0, half_shift], 0.0)
    power = _power_spectrum(
        graph,
        padded,
        windows,
        shift=lengths.HOP // features.WINDOWS_PER_FRAME,
        window=lengths.WINDOW,
        fft_length=features.FFT_LENGTH,
    )
    mel = graph.op("MatMul", power, features.mel_filters(config.num_mels))
    log_mel = graph.op("Log", graph.op("Add", mel, features.FLOOR))
    x = graph.reshape(log_mel, 0, length, features.WINDOWS_PER_FRAME * config.num_mels)
    valid = graph.first(num_frames(graph, num_samples), length)
    x = implemented("frontend.normalize", config.normalize, LOG_MEL_NORMS)(graph, x, valid)
    x = graph.zero_unless(graph.expand(valid, 2), x)
    x = graph.layer_norm(graph.linear(x, params["projection"]), params["norm"])
    return Frames(x, valid, valid)


def _fixed_scale(graph: Graph, x: str, valid: str) -> str:
    x = graph.op("Sub", x, log_mel_frontend.FIXED_MEAN)
    return graph.op("Div", x, log_mel_frontend.FIXED_STD)


def _standardized_over_time(graph: Graph, x: str, valid: str) -> str:
    real = graph.as_float(graph.expand(valid, 2))
    count = graph.op("Max", graph.sum(real, 1, keep=True), 1.0)
    mean = graph.op("Div", graph.sum(graph.op("Mul", x, real), 1, keep=True), count)
    centred = graph.op("Sub", x, mean)
    squares = graph.op("Mul", graph.op("Mul", centred, centred), real)
    variance = graph.op("Div", graph.sum(squares, 1, keep=True), count)
    deviation = graph.op("Sqrt", graph.op("Add", variance, log_mel_frontend.MIN_STD**2))
    return graph.op("Div", centred, deviation)


def _waveform(
    graph: Graph,
    waveform: str,
    real: str,
    num_samples: str,
    config: FrontendConfig,
    params: Params,
) -> Frames:
    normalize = implemented("frontend.normalize", config.normalize, WAVEFORM_NORMS)
    waveform = normalize(graph, waveform, real, num_samples)
    norm = implemented("frontend.conv_norm", config.conv_norm, CONVOLUTION_NORMS)
    x = graph.expand(waveform, 1)  # [B, C, T] from here on
    for i, (_, stride) in enumerate(lengths.CONVOLUTIONS):
        layer = params["convolutions"][i]
        x = graph.convolution(x, layer, strides=[stride])
        x = graph.gelu(norm(graph, x, i, num_samples, layer))
    x = graph.transpose(x, 0, 2, 1)
    if config.feature_norm:
        x = graph.layer_norm(x, params["feature_norm"])
    valid = graph.first(num_frames(graph, num_samples), graph.size(x, 1))
    x = graph.zero_unless(graph.expand(valid, 2), x)
    return Frames(graph.linear(x, params["projection"]), valid, valid)


def _layer_norm(graph: Graph, x: str, i: int, num_samples: str, params: Params) -> str:
    """LayerNorm of [B, C, T] over channels, in every layer."""
    return graph.transpose(graph.layer_norm(graph.transpose(x, 0, 2, 1), params["norm"]), 0, 2, 1)


def _group_norm(graph: Graph, x: str, i: int, num_samples: str, params: Params) -> str:
    """Norm of [B, C, T] over time, in the first layer only."""
    if i:
        return x
    taps, stride = lengths.CONVOLUTIONS[0]
    count = graph.op("Div", graph.op("Sub", num_samples, taps), stride)
    return _norm_over_time(graph, x, graph.op("Add", count, 1), params["norm"])


def _unchanged(graph: Graph, waveform: str, real: str, num_samples: str) -> str:
    return waveform


def _normalized(graph: Graph, waveform: str, real: str, num_samples: str) -> str:
    count = graph.expand(graph.op("Max", graph.as_float(num_samples), 1.0), 1)
    mean = graph.op("Div", graph.sum(waveform, 1, keep=True), count)
    centred = graph.zero_unless(real, graph.op("Sub", waveform, mean))
    squares = graph.sum(graph.op("Mul", centred, centred), 1, keep=True)
    variance = graph.op("Add", graph.op("Div", squares, count), waveform_frontend.SILENCE)
    return graph.op("Div", centred, graph.op("Sqrt", variance))


def _norm_over_time(graph: Graph, x: str, num_real: str, params: Params) -> str:
    real = graph.expand(graph.first(num_real, graph.size(x, 2)), 1)
    count = graph.op("Max", graph.as_float(num_real), 1.0)
    count = graph.expand(count, 1, 2)
    mean = graph.op("Div", graph.sum(graph.zero_unless(real, x), 2, keep=True), count)
    centred = graph.op("Sub", x, mean)
    squares = graph.zero_unless(real, graph.op("Mul", centred, centred))
    variance = graph.op("Div", graph.sum(squares, 2, keep=True), count)
    deviation = graph.op("Sqrt", graph.op("Add", variance, EPSILON))
    scaled = graph.op("Mul", graph.op("Div", centred, deviation), params["scale"][:, None])
    return graph.op("Add", scaled, params["bias"][:, None])


def _whisper(
    graph: Graph,
    waveform: str,
    real: str,
    num_samples: str,
    config: FrontendConfig,
    params: Params,
) -> Frames:
    window = round(config.window_seconds * lengths.SAMPLE_RATE)
    length = num_frames(graph, graph.size(waveform, 1))
    valid = graph.first(num_frames(graph, num_samples), length)
    num_windows = graph.op("Mul", length, [whisper.WINDOWS_PER_FRAME])
    if window:
        waveform = graph.cut(graph.op("Pad", waveform, [0, 0, 0, window], 0.0), 0, window, axis=1)
        num_windows = graph.constant([window // whisper.SHIFT])
    half = whisper.FFT_LENGTH // 2
    padded = graph.op("Pad", waveform, [0, half, 0, half], mode="reflect")
    power = _power_spectrum(
        graph,
        padded,
        num_windows,
        shift=whisper.SHIFT,
        window=whisper.FFT_LENGTH,
        fft_length=whisper.FFT_LENGTH,
    )
    mel = graph.op("MatMul", power, whisper.slaney_filters(config.num_mels))
    log_power = graph.op("Log", graph.op("Max", mel, whisper.FLOOR))
    log_power = graph.op("Mul", log_power, float(1 / np.log(10.0)))
    if not window:
        # Padding has the value of silence, and one more window of silence follows the batch.
        count = graph.op("Mul", num_frames(graph, num_samples), whisper.WINDOWS_PER_FRAME)
        real = graph.expand(graph.first(count, num_windows), 2)
        log_power = graph.op("Where", real, log_power, float(np.log10(whisper.FLOOR)))
        log_power = graph.op("Pad", log_power, [0, 0, 0, 0, 1, 0], float(np.log10(whisper.FLOOR)))
    loudest = graph.op("ReduceMax", log_power, axes=[1, 2], keepdims=1)
    log_power = graph.op("Max", log_power, graph.op("Sub", loudest, whisper.RANGE))
    x = graph.op("Div", graph.op("Add", log_power, 4.0), 4.0)
    x = graph.transpose(x, 0, 2, 1)
    for name, stride in (("conv1", 1), ("conv2", whisper.WINDOWS_PER_FRAME)):
        x = graph.gelu(graph.convolution(x, params[name], strides=[stride], pads=[1, 1]))
        if not window:
            x = graph.cut(x, 0, num_windows if stride == 1 else length, axis=2)
    return Frames(graph.transpose(x, 0, 2, 1), valid, None if window else valid)


LOG_MEL_NORMS = {"fixed": _fixed_scale, "utterance": _standardized_over_time}
WAVEFORM_NORMS = {"fixed": _unchanged, "utterance": _normalized}
CONVOLUTION_NORMS = {"layer": _layer_norm, "group": _group_norm}
FRONTENDS = {"log_mel": _log_mel, "waveform": _waveform, "whisper": _whisper}
