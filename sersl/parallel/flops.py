"""FLOPs of a step, counted from its trace, with each loop multiplied by its length.

Only matrix products, convolutions and Fourier transforms are counted, as is usual for model FLOP
utilisation (PaLM, 2204.02311, appendix B): the rest of a step is bound by memory bandwidth.
"""

import math

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr


def count_flops(jaxpr: ClosedJaxpr) -> float:
    """Counts the floating-point operations of one run.

    Args:
      jaxpr: from `jax.jit(f).trace(...).jaxpr`, with the global shapes of arrays.

    Returns:
      Multiplications plus additions over all devices. Operations that `jax.checkpoint` recomputes
      in the backward pass count again; of branches the most expensive counts; a loop of unknown
      length counts once.
    """
    return _of_jaxpr(jaxpr.jaxpr)


def _of_jaxpr(jaxpr: Jaxpr) -> float:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _of_product(equation)
    if name == "conv_general_dilated":
        return _of_convolution(equation)
    if name == "fft":
        return _of_fourier(equation)
    if name == "scan":
        return params["length"] * _of_jaxpr(params["jaxpr"].jaxpr)
    if name == "pallas_call":
        return math.prod(params["grid_mapping"].grid) * _of_jaxpr(params["jaxpr"])
    if name == "shard_map":
        # The jaxpr is that of one device; all devices of the mesh run it.
        return params["mesh"].size * _of_jaxpr(params["jaxpr"])
    if name == "cond":
        return max(_of_jaxpr(branch.jaxpr) for branch in params["branches"])
    return sum(_of_jaxpr(part) for value in params.values() for part in _parts(value))


def _parts(value):
    """Finds the jaxprs in a parameter of an equation."""
    if isinstance(value, ClosedJaxpr):
        yield value.jaxpr
    elif isinstance(value, Jaxpr):
        yield value
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _parts(one)


def _of_product(equation) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    summed = math.prod(left[axis] for axis in contracted)
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * summed


def _of_convolution(equation) -> float:
    """Counts one product and sum per output and weight that contributes to it.

    Padding counts as data. Where the input is dilated with zeros (the gradient of a strided
    convolution with respect to its input), only one in `lhs_dilation` products is not with zero,
    and only these count: no compiler computes the others.
    """
    params = equation.params
    weights = equation.invars[1].aval.shape
    numbers = params["dimension_numbers"]
    out_channels = weights[numbers.rhs_spec[0]]
    per_output = math.prod(weights) / out_channels
    spread = math.prod(params["lhs_dilation"])
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * per_output / spread


def _of_fourier(equation) -> float:
    """Counts 5 n log2 n for each complex transform of length n, and half of that for a real one."""
    lengths = equation.params["fft_lengths"]
    n = math.prod(lengths)
    real = equation.params["fft_type"] in (jax.lax.FftType.RFFT, jax.lax.FftType.IRFFT)
    shape = max((v.aval.shape for v in (equation.invars[0], equation.outvars[0])), key=math.prod)
    batch = math.prod(shape[: len(shape) - len(lengths)])
    return batch * 5.0 * n * math.log2(max(n, 2)) / (2 if real else 1)
