"""From a pooled vector to scores of categories, by what the loss of `heads.category_loss` needs.

The softmax of the scores is the probability of each category, whatever the head.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import HeadsConfig
from sersl.core.errors import UserError, unknown_name
from sersl.models.heads.head import Head
from sersl.models.layers import Linear, truncated_normal


class EvidenceHead(Head):
    """Logarithms of the parameters of a Dirichlet distribution, softplus(logit) + 1.

    Source: Sensoy et al. 2018 (1806.01768), sec. 3; differs: softplus for ReLU, whose gradient is 0
    for negative logits.
    """

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Computes [..., C] from [..., E]; without a key there is no dropout."""
        return jnp.log1p(jax.nn.softplus(super().__call__(x, key=key)))


class PrototypeHead(Head):
    """-d^2 / temperature to a learned prototype per category, both vectors of length 1.

    Source: see `sersl.objectives.supervision.category_losses.prototypes`.
    """

    def __init__(self, num_inputs: int, num_outputs: int, config: HeadsConfig, *, key: jax.Array):
        """Makes the head and one prototype per category."""
        keys = jax.random.split(key)
        width = config.prototype_width
        super().__init__(num_inputs, width, config, key=keys[0], std=width**-0.5)
        self.prototypes = nnx.Param(
            truncated_normal(keys[1], (num_outputs, width), std=1.0), axes=("classes", None)
        )

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Computes [..., C] from [..., E]; without a key there is no dropout."""
        z, prototypes = _unit(super().__call__(x, key=key)), _unit(self.prototypes[...])
        cosines = jnp.matmul(z, prototypes.T, precision=jax.lax.Precision.HIGHEST)
        return (2.0 * cosines - 2.0) / self.config.temperature


class OrdinalHead(Head):
    """Logarithms of the probabilities of ordered categories, by thresholds on one number.

    With thresholds t_1 < ... < t_(C-1): P(category <= k) = sigmoid(t_k - s).

    Source: the proportional odds model, McCullagh 1980, eq. 2.1.
    """

    def __init__(self, num_inputs: int, num_outputs: int, config: HeadsConfig, *, key: jax.Array):
        """Makes the head; thresholds start such that all categories are equally likely at 0."""
        super().__init__(num_inputs, 1, config, key=key)
        share = jnp.arange(1, num_outputs) / num_outputs
        first = jnp.log(share) - jnp.log1p(-share)
        # Gaps are softplus of what is learned, so that thresholds stay in order.
        gaps = jnp.log(jnp.expm1(jnp.diff(first)))
        self.thresholds = nnx.Param(jnp.concatenate([first[:1], gaps]), axes=(None,))

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Computes [..., C] from [..., E], lowest category first; no dropout without a key."""
        raw = self.thresholds[...]
        thresholds = jnp.cumsum(jnp.concatenate([raw[:1], jax.nn.softplus(raw[1:])]))
        below = thresholds - super().__call__(x, key=key)
        # log(sigmoid(b) - sigmoid(a)) for b > a, without a difference of nearly equal numbers.
        low, high = below[..., :-1], below[..., 1:]
        between = (
            jax.nn.log_sigmoid(high)
            + jax.nn.log_sigmoid(-low)
            + jnp.log(-jnp.expm1(jnp.minimum(low - high, -1e-6)))
        )
        return jnp.concatenate(
            [jax.nn.log_sigmoid(below[..., :1]), between, jax.nn.log_sigmoid(-below[..., -1:])], -1
        )


class AnnotatorsHead(Head):
    """One output layer per annotator on a shared hidden layer; scores: log of the mean probability.

    Source: see `sersl.objectives.supervision.category_losses.annotators`.
    """

    def __init__(self, num_inputs: int, num_outputs: int, config: HeadsConfig, *, key: jax.Array):
        """Makes the head.

        Raises:
          UserError: `heads.annotators` is empty.
        """
        check_annotators(config)
        self.shape = (len(config.annotators), num_outputs)
        super().__init__(num_inputs, len(config.annotators) * num_outputs, config, key=key)

    def each(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Computes the logits of every annotator: [..., E] to [..., A, C]."""
        flat = super().__call__(x, key=key)
        return flat.reshape(*flat.shape[:-1], *self.shape)

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Computes [..., C] from [..., E]; without a key there is no dropout."""
        return mean_probability(self.each(x, key=key))


class ListenersHead(AnnotatorsHead):
    """One output layer on hidden units that are scaled and shifted for each listener.

    units (1 + scale_l) + shift_l, where scale and shift are a linear map of the listener's learned
    vector. Scores: log of the mean probability over listeners.

    Source: listener-adaptive models, Ando et al. 2021 (listener codes that adapt layers of the
    network). Differs: scale and shift of the units before the output layer alone, in place of
    weighted sums of whole layers.
    """

    def __init__(self, num_inputs: int, num_outputs: int, config: HeadsConfig, *, key: jax.Array):
        """Makes the head; at first all listeners are the same.

        Raises:
          UserError: `heads.annotators` is empty.
        """
        check_annotators(config)
        keys = jax.random.split(key, 3)
        Head.__init__(self, num_inputs, num_outputs, config, key=keys[0])
        width = num_inputs if config.kind == "linear" else config.hidden
        shape = (len(config.annotators), config.listener_width)
        self.listeners = nnx.Param(truncated_normal(keys[1], shape, std=1.0), axes=(None, None))
        self.adapt = Linear(
            config.listener_width, 2 * width, axes=(None, None), key=keys[2], std=0.0
        )

    def each(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Computes the logits of every listener: [..., E] to [..., A, C]."""
        scale, shift = jnp.split(self.adapt(self.listeners[...]), 2, axis=-1)
        units = self.units(x, key=key)[..., None, :]
        return self.output(units * (1.0 + scale) + shift)


def check_annotators(config: HeadsConfig) -> None:
    """Refuses a head without the names of its annotators.

    Raises:
      UserError: `heads.annotators` is empty.
    """
    if not config.annotators:
        raise UserError(
            f"heads.category_loss={config.category_loss!r} needs heads.annotators: name the "
            "annotators, or leave it to `sersl finetune`, which takes them from the corpus"
        )


def mean_probability(logits: jax.Array) -> jax.Array:
    """Computes the logarithm of the mean probability over annotators: [..., A, C] to [..., C]."""
    logs = jax.nn.log_softmax(logits)
    return jax.nn.logsumexp(logs, axis=-2) - jnp.log(float(logits.shape[-2]))


# Heads by loss, see `sersl.objectives.supervision.category_losses.CATEGORY_LOSSES`.
CATEGORY_HEADS: dict[str, type[Head]] = {
    "cross_entropy": Head,
    "focal": Head,
    "votes": Head,
    "annotators": AnnotatorsHead,
    "listeners": ListenersHead,
    "evidential": EvidenceHead,
    "prototypes": PrototypeHead,
    "ordinal": OrdinalHead,
}


# What `uncertainty` computes, by loss; nothing for the others.
UNCERTAINTY_OF = {"evidential": "vacuity", "prototypes": "open_set"}


def make_category_head(
    num_inputs: int, num_categories: int, config: HeadsConfig, *, key: jax.Array
) -> Head:
    """Makes the head of `heads.category_loss`.

    Args:
      num_inputs: E of the pooled vector.
      num_categories: C.
      config: kind, hidden width, loss.
      key: PRNG key of the initial weights.

    Raises:
      UserError: unknown loss.
    """
    if config.category_loss not in CATEGORY_HEADS:
        raise unknown_name("heads.category_loss", config.category_loss, CATEGORY_HEADS)
    return CATEGORY_HEADS[config.category_loss](num_inputs, num_categories, config, key=key)


def uncertainty(scores: jax.Array, config: HeadsConfig) -> dict[str, jax.Array]:
    """Computes how unsure a head is of its categories, beyond their probabilities.

    Args:
      scores: [..., C] of the head.
      config: of the head.

    Returns:
      {"vacuity": [...]} of evidence, C / S in 0..1; {"open_set": [...]} of prototypes, a quarter of
      the squared distance to the nearest one, 0..1; nothing for the other heads.
    """
    name = UNCERTAINTY_OF.get(config.category_loss)
    if name == "vacuity":
        return {name: scores.shape[-1] * jnp.exp(-jax.nn.logsumexp(scores, axis=-1))}
    if name == "open_set":
        return {name: -config.temperature * scores.max(-1) / 4.0}
    return {}


def _unit(x: jax.Array) -> jax.Array:
    """Scales vectors [..., W] to length 1."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-16))
