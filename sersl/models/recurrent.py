"""The causal recurrent context network of APC and CPC: a stack of gated recurrent units."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError
from sersl.models.layers import Linear, dropout, shard_rows, truncated_normal


class GatedRecurrentUnit(nnx.Module):
    """One layer of gated recurrent units, from the first frame to the last.

    With x_t the input and h the state: r, u = sigmoid(W x_t + V h + b) for reset and update,
    n = tanh(W_n x_t + c + r * (V_n h + d)), h_t = (1 - u) * n + u * h. States are float32.

    Source: Cho et al. (1406.1078); the reset gate after the product, as torch.nn.GRU.
    """

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes a layer with `config.width` inputs and units."""
        width = config.width
        keys = jax.random.split(key)
        # Reset, update and candidate, concatenated in this order.
        self.input = Linear(
            width, 3 * width, axes=("embed", "mlp"), key=keys[0], dtype=config.dtype
        )
        self.kernel = nnx.Param(
            truncated_normal(keys[1], (width, 3 * width), std=width**-0.5), axes=("embed", "mlp")
        )
        self.bias = nnx.Param(jnp.zeros(width, jnp.float32), axes=(None,))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to the states [B, T, D]; frame t depends on no later one."""
        given = jnp.moveaxis(self.input(x), 1, 0)  # one product for all frames

        def step(state, frame):
            state = self.update(state, frame)
            return state, state.astype(given.dtype)

        start = jnp.zeros((x.shape[0], x.shape[2]), jnp.float32)
        return jnp.moveaxis(jax.lax.scan(step, start, given)[1], 0, 1)

    def update(self, state: jax.Array, frame: jax.Array) -> jax.Array:
        """Computes the next state from float32 [B, D] and the frame's `input`, [B, 3 D]."""
        kernel = self.kernel[...].astype(frame.dtype)
        gates, candidate = jnp.split(frame.astype(jnp.float32), [2 * state.shape[-1]], axis=-1)
        kept = (state.astype(kernel.dtype) @ kernel).astype(jnp.float32)
        kept_gates, kept_candidate = jnp.split(kept, [2 * state.shape[-1]], axis=-1)
        reset, update = jnp.split(jax.nn.sigmoid(gates + kept_gates), 2, axis=-1)
        new = jnp.tanh(candidate + reset * (kept_candidate + self.bias[...]))
        return (1.0 - update) * new + update * state


class Recurrent(nnx.Module):
    """A stack of recurrent layers; from the second on each adds its input to its output.

    Source: APC (1904.03240), sec. 3.1, with the first layer free of a residual connection, as its
    input is features there. CPC (1807.03748) is one layer of it.
    """

    causal = True

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the layers.

        Raises:
          UserError: a setting that only the Transformer has.
        """
        if config.remat != "none" or config.scan_layers:
            raise UserError(
                "encoder.kind 'gru' has neither encoder.remat nor encoder.scan_layers: leave them "
                "at 'none' and False"
            )
        self.config = config
        keys = jax.random.split(key, config.num_layers)
        self.layers = nnx.List([GatedRecurrentUnit(config, key=k) for k in keys])

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Contextualises frames [B, T, D] by the frames before them.

        Padding comes last and no frame depends on a later one, so `valid` [B, T] has no effect.

        Returns:
          hidden_states [L + 1, B, T, D] in the config's dtype: the input, the output of each layer.
        """
        x = shard_rows(x.astype(self.config.dtype))
        keys = None if key is None else jax.random.split(key, len(self.layers))
        hidden_states = [x]
        for number, layer in enumerate(self.layers):
            layer_key = None if keys is None else keys[number]
            y = dropout(layer(x), self.config.dropout, key=layer_key)
            x = y + x if number else y
            hidden_states.append(x)
        return jnp.stack(hidden_states)
