"""A smaller copy of a Whisper encoder, fitted layer by layer in closed form on unlabelled audio.

The copy keeps some channels, heads and hidden units of the first layers. Each of its linear maps is
the least-squares fit, on its own inputs, to what the larger encoder computes there, so that a layer
also makes up for the errors of those before it.

Source: pruning of channels with least-squares reconstruction (1707.06168), here for a pre-norm
Transformer, with channels chosen by a pivoted Cholesky factor of their covariance.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError
from sersl.models.encoder import SpeechEncoder
from sersl.models.transformer import Transformer
from sersl.models.whisper import TAPS, WhisperFrontend
from sersl.runs.initial_weights import InitialWeights

_SIZES = ("num_layers", "width", "num_heads", "mlp_width")
_ROWS = 16  # at once
_RIDGE = 1e-4  # of the mean square of an input, added to all
_EPSILON = 1e-5  # of LayerNorm


def reduced_encoder(start: InitialWeights, sizes: EncoderConfig) -> EncoderConfig:
    """Gives the settings of the smaller encoder.

    Args:
      start: the larger one.
      sizes: whose layers, width, heads and hidden units are taken.

    Raises:
      UserError: the larger one is not a Whisper encoder, or the sizes do not fit into it.
    """
    encoder = start.encoder
    plain = (encoder.kind, encoder.norm, encoder.positions, encoder.side_layers)
    if start.frontend.kind != "whisper" or plain != ("transformer", "pre", "learned", 0):
        raise UserError(
            f"reduction.seconds reduces Whisper encoders, and init_from={start.source!r} is none: "
            "set it to 0, or start from a Whisper encoder"
        )
    for name in _SIZES:
        small, large = getattr(sizes, name), getattr(encoder, name)
        if small > large:
            raise UserError(
                f"reduction.seconds makes a smaller encoder, and encoder.{name}={small} is above "
                f"the {large} of init_from={start.source!r}: lower it"
            )
    size = encoder.width // encoder.num_heads
    if sizes.width != sizes.num_heads * size:
        raise UserError(
            f"a head of init_from={start.source!r} has {size} channels, and encoder.width="
            f"{sizes.width} has {sizes.num_heads} heads: set encoder.num_heads to "
            f"{max(1, round(sizes.width / size))} and encoder.width to that times {size}"
        )
    taken = {name: getattr(sizes, name) for name in _SIZES}
    return dataclasses.replace(encoder, **taken, final_norm=False)


def reduce_encoder(
    start: InitialWeights,
    encoder: EncoderConfig,
    waveform: np.ndarray,
    valid: np.ndarray,
    say: Callable[[str], None],
) -> InitialWeights:
    """Fits the smaller encoder.

    Args:
      start: the larger one.
      encoder: from `reduced_encoder`.
      waveform: float32 [B, N], 16 kHz.
      valid: bool [B, N].
      say: called with how well each layer is reproduced.

    Returns:
      The weights of the smaller encoder.
    """
    fit = _Fit(start, encoder, waveform, valid)
    params: dict[str, Any] = {"frontend": fit.frontend()}
    table = np.asarray(start.params["encoder"]["positions"]["table"])
    layers = {}
    for number in range(encoder.num_layers):
        layers[number], share = fit.layer(number)
        say(f"layer {number + 1} reproduces {100 * share:.1f} % of the variance of its output")
    params["positions"] = {"table": table[:, fit.kept]}
    params["mask_embedding"] = np.asarray(start.params["encoder"]["mask_embedding"])[fit.kept]
    params["context"] = {"layers": layers}
    params = jax.tree.map(lambda array: np.asarray(array, np.float32), params)
    return dataclasses.replace(start, params={"encoder": params}, encoder=encoder)


def first_layers(start: InitialWeights, encoder: EncoderConfig) -> InitialWeights | None:
    """Takes the first layers as they are; None where the encoder differs in other sizes too."""
    if any(getattr(encoder, name) != getattr(start.encoder, name) for name in _SIZES[1:]):
        return None
    whole = start.params["encoder"]
    layers = {number: whole["context"]["layers"][number] for number in range(encoder.num_layers)}
    params = {**whole, "context": {"layers": layers}}
    return dataclasses.replace(start, params={"encoder": params}, encoder=encoder)


class _Fit:
    """The larger encoder's activations, and those of the smaller one as far as it is fitted.

    Attributes:
      kept: int [D], channels of the larger encoder that the smaller one has.
    """

    def __init__(
        self,
        start: InitialWeights,
        encoder: EncoderConfig,
        waveform: np.ndarray,
        valid: np.ndarray,
    ):
        self._encoder = encoder
        whole = dataclasses.replace(start.encoder, scan_layers=False)
        # On the audio alone: a window of 30 s would be silence for the most part.
        frontend = dataclasses.replace(start.frontend, window_seconds=0.0)
        model = nnx.eval_shape(lambda: SpeechEncoder(frontend, whole, key=jax.random.key(0)))
        self._graph, _ = nnx.split(model)
        self._params = start.params["encoder"]
        given = self._run(_stem, waveform, valid)
        self._first, self._second, state, self._valid = given
        # What the larger encoder computes in each layer, and its hidden states.
        self._parts, states = [], [state]
        for number in range(encoder.num_layers):
            self._parts.append(self._run(functools.partial(_layer, number), state, self._valid))
            state = self._parts[-1][-1]
            states.append(state)
        spreads = [_spread(_normed(state), self._valid) for state in states]
        covariance = np.sum(spreads, axis=0)
        self.kept = choose(covariance, encoder.width)
        self._states = [state[..., self.kept] for state in states]
        self._own = self._states[0]

    def _run(self, function: Callable, *arrays: np.ndarray) -> list[np.ndarray]:
        """Runs a function of the larger encoder on a few rows at a time."""
        run = jax.jit(
            lambda params, *few: function(nnx.merge(self._graph, nnx.State(params)), *few)
        )
        return _in_parts(functools.partial(run, self._params), *arrays)

    def frontend(self) -> dict[str, Any]:
        """Fits the convolutions, and the input of the first layer."""
        kept, width = self.kept, self._encoder.width
        first = choose(_covariance(self._first.reshape(-1, self._first.shape[-1])), width)
        conv1 = self._params["frontend"]["conv1"]
        taps = np.asarray(_taps(self._first[..., first], stride=2))
        kernel, bias = self._fit(taps, self._second[..., kept])
        positions = self._params["positions"]["table"][: taps.shape[1], kept]
        self._own = np.asarray(_gelu(taps @ kernel + bias)) + positions
        return {
            "conv1": {"kernel": conv1["kernel"][..., first], "bias": conv1["bias"][first]},
            "conv2": {"kernel": kernel.reshape(TAPS, width, width), "bias": bias},
        }

    def layer(self, number: int) -> tuple[dict[str, Any], float]:
        """Fits a layer; its parameters, and the share of the variance of its output."""
        query, key, value, mixed, between, hidden, _ = self._parts[number]
        output = self._states[number + 1]
        old = self._params["context"]["layers"][number]
        heads = self._chosen_heads(mixed, np.asarray(old["attention"]["output"]["kernel"]))
        normed = _normed(self._own)
        maps = {
            name: self._fit(normed, target[..., heads], bias=has_bias)
            for name, target, has_bias in (
                ("query", query, True),
                ("key", key, self._encoder.key_bias),
                ("value", value, True),
            )
        }
        attend = functools.partial(_attend, num_heads=self._encoder.num_heads)
        projected = [normed @ kernel + bias for kernel, bias in maps.values()]
        (own,) = _in_parts(jax.jit(lambda *x: (attend(*x),)), *projected, self._valid)
        maps["output"] = self._fit(own, between[..., self.kept] - self._own)
        after = self._own + own @ maps["output"][0] + maps["output"][1]
        reach = np.linalg.norm(np.asarray(old["mlp_out"]["kernel"])[:, self.kept], axis=1)
        units = _covariance(np.asarray(_gelu(hidden[self._valid])) * reach)
        units = choose(units, self._encoder.mlp_width)
        normed = _normed(after)
        inwards = self._fit(normed, hidden[..., units])
        own = np.asarray(_gelu(normed @ inwards[0] + inwards[1]))
        outwards = self._fit(own, output - after)
        self._own = after + own @ outwards[0] + outwards[1]
        error = np.square(self._own - output)[self._valid].mean()
        norm = {"scale": np.ones(len(self.kept)), "bias": np.zeros(len(self.kept))}
        attention = {name: _linear(*one) for name, one in maps.items()}
        if not self._encoder.key_bias:
            attention["key"] = {"kernel": maps["key"][0]}
        return {
            "attention": attention,
            "attention_norm": dict(norm),
            "mlp_norm": dict(norm),
            "mlp_in": _linear(*inwards),
            "mlp_out": _linear(*outwards),
        }, float(1.0 - error / output[self._valid].var(0).mean())

    def _chosen_heads(self, mixed: np.ndarray, output: np.ndarray) -> np.ndarray:
        """Finds the channels of the heads that add most to the kept channels."""
        size = self._encoder.width // self._encoder.num_heads
        covariance, kernel = _covariance(mixed[self._valid]), output[:, self.kept]
        energy = []
        for start in range(0, len(output), size):
            own = slice(start, start + size)
            energy.append(np.trace(kernel[own].T @ covariance[own, own] @ kernel[own]))
        heads = np.sort(np.argsort(energy)[::-1][: self._encoder.num_heads])
        return (heads[:, None] * size + np.arange(size)).ravel()

    def _fit(
        self, inputs: np.ndarray, targets: np.ndarray, *, bias: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        return least_squares(inputs[self._valid], targets[self._valid], bias=bias)


def least_squares(
    inputs: np.ndarray, targets: np.ndarray, *, bias: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Fits targets [n, M] by inputs [n, F]: kernel float32 [F, M] and bias float32 [M]."""
    centre, level = inputs.mean(0), targets.mean(0)
    if not bias:
        centre, level = np.zeros_like(centre), np.zeros_like(level)
    inputs, targets = inputs - centre, targets - level
    gram = (inputs.T @ inputs).astype(np.float64)
    gram += _RIDGE * max(np.trace(gram) / len(gram), 1e-12) * np.eye(len(gram))
    kernel = np.linalg.solve(gram, (inputs.T @ targets).astype(np.float64)).astype(np.float32)
    return kernel, level - centre @ kernel


def choose(covariance: np.ndarray, number: int) -> np.ndarray:
    """Chooses channels from which the others can be predicted best, one after the other.

    Each is the one with the largest variance that those before it do not explain.

    Args:
      covariance: [D, D].
      number: of channels, at most D.

    Returns:
      int [number], ascending.
    """
    left = np.diag(covariance).astype(np.float64)
    factor = np.zeros((number, len(left)))
    chosen: list[int] = []
    for i in range(number):
        pivot = int(left.argmax())
        row = covariance[pivot] - factor[:i, pivot] @ factor[:i]
        factor[i] = row / np.sqrt(max(left[pivot], 1e-12))
        chosen.append(pivot)
        left = np.maximum(left - np.square(factor[i]), 0.0)
        left[chosen] = -1.0
    return np.sort(np.array(chosen))


def _stem(encoder: SpeechEncoder, waveform: jax.Array, valid: jax.Array):
    """Gives both convolutions' outputs, the second before its GELU, the input of the layers."""
    frontend = encoder.frontend
    assert isinstance(frontend, WhisperFrontend)
    features, frame_valid = frontend.features(waveform, valid)
    windows = features.reshape(len(features), -1, frontend.config.num_mels)
    first = frontend.conv1(windows)
    second = _taps(first, stride=2) @ frontend.conv2.kernel[...].reshape(-1, first.shape[-1])
    second = second + frontend.conv2.bias[...]
    state = encoder.positions(_gelu(second), frame_valid)
    return first, second, state, frame_valid


def _layer(number: int, encoder: SpeechEncoder, x: jax.Array, valid: jax.Array):
    """Gives what a layer computes: query, key, value, mixed values, sums and hidden units."""
    assert isinstance(encoder.context, Transformer)
    layer = encoder.context.layers[number]
    normed = layer.attention_norm(x)
    query, key, value = (
        part(normed) for part in (layer.attention.query, layer.attention.key, layer.attention.value)
    )
    mixed = _attend(query, key, value, valid, num_heads=encoder.config.num_heads)
    between = x + layer.attention.output(mixed)
    hidden = layer.mlp_in(layer.mlp_norm(between))
    return query, key, value, mixed, between, hidden, between + layer.mlp_out(_gelu(hidden))


def _attend(query, key, value, valid, *, num_heads):
    shape = (*query.shape[:2], num_heads, -1)
    query, key, value = (x.reshape(shape) for x in (query, key, value))
    mixed = jax.nn.dot_product_attention(query, key, value, mask=valid[:, None, None, :])
    return mixed.reshape(*mixed.shape[:2], -1)


def _gelu(x):
    return jax.nn.gelu(x, approximate=False)


def _taps(x, *, stride: int):
    """Puts the inputs of each step of a convolution side by side: [B, T / stride, 3 I]."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
    return jnp.concatenate([padded[:, t : t + x.shape[1] : stride] for t in range(TAPS)], axis=-1)


def _normed(x: np.ndarray) -> np.ndarray:
    """LayerNorm without parameters."""
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + _EPSILON)


def _covariance(x: np.ndarray) -> np.ndarray:
    x = x - x.mean(0)
    return x.T @ x / len(x)


def _spread(x: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Covariance over frames plus that over means of utterances, each of trace 1."""
    means = np.stack([row[real].mean(0) for row, real in zip(x, valid, strict=True) if real.any()])
    frames, utterances = _covariance(x[valid]), _covariance(means)
    return frames / max(np.trace(frames), 1e-12) + utterances / max(np.trace(utterances), 1e-12)


def _linear(kernel: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    return {"kernel": kernel, "bias": bias}


def _in_parts(run: Callable, *arrays: np.ndarray) -> list[np.ndarray]:
    """Runs a function on a few rows at a time and joins each of its outputs."""
    parts = []
    for start in range(0, len(arrays[0]), _ROWS):
        few = [array[start : start + _ROWS] for array in arrays]
        short = _ROWS - len(few[0])
        padded = [np.pad(x, ((0, short), *((0, 0),) * (x.ndim - 1))) for x in few]
        parts.append([np.asarray(out)[: len(few[0])] for out in run(*padded)])
    return [np.concatenate(one) for one in zip(*parts, strict=True)]
