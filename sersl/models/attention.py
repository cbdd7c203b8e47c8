"""Multi-head self-attention over real frames, with several implementations."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import EncoderConfig
from sersl.models.adapters import Prefix
from sersl.models.layers import Linear, dropout
from sersl.models.positions import rotate
from sersl.models.splash import splash

_MANY_SCORES = 1 << 22  # 16 MiB in float32; fewer are as fast all at once
GATE_UNITS = 8  # of WavLM's gate per head: two gates, each a sum of four


class Attention(nnx.Module):
    """Multi-head self-attention; softmax in float32.

    Attributes:
      head_by_head: whether many scores are computed one head after the other, which is faster on
        one CPU and needs less memory.
    """

    head_by_head = False

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the projections; the output projection starts smaller, as it ends a residual."""
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
        self.prefix: Prefix | None = nnx.data(None)  # see `sersl.models.adapters`

    def __call__(
        self,
        x: jax.Array,
        valid: jax.Array,
        *,
        bias: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Attends from every frame to the real frames of its row.

        Args:
          x: [B, T, D].
          valid: bool [B, T].
          bias: float32 [H, T, T], added to the scores times each frame's gates; None: none.
          key: PRNG key of the dropout of attention weights; None: no dropout.

        Returns:
          [B, T, D], undefined at padding.
        """
        shape = (*x.shape[:2], self.config.num_heads, -1)
        query, key_vectors = self.query(x).reshape(shape), self.key(x).reshape(shape)
        if self.config.positions == "rotary":
            query, key_vectors = rotate(query), rotate(key_vectors)
        value = self.value(x).reshape(shape)
        if bias is not None:
            bias = self._gates(x.reshape(shape))[..., None] * bias
        # A row of padding only attends to all of it: a softmax over nothing would be NaN.
        seen = valid | ~valid.any(1, keepdims=True)
        name, _ = chosen(self.config)
        if self.prefix is not None:
            key_vectors, value, seen, bias = self.prefix(key_vectors, value, seen, bias)
            name = "xla" if name == "splash" else name  # whose kernel takes as many keys as frames
        attend = ATTENTION[name]
        num_scores = math.prod(query.shape[:3]) * key_vectors.shape[1]
        if self.head_by_head and name == "xla" and key is None and num_scores > _MANY_SCORES:
            attend = _attend_by_head
        mixed = attend(query, key_vectors, value, seen, bias, self.config.attention_dropout, key)
        return self.output(mixed.reshape(x.shape))

    def _gates(self, x: jax.Array) -> jax.Array:
        """Computes the factor of the bias for each frame: [B, T, H, d] to float32 [B, H, T].

        Source: WavLM (2110.13900), eq. 4 to 6; differs: the scale is inside, as in its code.
        """
        units = self.gate(x).astype(jnp.float32)
        gates = jax.nn.sigmoid(units.reshape(*units.shape[:-1], 2, -1).sum(-1))
        update, reset = gates[..., 0], gates[..., 1]
        return (update * (reset * self.gate_scale[...] - 1.0) + 2.0).swapaxes(1, 2)


def residual_std(num_inputs: int, config: EncoderConfig) -> float:
    """Returns the standard deviation of initial kernels that end a residual branch.

    It is (2 L num_inputs)^-1/2 with L layers. Source: GPT-2, sec. 2.3.
    """
    return (num_inputs * 2 * config.num_layers) ** -0.5


def chosen(config: EncoderConfig) -> tuple[str, str]:
    """Chooses the implementation of attention on the current mesh.

    Returns:
      (key of ATTENTION, reason why it is not the platform's kernel; "" if it is, or if the config
      names an implementation).
    """
    if config.attention != AUTO:
        return config.attention, ""
    mesh = jax.sharding.get_abstract_mesh()
    device = mesh.abstract_device
    kernel = None if device is None else PLATFORMS.get(device.platform or "")
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
    """Attention as matrix products.

    It computes what `jax.nn.dot_product_attention(implementation="xla")` does, 2.3 times faster on
    CPU (forward and backward, 16 rows of 200 frames, 4 heads of 32: 37 ms against 83), because it
    divides by the sum after the second product, on [B, T, H, d] instead of [B, H, T, T].
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
    # The largest score cancels, so no gradient flows through it.
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    kept = dropout(weights, rate, key=dropout_key)
    mixed = jnp.einsum(
        "bhts,bshd->bthd", kept.astype(value.dtype), value, preferred_element_type=jnp.float32
    )
    return (mixed / weights.sum(-1).swapaxes(1, 2)[..., None]).astype(value.dtype)


def _attend_by_head(query, key, value, seen, bias, rate, dropout_key):
    """`_attend` with one head of one row after the other: [T, S] scores stay in the cache."""
    rows, frames, heads, _ = query.shape

    def apart(x):
        return x.swapaxes(1, 2).reshape(rows * heads, 1, x.shape[1], 1, -1)

    given = [apart(x) for x in (query, key, value)]
    given.append(jnp.repeat(seen, heads, axis=0)[:, None])
    if bias is not None:
        bias = jnp.broadcast_to(bias, (rows, heads, *bias.shape[-2:]))
        given.append(bias.reshape(rows * heads, 1, 1, *bias.shape[-2:]))

    def one(head):
        query, key, value, seen, *bias = head
        return _attend(query, key, value, seen, bias[0] if bias else None, rate, dropout_key)

    mixed = jax.lax.map(one, tuple(given))
    return mixed.reshape(rows, heads, frames, -1).swapaxes(1, 2)


def _attend_splash(query, key, value, seen, bias, rate, dropout_key):
    del bias, rate, dropout_key  # `chosen` names splash only without bias and dropout
    return splash(query, key, value, seen)


def _attend_jax(implementation):
    def attend(query, key, value, seen, bias, rate, dropout_key):
        del rate, dropout_key  # a rate above 0 is refused with this implementation
        # cuDNN takes no key mask, only the number of keys; real frames come first.
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


# Each takes query, key, value [B, T, H, d], bool [B, T], the frames to attend to, a bias
# [B, H, T, T] or None, and the rate and PRNG key of dropout.
ATTENTION: dict[str, Callable[..., jax.Array]] = {
    "xla": _attend,
    "jax": _attend_jax("xla"),
    "cudnn": _attend_jax("cudnn"),
    "splash": _attend_splash,
}
AUTO = "auto"
PLATFORMS = {"tpu": "splash"}  # meaning of auto by platform of the mesh; xla on others
WITH_DROPOUT = (AUTO, "xla")
