"""The Transformer context network: pre-norm or post-norm, with listed or scanned layers."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError, unknown_name
from sersl.models.adapters import Extension
from sersl.models.attention import WITH_DROPOUT, Attention, residual_std
from sersl.models.layers import LayerNorm, Linear, dropout, shard_rows, standardize
from sersl.models.positions import RelativeBias

LAYERS = "layers"  # name of the subtree that differs between the two layouts, and of its axis
DTYPES = ("float32", "bfloat16")
SIDE_SHARE = 0.5  # of the side branch, where its output is added to that of a layer
REMAT_POLICIES = {
    "none": None,  # keep everything
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # keep matrix products
    "full": jax.checkpoint_policies.nothing_saveable,  # keep the input of each layer
}


class Layer(nnx.Module):
    """Attention, then an MLP with GELU, each on a residual branch with dropout.

    Pre-norm: x + attention(norm(x)), then x + mlp(norm(x)). Post-norm: norm(x + attention(x)), then
    norm(x + mlp(x)).
    """

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
            std=residual_std(config.mlp_width, config),
        )
        self.extension: Extension | None = nnx.data(None)  # see `sersl.models.adapters`

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, bias: jax.Array | None, key: jax.Array | None
    ) -> jax.Array:
        """Applies attention and MLP.

        Args:
          x: [B, T, D].
          valid: bool [B, T], frames to attend to.
          bias: float32 [H, T, T], see `Attention`; None: none.
          key: PRNG key of dropout; None: no dropout.

        Returns:
          [B, T, D].
        """
        y = self._own(x, valid, bias=bias, key=key)
        if self.extension is None:
            return y
        key = None if key is None else jax.random.fold_in(key, 1)
        return shard_rows(self.extension(y, valid=valid, bias=bias, key=key))

    def _own(self, x, valid, *, bias, key):
        keys = (None,) * 4 if key is None else jax.random.split(key, 4)
        rate = self.config.dropout

        def attention(x):
            return dropout(self.attention(x, valid, bias=bias, key=keys[2]), rate, key=keys[0])

        def mlp(x):
            hidden = jax.nn.gelu(self.mlp_in(x), approximate=False)
            hidden = dropout(hidden, self.config.activation_dropout, key=keys[3])
            return dropout(self.mlp_out(hidden), rate, key=keys[1])

        if self.config.norm == "post":
            x = self.attention_norm(x + attention(x))
            return shard_rows(self.mlp_norm(x + mlp(x)))
        x = x + attention(self.attention_norm(x))
        return shard_rows(x + mlp(self.mlp_norm(x)))


class Transformer(nnx.Module):
    """A stack of layers, a final LayerNorm (pre-norm, unless off), perhaps a side branch of layers.

    The side branch (ladder side-tuning, 2206.06522, without gates) reads the output of layer
    `side_from`, before any final LayerNorm, and leaves the other layers as they are. Its parameters
    have paths `side/0/...` and, pre-norm, `side_norm/...`. With `side_onto` the last output is that
    layer's, standardized over channels, and half of the branch's.

    Initial kernels are truncated normal with standard deviation num_inputs^-1/2, divided by
    sqrt(2 L) if they end a residual branch (GPT-2, sec. 2.3), and zero if they end one of the side
    branch; initial biases are zero.

    Parameters have paths `layers/0/...`, `layers/1/...` or, with `scan_layers`, `layers/...` and a
    leading dimension of L; see `stack_layers`. The outputs are the same.
    """

    causal = False

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the layers.

        Raises:
          UserError: sizes that do not divide, or an unknown name in the config.
        """
        _check(config)
        self.config = config
        *keys, bias_key = jax.random.split(key, config.num_layers + 1)
        if config.scan_layers:
            stacked = jax.vmap(lambda k: nnx.split(Layer(config, key=k))[1])(jnp.stack(keys))
            self.layers = nnx.merge(nnx.graphdef(Layer(config, key=keys[0])), stacked)
            for _, module in nnx.iter_modules(self.layers):
                for param in vars(module).values():
                    if isinstance(param, nnx.Param):
                        param.set_metadata(axes=(LAYERS, *param.get_metadata()["axes"]))
        else:
            self.layers = nnx.List([Layer(config, key=k) for k in keys])
        if config.norm == "pre" and config.final_norm:
            self.norm = LayerNorm(config.width, dtype=config.dtype)
        if config.relative_bias:
            self.relative_bias = RelativeBias(config, key=bias_key)
        if config.side_layers:
            side_keys = jax.random.split(jax.random.fold_in(key, 1), config.side_layers)
            self.side = nnx.List([Layer(config, key=k) for k in side_keys])
            for layer in self.side:  # so that the branch starts as what it reads
                for end in (layer.attention.output, layer.mlp_out):
                    end.kernel[...] = jnp.zeros_like(end.kernel[...])
            if config.norm == "pre":
                self.side_norm = LayerNorm(config.width, dtype=config.dtype)

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None, first: int = 0
    ) -> jax.Array:
        """Contextualises frames.

        Args:
          x: [B, T, D], the input of layer `first`.
          valid: bool [B, T].
          key: PRNG key of dropout; None: none.
          first: index of the first layer to run.

        Returns:
          hidden_states [L + 1 - first, B, T, D] in the config's dtype: the input, then the output
          of each layer, that of the last one after any final LayerNorm, then the same of
          the side branch. The output of a dropped layer is its input.

        Raises:
          ValueError: the side branch reads a layer below `first`.
        """
        x = shard_rows(x.astype(self.config.dtype))
        bias = self.relative_bias(x.shape[1]) if self.config.relative_bias else None
        num_layers = self.config.num_layers
        keys: jax.Array | None = None
        kept: jax.Array | None = None
        if key is not None:
            *layer_keys, drop_key = jax.random.split(key, num_layers + 1)
            keys = jnp.stack(layer_keys)[first:]
            if self.config.layer_drop:
                kept = jax.random.uniform(drop_key, (num_layers,)) >= self.config.layer_drop
                kept = kept[first:]
        run = self._runner(valid, bias)
        if self.config.scan_layers:
            inputs, last = self._scanned(x, keys, kept, first=first, run=run)
        else:
            inputs, last = self._listed(list(self.layers)[first:], x, keys, kept, run=run)
        pre = self.config.norm == "pre"
        states = [inputs, (self.norm(last) if pre and self.config.final_norm else last)[None]]
        if self.config.side_layers:
            states += self._side([*inputs, last], key, first=first, run=run)
        return jnp.concatenate(states)

    def _side(self, lower, key, *, first, run):
        """Runs the side branch over `lower`, the outputs from layer `first` on."""
        read, onto = self.config.side_from, self.config.side_onto
        if min(read, onto or read) < first:
            raise ValueError(f"side_from {read} or side_onto {onto} is below layer {first}")
        count = self.config.side_layers
        keys = None if key is None else jax.random.split(jax.random.fold_in(key, 1), count)
        inputs, last = self._listed(list(self.side), lower[read - first], keys, None, run=run)
        if self.config.norm == "pre":
            last = self.side_norm(last)
        if onto:
            last = with_branch(lower[onto - first], last).astype(last.dtype)
        return [inputs[1:], last[None]]

    def _listed(self, layers, x, keys, kept, *, run):
        inputs = []
        for i, layer in enumerate(layers):
            graph, state = nnx.split(layer)
            inputs.append(x)
            at = [None if each is None else each[i] for each in (keys, kept)]
            x = run(graph, state, x, *at)
        return jnp.stack(inputs), x

    def _scanned(self, x, keys, kept, *, first, run):
        graph, state = nnx.split(self.layers)
        state = jax.tree.map(lambda stacked: stacked[first:], state)

        # Each step returns its input, so that the last output is not stored twice.
        def step(x, at):
            return run(graph, at[0], x, *at[1:]), x

        last, inputs = jax.lax.scan(step, x, (state, keys, kept))
        return inputs, last

    def _runner(self, valid, bias):
        """Returns the function that runs one layer, with rematerialization and layer drop."""

        def run(graph, state, x, key, kept):
            def layer(state, x, valid, bias, key):
                return nnx.merge(graph, state)(x, valid, bias=bias, key=key)

            if self.config.remat != "none":
                layer = jax.checkpoint(
                    layer,
                    policy=REMAT_POLICIES[self.config.remat],
                    prevent_cse=not self.config.scan_layers,  # a scan needs no barrier against CSE
                )
            if kept is None:
                return layer(state, x, valid, bias, key)
            return jax.lax.cond(kept, layer, lambda state, x, *_: x, state, x, valid, bias, key)

        return run


def with_branch(layer: jax.Array, branch: jax.Array) -> jax.Array:
    """Adds a share of a side branch to a layer, standardized over channels: float32 [..., D]."""
    return standardize(layer) + SIDE_SHARE * branch


def stack_layers(params: dict) -> dict:
    """Stacks listed layers (`layers/0/...`) to scanned ones (`layers/...`, leading L).

    Args:
      params: nested dict of arrays, of a model or a part; scanned layers stay as they are.

    Returns:
      A nested dict with stacked layers.
    """

    def convert(layers):
        if 0 not in layers:
            return layers
        in_order = [layers[i] for i in range(len(layers))]
        return jax.tree.map(lambda *arrays: jnp.stack(arrays), *in_order)

    return _convert_layers(params, convert)


def unstack_layers(params: dict) -> dict:
    """Splits scanned layers (`layers/...`, leading L) into listed ones (`layers/0/...`).

    Args:
      params: nested dict of arrays, of a model or a part; listed layers stay as they are.

    Returns:
      A nested dict with one subtree per layer.
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


def _check(config: EncoderConfig) -> None:
    for kind, name, known in (
        ("encoder.remat", config.remat, REMAT_POLICIES),
        ("encoder.dtype", config.dtype, DTYPES),
    ):
        if name not in known:
            raise unknown_name(kind, name, known)
    if config.num_layers < 1:
        raise UserError("encoder.num_layers is less than 1: set it to 1 or more")
    for name, what in (("side_from", "the input of the first"), ("side_onto", "none")):
        if config.side_layers and getattr(config, name) > config.num_layers:
            raise UserError(
                f"encoder.{name}={getattr(config, name)} is above encoder.num_layers="
                f"{config.num_layers}: choose a layer of the encoder, or 0 for {what}"
            )
    if config.positions == "rotary" and config.width % (2 * config.num_heads):
        raise UserError(
            f"encoder.width {config.width} does not split into {config.num_heads} heads of even "
            "width: make it a multiple of 2 * encoder.num_heads"
        )
    if config.width % config.num_heads:
        raise UserError(
            f"encoder.width {config.width} does not split into {config.num_heads} heads: make it "
            "a multiple of encoder.num_heads"
        )
    if config.attention_dropout and config.attention not in WITH_DROPOUT:
        raise UserError(
            f"encoder.attention={config.attention} has no dropout of weights: set "
            f"encoder.attention_dropout=0 or encoder.attention={WITH_DROPOUT[0]}"
        )
