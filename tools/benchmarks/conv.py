"""Measures every formulation of the convolutions of a waveform encoder."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks.timing import add_batch_options, in_turns, timed

from sersl.core import lengths
from sersl.models.convolution import CHOICES, FORMULATIONS

WIDTH = 512  # of the conv stack
POSITIONS = ((256, 16), (768, 16), (1024, 16))  # width and groups of positional convolutions
TAPS = 128  # of a positional convolution


def add_options(parser) -> None:
    """Adds the options of this benchmark."""
    add_batch_options(parser, rows=4, seconds=5.0, rounds=5)
    parser.add_argument(
        "--cases",
        nargs="*",
        default=[],
        metavar="PART",
        help="only names with one of these",
    )


def run(arguments) -> dict:
    """Compares the formulations of each convolution, forward and backward.

    Shapes are those of `rows` utterances of `seconds` seconds in wav2vec 2.0. The result is the
    least processor time of all rounds, which depends less on other programs than wall clock.
    """
    rows = []
    for name, family, size, x_shape, kernel_shape in _cases(arguments):
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.normal(size=x_shape), jnp.float32)
        kernel = jnp.asarray(rng.normal(size=kernel_shape), jnp.float32)
        compiled = {
            (form, part): make(functools.partial(function, size)).lower(x, kernel).compile()
            for form, function in FORMULATIONS[family].items()
            for part, make in (("forward", jax.jit), ("backward", _backward_alone))
        }
        ways = {
            key: functools.partial(timed, functools.partial(program, x, kernel))
            for key, program in compiled.items()
        }
        measured = in_turns(ways, rounds=arguments.rounds)
        best = {key: min(time.cpu for time in times) for key, times in measured.items()}
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
    return {"rows": rows}


def _cases(arguments):
    """Lists (name, family, stride or groups, shape of the input, shape of the kernel)."""
    frames = int(arguments.seconds * lengths.SAMPLE_RATE)
    inputs = 1
    found = []
    for i, (taps, stride) in enumerate(lengths.CONVOLUTIONS):
        if i in (0, 1, 5):  # the layers between have half of the frames of the previous one
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
    """Computes the gradients alone; the output is computed only where they need it."""

    @jax.jit
    def run(x, kernel):
        shape = jax.eval_shape(function, x, kernel).shape
        uneven = jnp.sin(jnp.arange(shape[1], dtype=x.dtype))[None, :, None]
        return jax.vjp(function, x, kernel)[1](jnp.broadcast_to(uneven, shape))

    return run
