"""The product quantizer of wav2vec 2.0: frames to entries of a learned codebook."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.objectives import ContrastiveConfig, NpcConfig
from sersl.core.errors import UserError
from sersl.models.layers import Linear


class QuantizerOutput(NamedTuple):
    """Quantized frames and their codes.

    Attributes:
      quantized: float32 [B, T, W].
      codes: int32 [B, T, G], the chosen code of each group.
      probabilities: float32 [B, T, G, V], softmax of the logits without noise or temperature.
    """

    quantized: jax.Array
    codes: jax.Array
    probabilities: jax.Array


class Quantizer(nnx.Module):
    """Chooses one of V codes in each of G groups, concatenates them and maps them to the width W.

    The forward pass uses the chosen code, the backward pass the softmax (straight-through). With
    fixed features such as log-mel the targets cannot collapse, only the choice of codes can, which
    the diversity loss prevents.

    Source: wav2vec 2.0 (2006.11477), sec. 2, "Quantization module".
    """

    def __init__(
        self,
        num_features: int,
        config: ContrastiveConfig | NpcConfig,
        *,
        key: jax.Array,
        logit_std: float | None = None,
    ):
        """Makes the codebook.

        Args:
          num_features: width of the input.
          config: `groups`, `codes` per group and `width` of the output are read.
          key: PRNG key of the initial weights.
          logit_std: standard deviation of the initial kernel of the logits; None: LOGIT_STD.

        Raises:
          UserError: the width is not a multiple of the groups.
        """
        if config.width % config.groups:
            raise UserError(
                f"the width {config.width} of a codebook is not a multiple of its {config.groups} "
                "groups: make objectives.*.width a multiple of objectives.*.groups"
            )
        self.config = config
        keys = jax.random.split(key, 3)
        num_codes = config.groups * config.codes
        self.logits = Linear(
            num_features,
            num_codes,
            axes=("mel", "codes"),
            key=keys[0],
            std=LOGIT_STD if logit_std is None else logit_std,
        )
        # Uniform in [0, 1) as in fairseq.
        self.codebook = nnx.Param(
            jax.random.uniform(keys[1], (num_codes, config.width // config.groups)),
            axes=("codes", None),
        )
        self.output = Linear(config.width, config.width, axes=(None, None), key=keys[2])

    def __call__(
        self, features: jax.Array, *, temperature: jax.Array | float, key: jax.Array | None = None
    ) -> QuantizerOutput:
        """Quantizes frames, always in float32.

        Args:
          features: [B, T, F].
          temperature: temperature of the softmax of the backward pass.
          key: PRNG key of the Gumbel noise; None: the most likely code.
        """
        groups, num_codes = self.config.groups, self.config.codes
        shape = (*features.shape[:2], groups, num_codes)
        logits = self.logits(features).reshape(shape)
        noisy = logits if key is None else logits + jax.random.gumbel(key, shape, jnp.float32)
        codes = noisy.argmax(-1).astype(jnp.int32)
        soft = jax.nn.softmax(noisy / temperature)
        choice = jax.nn.one_hot(codes, num_codes) + soft - jax.lax.stop_gradient(soft)
        codebook = self.codebook[...].reshape(groups, num_codes, -1)
        joined = jnp.einsum("btgv,gvd->btgd", choice, codebook)
        quantized = self.output(joined.reshape(*features.shape[:2], -1))
        return QuantizerOutput(quantized, codes, jax.nn.softmax(logits))


# Standard deviation of the initial kernel of the logits (fairseq's GumbelVectorQuantizer): logits
# are well above the noise, so that codes depend on the features from the first step.
LOGIT_STD = 1.0


def gumbel_temperature(step: jax.Array, config: ContrastiveConfig) -> jax.Array:
    """Anneals the Gumbel temperature: max(start * decay^step, end) after `step` updates.

    Source: wav2vec 2.0, sec. 4.2.
    """
    start, end = config.gumbel_start, config.gumbel_end
    annealed = start * jnp.float32(config.gumbel_decay) ** jnp.asarray(step, jnp.float32)
    return jnp.maximum(annealed, end)
