"""Frontend of the functionals of an utterance, for a view beside an encoder."""

import jax
import jax.numpy as jnp

from sersl.config.schema import FrontendConfig
from sersl.core.errors import UserError
from sersl.models.acoustic.functional_scales import CENTRES, SCALES
from sersl.models.acoustic.functionals import FUNCTIONALS, utterance_functionals
from sersl.models.frontend import LogMelFrontend, valid_frames


class FunctionalsFrontend(LogMelFrontend):
    """Gives every frame the functionals of the whole utterance, standardized by constants.

    Their mean over the frames is what they are. Nothing can be learned from one frame and not from
    the others, so a context network over them makes no sense.
    """

    has_mels = False

    def __init__(self, config: FrontendConfig, *, width: int, dtype: str, key: jax.Array):
        """Makes nothing, since there is no projection.

        Raises:
          UserError: a projection, for an encoder that would learn from frames that are all alike.
        """
        if config.projection:
            raise UserError(
                "frontend.kind='functionals' has one vector for a whole utterance, from which no "
                "encoder learns: use it as a view beside an encoder, "
                "fusion.views=functionals=functionals"
            )
        super().__init__(config, width=width, dtype=dtype, key=key)

    @staticmethod
    def count_features(config: FrontendConfig) -> int:
        """Returns the number of functionals; no setting changes it."""
        del config
        return len(FUNCTIONALS)

    def features(self, waveform: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Computes the functionals of each row [B, T, F], see `LogMelFrontend.features`."""
        frame_valid = valid_frames(valid)
        found = utterance_functionals(
            jax.lax.stop_gradient(waveform), valid.sum(1, dtype=jnp.int32)
        )
        standard = (found - CENTRES) / SCALES
        return jnp.where(frame_valid[..., None], standard[:, None], 0.0), frame_valid
