"""Multi-head self-attention over real frames, by several implementations."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import EncoderConfig
from sersl.models.layers import Linear, dropout
from sersl.models.positions import rotate
from sersl.models.splash import splash

GATE_UNITS = 8  # of WavLM's gate per head: two gates, each a sum of four


class Attention(nnx.Module):
    """Multi-head self-attention; softmax in float32."""

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the four projections; the last starts scaled down, as it ends a residual."""
        self.config = config
        width, dtype = config.width, config.dtype
        inwards = ("embed", "heads")
        keys = jax.random.split(key, 5)
        self.query = Linear(width, width, axes=inwards, key=keys[0], dtype=dtype)
        self.key = Linear(
            width, width, axes=inwards, key=keys[1], dtype=dtype, bias=config.key_bias
        )
        self.value = Linear(width, width, axes=inwards, key=keys[2], dtype=dtype)
        self.output = Linear(
            width,
            width,
            axes=("heads", "embed"),
            key=keys[3],
            dtype=dtype,
            std=residual_std(width, config),
        )
        if config.relative_bias:
            size = width // config.num_heads
            self.gate = Linear(size, GATE_UNITS, axes=(None, None), key=keys[4], dtype=dtype)
            self.gate_scale = nnx.Param(jnp.ones(config.num_heads, jnp.float32), axes=(None,))

    def __call__(
        self,
        x: jax.Array,
        valid: jax.Array,
        *,
        bias: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Lets every frame look at the real frames of its row.

        Args:
          x: [B, T, D].
          valid: bool [B, T].
          bias: float32 [H, T, T], added to the scores after each frame's gates; None: none.
          key: PRNG key of the dropout of weights; None: no dropout.

        Returns:
          [B, T, D]; what it says at frames that are not valid means nothing.
        """
        shape = (*x.shape[:2], self.config.num_heads, -1)
        query, key_vectors = self.query(x).reshape(shape), self.key(x).reshape(shape)
        if self.config.positions == "rotary":
            query, key_vectors = rotate(query), rotate(key_vectors)
        value = self.value(x).reshape(shape)
        if bias is not None:
            bias = self._gates(x.reshape(shape))[..., None] * bias
        # A row that is all padding looks at all of it: a softmax over nothing would be NaN.
        seen = valid | ~valid.any(1, keepdims=True)
        name, _ = chosen(self.config)
        mixed = ATTENTION[name](
            query, key_vectors, value, seen, bias, self.config.attention_dropout, key
        )
        return self.output(mixed.reshape(x.shape))

    def _gates(self, x: jax.Array) -> jax.Array:
        """Computes how much of the bias each frame takes: [B, T, H, d] to float32 [B, H, T].

        Source: WavLM (2110.13900), eq. 4 to 6; differs: the scale stands inside, as in its code.
        """
        units = self.gate(x).astype(jnp.float32)
        gates = jax.nn.sigmoid(units.reshape(*units.shape[:-1], 2, -1).sum(-1))
        update, reset = gates[..., 0], gates[..., 1]
        return (update * (reset * self.gate_scale[...] - 1.0) + 2.0).swapaxes(1, 2)


def residual_std(num_inputs: int, config: EncoderConfig) -> float:
    """Gives the deviation of initial kernels that end a residual branch.

    Args:
      num_inputs: of the kernel.
      config: with the number of layers.

    Returns:
      (2 L num_inputs)^-1/2.

    Source: GPT-2, sec. 2.3.
    """
    return (num_inputs * 2 * config.num_layers) ** -0.5


def chosen(config: EncoderConfig) -> tuple[str, str]:
    """Says which implementation computes attention on the mesh that is set.

    Args:
      config: of the encoder.

    Returns:
      (key of ATTENTION, why it is not the kernel of the platform; "" where it is, or where the
      config names another).
    """
    if config.attention != AUTO:
        return config.attention, ""
    mesh = jax.sharding.get_abstract_mesh()
    device = mesh.abstract_device
    kernel = PLATFORMS.get(None if device is None else device.platform)
    if kernel is None:
        return "xla", ""
    if config.relative_bias:
        return "xla", "encoder.relative_bias is added to scores"
    if config.attention_dropout:
        return "xla", "encoder.attention_dropout drops scores"
    if config.num_heads % mesh.shape["tensor"]:
        return "xla", "mesh.tensor does not divide encoder.num_heads"
    return kernel, ""


def _attend(query, key, value, seen, bias, rate, dropout_key):
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
    if bias is not None:
        scores = scores + bias
    scores = jnp.where(seen[:, None, None, :], scores, -1e30)
    # The largest cancels, so no gradient flows through it.
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    kept = dropout(weights, rate, key=dropout_key)
    mixed = jnp.einsum(
        "bhts,bshd->bthd", kept.astype(value.dtype), value, preferred_element_type=jnp.float32
    )
    return (mixed / weights.sum(-1).swapaxes(1, 2)[..., None]).astype(value.dtype)


def _attend_splash(query, key, value, seen, bias, rate, dropout_key):
    del bias, rate, dropout_key  # there are none where it is chosen
    return splash(query, key, value, seen)


def _attend_jax(implementation):
    def attend(query, key, value, seen, bias, rate, dropout_key):
        del rate, dropout_key  # refused where it is not 0, as jax has none
        # cuDNN knows no mask of the keys, but how many of them there are; real frames come first.
        hidden = (
            {"key_value_seq_lengths": seen.sum(-1, dtype=jnp.int32)}
            if implementation == "cudnn"
            else {"mask": seen[:, None, None, :]}
        )
        return jax.nn.dot_product_attention(
            query,
            key,
            value,
            bias=None if bias is None else bias.astype(query.dtype),
            **hidden,
            implementation=implementation,
        )

    return attend


# Each takes query, key, value [B, T, H, d], bool [B, T], the frames to look at, a bias [B, H, T, T]
# or None, and the rate and PRNG key of dropout.
ATTENTION = {
    "xla": _attend,
    "jax": _attend_jax("xla"),
    "cudnn": _attend_jax("cudnn"),
    "splash": _attend_splash,
}
AUTO = "auto"
PLATFORMS = {"tpu": "splash"}  # what auto is by the platform of the mesh; elsewhere xla
WITH_DROPOUT = (AUTO, "xla")
