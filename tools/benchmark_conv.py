"""Times every formulation of the convolutions of a waveform encoder; a part of benchmark.py."""

import functools
import json
import platform
import time

import jax
import jax.numpy as jnp
import numpy as np

from sersl.core import lengths
from sersl.models.convolution import CHOICES, FORMULATIONS

WIDTH = 512  # of the conv stack
POSITIONS = ((256, 16), (768, 16), (1024, 16))  # width and groups of positional convolutions
TAPS = 128  # of a positional convolution


def conv(arguments) -> dict:
    """Measures each formulation of each convolution, forward and backward.

    Shapes are those of `rows` utterances of `seconds` seconds in wav2vec 2.0. Formulations take
    turns, and the best of all rounds counts. Processor seconds of the process are given, which
    other programs on the machine disturb less than the clock.

    Args:
      arguments: `rows`, `seconds`, `rounds`, `cases`: parts of names to keep; empty: all.

    Returns:
      Rows with the processor seconds of each formulation, JSON-able.
    """
    rows = []
    for name, family, size, x_shape, kernel_shape in _cases(arguments):
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.normal(size=x_shape), jnp.float32)
        kernel = jnp.asarray(rng.normal(size=kernel_shape), jnp.float32)
        runs = {
            (form, part): make(functools.partial(function, size)).lower(x, kernel).compile()
            for form, function in FORMULATIONS[family].items()
            for part, make in (("forward", jax.jit), ("backward", _backward_alone))
        }
        best = dict.fromkeys(runs, float("inf"))
        for _ in range(arguments.rounds):
            for key, run in runs.items():
                start = time.process_time()
                jax.block_until_ready(run(x, kernel))
                best[key] = min(best[key], time.process_time() - start)
        chosen = CHOICES[family].get(jax.default_backend(), CHOICES[family]["default"])
        for form in FORMULATIONS[family]:
            row = {
                "convolution": name,
                "formulation": form,
                "forward": round(best[form, "forward"], 4),
                "backward": round(best[form, "backward"], 4),
                "chosen": [
                    part
                    for part, name in zip(("forward", "backward"), chosen, strict=True)
                    if name == form
                ],
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
    where = {"jax": jax.__version__, "platform": jax.default_backend(), "machine": processor()}
    return {"measure": "conv", "rows": rows, **where}


def _cases(arguments):
    """Gives (name, family, stride or groups, shape of the input, shape of the kernel)."""
    frames = int(arguments.seconds * lengths.SAMPLE_RATE)
    inputs = 1
    found = []
    for i, (taps, stride) in enumerate(lengths.CONVOLUTIONS):
        if i in (0, 1, 5):  # the layers between have the shapes of layer 1, halved
            name = f"stem layer {i}: {inputs} to {WIDTH} channels, {taps} taps, stride {stride}"
            shapes = (arguments.rows, frames, inputs), (taps, inputs, WIDTH)
            found.append((name, "strided", stride, *shapes))
        frames, inputs = lengths.convolved(frames, taps, stride), WIDTH
    for width, groups in POSITIONS:
        name = f"positions: {width} channels in {groups} groups, {TAPS} taps"
        shapes = (arguments.rows, frames, width), (TAPS, width // groups, width)
        found.append((name, "grouped", groups, *shapes))
    wanted = arguments.cases
    return [case for case in found if not wanted or any(part in case[0] for part in wanted)]


def _backward_alone(function):
    """The gradients to input and kernel; the output itself is not computed where not needed."""

    @jax.jit
    def run(x, kernel):
        shape = jax.eval_shape(function, x, kernel).shape
        uneven = jnp.sin(jnp.arange(shape[1], dtype=x.dtype))[None, :, None]
        return jax.vjp(function, x, kernel)[1](jnp.broadcast_to(uneven, shape))

    return run


def processor() -> str:
    """Names the processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith("model name")]
        return lines[0].split(":")[1].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
