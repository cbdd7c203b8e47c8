"""Small trainable parts inside the layers of a pretrained Transformer.

`add_adapters` puts them into a `SpeechEncoder` whose own parameters keep their paths. At the start
they change no output: the last map of each is zero, except for prefixes, which are as large as the
keys and values beside them. A part and the map it belongs to have one path: the updates of
`context/layers/0/attention/query` are in `.../query/adapter`.
"""

from typing import Protocol, cast

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.adaptation import AdaptationConfig
from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError
from sersl.core.patterns import Pattern
from sersl.models.layers import Axes, Linear, truncated_normal

TARGETS = {"lora": "attention/(query|value)", "bottleneck": "attention/output|mlp_out"}
WITH_PARTS = ("lora", "bottleneck", "prefix", "extension")  # methods that add parameters
# Names of the added subtrees: of a linear map, of attention, of a layer.
ADAPTER, PREFIX, EXTENSION = "adapter", "prefix", "extension"


class HasContext(Protocol):
    """An encoder with a context network."""

    @property
    def context(self) -> object:
        """The context network."""


class LowRank(nnx.Module):
    """LoRA: adds x A B alpha / rank to the output for x (Hu et al., 2106.09685, eq. 3)."""

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        config: AdaptationConfig,
        *,
        axes: Axes,
        dtype: str,
        key: jax.Array,
    ):
        """Makes A [I, r] with standard deviation I^-1/2, and B [r, O], which is zero."""
        self.factor = config.alpha / config.rank
        self.down = Linear(
            num_inputs, config.rank, axes=(axes[0], None), key=key, dtype=dtype, bias=False
        )
        self.up = Linear(
            config.rank,
            num_outputs,
            axes=(None, axes[1]),
            key=key,
            dtype=dtype,
            std=0.0,
            bias=False,
        )

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """Adds to y [N, O], the output for x [N, I]."""
        return y + self.factor * self.up(self.down(x))


class Bottleneck(nnx.Module):
    """Adds gelu(y A + a) B + b to the output y of a linear map (Houlsby et al., 1902.00751)."""

    def __init__(
        self, num_outputs: int, config: AdaptationConfig, *, axis: str | None, dtype, key: jax.Array
    ):
        """Makes A [O, W] with standard deviation O^-1/2, and B [W, O], a and b, which are zero."""
        self.down = Linear(num_outputs, config.width, axes=(axis, None), key=key, dtype=dtype)
        self.up = Linear(
            config.width, num_outputs, axes=(None, axis), key=key, dtype=dtype, std=0.0
        )

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """Adds to y [N, O], the output for x [N, I]."""
        del x
        return y + self.up(jax.nn.gelu(self.down(y), approximate=False))


class Prefix(nnx.Module):
    """Keys and values of attention that precede those of the frames (Li and Liang, 2101.00190).

    Differs: they are parameters themselves, without the network that the paper computes them with.
    """

    def __init__(self, vectors: int, width: int, *, key: jax.Array):
        """Makes keys and values [P, D] from a standard normal truncated at two deviations."""
        parts = jax.random.split(key)
        self.keys, self.values = (
            nnx.Param(
                truncated_normal(part, (vectors, width), std=1.0),
                axes=(None, "heads"),
                decay=False,
            )
            for part in parts
        )

    def __call__(
        self, keys: jax.Array, values: jax.Array, seen: jax.Array, bias: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
        """Puts the vectors in front.

        Args:
          keys: [B, T, H, d].
          values: [B, T, H, d].
          seen: bool [B, T], frames to attend to.
          bias: float32 [B, H, T, T] on the scores, 0 for the prefix; None: none.

        Returns:
          The same with P + T instead of T as the length of what is attended to.
        """
        first = len(self.keys[...])

        def in_front(own: jax.Array, x: jax.Array) -> jax.Array:
            shaped = own.astype(x.dtype).reshape(first, *x.shape[2:])
            return jnp.concatenate([jnp.broadcast_to(shaped, (len(x), *shaped.shape)), x], axis=1)

        seen = jnp.pad(seen, ((0, 0), (first, 0)), constant_values=True)
        if bias is not None:
            bias = jnp.pad(bias, ((0, 0), (0, 0), (0, 0), (first, 0)))
        return in_front(self.keys[...], keys), in_front(self.values[...], values), seen, bias


class Extension(nnx.Module):
    """A copy of a layer behind it, on a residual branch that ends in a linear map of zeros.

    Source: ExHuBERT (Amiriparian et al., 2406.10275), sec. 3.2.
    """

    def __init__(self, layer: nnx.Module, width: int, *, dtype: str, key: jax.Array):
        """Takes the layer that becomes the copy, and makes the map."""
        self.layer = layer
        self.output = Linear(width, width, axes=("embed", None), key=key, dtype=dtype, std=0.0)

    def __call__(self, x: jax.Array, **arguments) -> jax.Array:
        """Adds to x [B, T, D], the output of the layer that was copied."""
        return x + self.output(self.layer(x, **arguments))


def first_adapted(config: AdaptationConfig, num_layers: int) -> int:
    """Returns the index of the lowest layer that `adaptation.trained_layers` names.

    Raises:
      UserError: there are fewer layers.
    """
    if config.trained_layers > num_layers:
        raise UserError(
            f"adaptation.trained_layers={config.trained_layers}, but the encoder has {num_layers} "
            "layers: give at most that many, or 0 for all"
        )
    return num_layers - config.trained_layers if config.trained_layers else 0


def add_adapters(
    encoder: HasContext, settings: EncoderConfig, config: AdaptationConfig, *, key: jax.Array
) -> None:
    """Adds the parts of `adaptation.method` to the layers of an encoder.

    Args:
      encoder: to change in place.
      settings: of the encoder.
      config: method, layers and sizes.
      key: PRNG key of the initial values.

    Raises:
      UserError: the encoder has no listed Transformer layers, or no linear map matches
        `adaptation.targets`.
    """
    check_encoder(settings, config)
    if config.method not in WITH_PARTS:
        return
    layers = list(cast("nnx.List", encoder.context.layers))  # type: ignore[attr-defined]
    first = first_adapted(config, settings.num_layers)
    keys = jax.random.split(key, len(layers))
    pattern = _pattern(config)
    changed = 0
    for layer, layer_key in zip(layers[first:], keys[first:], strict=True):
        if config.method == "prefix":
            layer.attention.prefix = Prefix(config.vectors, settings.width, key=layer_key)
        elif config.method == "extension":
            copy = type(layer)(settings, key=layer_key)
            layer.extension = Extension(copy, settings.width, dtype=settings.dtype, key=layer_key)
        elif pattern is not None:
            changed += _adapt_maps(layer, config, pattern, key=layer_key)
    if pattern is not None and not changed:
        raise UserError(
            f"adaptation.targets={config.targets!r} matches no linear map of a layer "
            f"({', '.join(_maps(layers[first]))}): change it"
        )


def check_encoder(settings: EncoderConfig, config: AdaptationConfig) -> None:
    """Checks that the layers of an encoder can be told apart.

    Raises:
      UserError: they cannot, and a setting of adaptation needs that.
    """
    if config.frame_share < 1 and (settings.positions == "rotary" or settings.relative_bias):
        raise UserError(
            "adaptation.frame_share leaves frames out, and the layers of this encoder use the "
            "distances of frames (rotary or relative positions): set it to 1"
        )
    by_layer = (
        config.method in WITH_PARTS
        or config.trained_layers
        or config.gradual_steps
        or config.layer_decay != 1.0
    )
    if not by_layer:
        return
    if settings.kind != "transformer":
        raise UserError(
            f"adaptation changes layers of a Transformer, and encoder.kind={settings.kind!r} has "
            "none: use adaptation.method=full with the other settings of adaptation left out"
        )
    if settings.scan_layers:
        raise UserError(
            "adaptation treats the layers one by one, which encoder.scan_layers=True cannot: set "
            "it to False"
        )
    first_adapted(config, settings.num_layers)


def _pattern(config: AdaptationConfig) -> Pattern | None:
    if config.method not in TARGETS:
        return None
    return Pattern(config.targets or TARGETS[config.method], setting="adaptation.targets")


def _maps(layer: nnx.Module) -> dict[str, Linear]:
    """Lists the linear maps of a layer by path, such as "attention/query"."""
    return {
        "/".join(map(str, path)): module
        for path, module in nnx.iter_modules(layer)
        if isinstance(module, Linear)
    }


def _adapt_maps(
    layer: nnx.Module, config: AdaptationConfig, pattern: Pattern, *, key: jax.Array
) -> int:
    maps = {name: own for name, own in sorted(_maps(layer).items()) if pattern.fullmatch(name)}
    for number, linear in enumerate(maps.values()):
        own = jax.random.fold_in(key, number)
        axes = linear.kernel.get_metadata()["axes"]
        num_inputs, num_outputs = linear.kernel.shape
        if config.method == "lora":
            linear.adapter = LowRank(
                num_inputs, num_outputs, config, axes=axes, dtype=linear.dtype, key=own
            )
        else:
            linear.adapter = Bottleneck(
                num_outputs, config, axis=axes[1], dtype=linear.dtype, key=own
            )
    return len(maps)
