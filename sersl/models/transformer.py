"""Pre-norm Transformer over frames, with rotary positions, as a list of layers or scanned."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError, unknown_name
from sersl.models.layers import LayerNorm, Linear, dropout, shard_rows

ROTARY_BASE = 10_000.0  # RoFormer (2104.09864), sec. 3.2.2
LAYERS = "layers"  # name of the subtree that differs between the two layouts, and of its axis
DTYPES = ("float32", "bfloat16")
REMAT_POLICIES = {
    "none": None,  # keep everything
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # keep matrix products
    "full": jax.checkpoint_policies.nothing_saveable,  # keep the input of each layer
}


class Attention(nnx.Module):
    """Multi-head self-attention with rotary positions; softmax in float32."""

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the four projections; the last starts scaled down, as it ends a residual."""
        self.config = config
        width = config.width
        keys = jax.random.split(key, 4)
        self.query = Linear(width, width, axes=("embed", "heads"), key=keys[0], dtype=config.dtype)
        self.key = Linear(width, width, axes=("embed", "heads"), key=keys[1], dtype=config.dtype)
        self.value = Linear(width, width, axes=("embed", "heads"), key=keys[2], dtype=config.dtype)
        self.output = Linear(
            width,
            width,
            axes=("heads", "embed"),
            key=keys[3],
            dtype=config.dtype,
            std=_residual_std(width, config),
        )

    def __call__(self, x: jax.Array, valid: jax.Array) -> jax.Array:
        """Lets every frame look at the real frames of its row.

        Args:
          x: [B, T, D].
          valid: bool [B, T].

        Returns:
          [B, T, D]; what it says at frames that are not valid means nothing.
        """
        shape = (*x.shape[:2], self.config.num_heads, -1)
        query = rotate(self.query(x).reshape(shape))
        key = rotate(self.key(x).reshape(shape))
        value = self.value(x).reshape(shape)
        # A row that is all padding looks at all of it: a softmax over nothing would be NaN.
        seen = valid | ~valid.any(1, keepdims=True)
        mixed = ATTENTION[self.config.attention](query, key, value, seen)
        return self.output(mixed.reshape(x.shape))


class Layer(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); GELU, dropout on both branches."""

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes one layer."""
        self.config = config
        keys = jax.random.split(key, 3)
        self.attention_norm = LayerNorm(config.width, dtype=config.dtype)
        self.attention = Attention(config, key=keys[0])
        self.mlp_norm = LayerNorm(config.width, dtype=config.dtype)
        self.mlp_in = Linear(
            config.width, config.mlp_width, axes=("embed", "mlp"), key=keys[1], dtype=config.dtype
        )
        self.mlp_out = Linear(
            config.mlp_width,
            config.width,
            axes=("mlp", "embed"),
            key=keys[2],
            dtype=config.dtype,
            std=_residual_std(config.mlp_width, config),
        )

    def __call__(self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None) -> jax.Array:
        """Applies attention and MLP, each on a residual branch.

        Args:
          x: [B, T, D].
          valid: bool [B, T], True = real; others are not attended to.
          key: PRNG key of the dropout; None: no dropout.

        Returns:
          [B, T, D].
        """
        keys = (None, None) if key is None else jax.random.split(key)
        rate = self.config.dropout
        x = x + dropout(self.attention(self.attention_norm(x), valid), rate, key=keys[0])
        hidden = jax.nn.gelu(self.mlp_in(self.mlp_norm(x)), approximate=False)
        return shard_rows(x + dropout(self.mlp_out(hidden), rate, key=keys[1]))


class Transformer(nnx.Module):
    """A stack of layers and a final LayerNorm.

    Kernels start truncated normal, deviation num_inputs^-1/2, those that end a residual branch
    divided by sqrt(2 L) (GPT-2, sec. 2.3), biases zero.

    Parameters lie under `layers/0/...`, `layers/1/...` or, with `scan_layers`, under `layers/...`
    with a leading dimension of L; see `stack_layers`. The numbers are the same either way.
    """

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the layers.

        Raises:
          UserError: sizes that do not divide, or an unknown name in the config.
        """
        _check(config)
        self.config = config
        keys = jax.random.split(key, config.num_layers)
        if config.scan_layers:
            stacked = jax.vmap(lambda k: nnx.split(Layer(config, key=k))[1])(keys)
            self.layers = nnx.merge(nnx.graphdef(Layer(config, key=keys[0])), stacked)
            for _, module in nnx.iter_modules(self.layers):
                for param in vars(module).values():
                    if isinstance(param, nnx.Param):
                        param.set_metadata(axes=(LAYERS, *param.get_metadata()["axes"]))
        else:
            self.layers = nnx.List([Layer(config, key=k) for k in keys])
        self.norm = LayerNorm(config.width, dtype=config.dtype)

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Contextualises frames.

        Args:
          x: [B, T, D].
          valid: bool [B, T].
          key: PRNG key of dropout; None: none.

        Returns:
          hidden_states [L + 1, B, T, D] in the config's dtype: the input, the output of each layer,
          of the last one after the final LayerNorm.
        """
        x = shard_rows(x.astype(self.config.dtype))
        keys = None if key is None else jax.random.split(key, self.config.num_layers)
        if self.config.scan_layers:
            return self._scanned(x, valid, keys)
        return self._listed(x, valid, keys)

    def _listed(self, x, valid, keys):
        hidden_states = [x]
        for i, layer in enumerate(self.layers):
            graph, state = nnx.split(layer)
            x = self._layer(graph)(state, x, valid, None if keys is None else keys[i])
            hidden_states.append(x)
        return jnp.stack([*hidden_states[:-1], self.norm(x)])

    def _scanned(self, x, valid, keys):
        graph, state = nnx.split(self.layers)
        run = self._layer(graph)

        # Each step hands out its input, so that the last output is not kept twice.
        def step(x, at):
            return run(at[0], x, valid, at[1]), x

        x, inputs = jax.lax.scan(step, x, (state, keys))
        return jnp.concatenate([inputs, self.norm(x)[None]])

    def _layer(self, graph):
        def run(state, x, valid, key):
            return nnx.merge(graph, state)(x, valid, key=key)

        if self.config.remat == "none":
            return run
        return jax.checkpoint(
            run,
            policy=REMAT_POLICIES[self.config.remat],
            prevent_cse=not self.config.scan_layers,  # a scan needs no barrier against CSE
        )


def _attend(query, key, value, seen):
    """Attention as plain products.

    What `jax.nn.dot_product_attention(implementation="xla")` computes, 2.3 times faster on CPU
    (forward and backward, 16 rows of 200 frames, 4 heads of 32: 37 ms against 83): the division by
    the sum comes after the second product, on [B, T, H, d] instead of [B, H, T, T].
    """
    scores = jnp.einsum(
        "bthd,bshd->bhts",
        query * query.shape[-1] ** -0.5,
        key,
        preferred_element_type=jnp.float32,
    )
    scores = jnp.where(seen[:, None, None, :], scores, -1e30)
    # The largest cancels, so no gradient flows through it.
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    mixed = jnp.einsum(
        "bhts,bshd->bthd", weights.astype(value.dtype), value, preferred_element_type=jnp.float32
    )
    return (mixed / weights.sum(-1).swapaxes(1, 2)[..., None]).astype(value.dtype)


def _attend_cudnn(query, key, value, seen):
    return jax.nn.dot_product_attention(
        query, key, value, mask=seen[:, None, None, :], implementation="cudnn"
    )


# Each takes query, key, value [B, T, H, d] and bool [B, T], the frames to look at.
ATTENTION = {"xla": _attend, "cudnn": _attend_cudnn}


def rotate(x: jax.Array) -> jax.Array:
    """Turns pairs of channels by angles that grow with the frame's number.

    Channel i is paired with i + d / 2; frame t turns pair i by t * 10000^(-2 i / d).

    Args:
      x: [B, T, H, d], d even.

    Returns:
      Like x.

    Source: RoFormer (2104.09864), eq. 34; differs: pairs are halves apart, as in GPT-NeoX.
    """
    half = x.shape[-1] // 2
    rates = ROTARY_BASE ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.arange(x.shape[1], dtype=jnp.float32)[:, None, None] * rates
    cos, sin = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def stack_layers(params: dict) -> dict:
    """Turns list parameters (`layers/0/...`) into scanned ones (`layers/...`, leading L).

    Args:
      params: nested dict of arrays, of a whole model or a part; scanned parts stay as they are.

    Returns:
      A nested dict of the same arrays, layers stacked.
    """

    def convert(layers):
        if 0 not in layers:
            return layers
        in_order = [layers[i] for i in range(len(layers))]
        return jax.tree.map(lambda *arrays: jnp.stack(arrays), *in_order)

    return _convert_layers(params, convert)


def unstack_layers(params: dict) -> dict:
    """Turns scanned parameters (`layers/...`, leading L) into list ones (`layers/0/...`).

    Args:
      params: nested dict of arrays, of a whole model or a part; list parts stay as they are.

    Returns:
      A nested dict of the same arrays, layers apart.
    """

    def convert(layers):
        if 0 in layers:
            return layers
        leaves, tree = jax.tree.flatten(layers)
        apart = zip(*leaves, strict=True)
        return {i: jax.tree.unflatten(tree, layer) for i, layer in enumerate(apart)}

    return _convert_layers(params, convert)


def _convert_layers(params, convert):
    if not isinstance(params, dict):
        return params
    return {
        name: convert(value) if name == LAYERS else _convert_layers(value, convert)
        for name, value in params.items()
    }


def _residual_std(num_inputs: int, config: EncoderConfig) -> float:
    return (num_inputs * 2 * config.num_layers) ** -0.5


def _check(config: EncoderConfig) -> None:
    for kind, name, known in (
        ("encoder.attention", config.attention, ATTENTION),
        ("encoder.remat", config.remat, REMAT_POLICIES),
        ("encoder.dtype", config.dtype, DTYPES),
    ):
        if name not in known:
            raise unknown_name(kind, name, known)
    if config.num_layers < 1:
        raise UserError("encoder.num_layers is less than 1: set it to 1 or more")
    if config.width % (2 * config.num_heads):
        raise UserError(
            f"encoder.width {config.width} does not split into {config.num_heads} heads of even "
            "width: make it a multiple of 2 * encoder.num_heads"
        )
