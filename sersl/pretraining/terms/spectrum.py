"""Objectives on the spectrum and on frames to come: MockingJay, TERA, APC, NPC, CPC; a penalty."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError
from sersl.models.encoder import CAUSAL, SpeechEncoder
from sersl.models.pretraining_heads import Projection, SpectrumHead
from sersl.models.quantizer import Quantizer
from sersl.objectives.code_prediction import code_usage
from sersl.objectives.contrastive import feature_penalty
from sersl.objectives.cpc import negative_pool, predictive_coding
from sersl.objectives.mean import Mean
from sersl.objectives.reconstruct import predict_ahead, reconstruct
from sersl.pretraining.spectrum_target import num_spectrum_features, spectrum
from sersl.pretraining.terms.term import Term, View


class Reconstruction(Term):
    """MockingJay and TERA: find the features again where they were hidden or altered."""

    masking = "needed"

    def make_heads(self, encoder: SpeechEncoder, *, key: jax.Array) -> SpectrumHead:
        """Makes the head.

        Args:
          encoder: unused; its width is in the config.
          key: PRNG key.

        Returns:
          The head.
        """
        hidden = self.config.objectives.reconstruction.hidden
        width = self.config.encoder.width
        return SpectrumHead(width, hidden, num_spectrum_features(self.config), key=key)

    def loss(self, heads: SpectrumHead, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares with the spectrum.

        Args:
          heads: the head.
          view: the batch.

        Returns:
          See `reconstruct`.
        """
        sought = view.sought
        if self.config.frontend.kind != "log_mel":
            sought = view.masked[..., None]
        return reconstruct(
            heads(view.last),
            spectrum(view, self.config),
            weights=sought * view.frame_weights[..., None],
            name="reconstruction",
        )


class Apc(Term):
    """APC: predict the spectrum some frames ahead."""

    masking = "none"

    def __init__(self, config: PretrainConfig):
        """Checks that the encoder does not see what it predicts."""
        super().__init__(config)
        _check_causal(config, "apc")

    def make_heads(self, encoder: SpeechEncoder, *, key: jax.Array) -> Projection:
        """Makes the linear map to the spectrum.

        Args:
          encoder: unused; its width is in the config.
          key: PRNG key.

        Returns:
          The head.
        """
        return Projection(self.config.encoder.width, num_spectrum_features(self.config), key=key)

    def loss(self, heads: Projection, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares with the spectrum some frames later.

        Args:
          heads: the map.
          view: the batch.

        Returns:
          See `predict_ahead`.
        """
        return predict_ahead(
            heads(view.last),
            spectrum(view, self.config),
            weights=view.frame_weights,
            frames=self.config.objectives.apc.frames,
        )


class NpcHeads(nnx.Module):
    """The bottleneck of codes, and the map to the spectrum."""

    def __init__(self, config: PretrainConfig, *, key: jax.Array):
        """Makes both."""
        keys, width = jax.random.split(key), config.encoder.width
        # Logits as large as the Gumbel noise, as those of a torch.nn.Linear.
        self.quantizer = Quantizer(width, config.objectives.npc, key=keys[0], logit_std=width**-0.5)
        self.projection = Projection(
            config.objectives.npc.width, num_spectrum_features(config), key=keys[1]
        )


class Npc(Term):
    """NPC: find every frame's spectrum from its surroundings, through a bottleneck of codes."""

    masking = "none"

    def __init__(self, config: PretrainConfig):
        """Checks that the encoder does not see what it predicts."""
        super().__init__(config)
        if config.encoder.kind != "masked_conv":
            raise UserError(
                "objectives.npc finds frames that the encoder does not look at: set encoder.kind "
                f"to 'masked_conv', as {config.encoder.kind!r} looks at all, or use "
                "objectives.reconstruction"
            )
        _check_neighbours(config, "npc")

    def make_heads(self, encoder: SpeechEncoder, *, key: jax.Array) -> NpcHeads:
        """Makes the bottleneck and the map.

        Args:
          encoder: unused; its width is in the config.
          key: PRNG key.

        Returns:
          The heads.
        """
        return NpcHeads(self.config, key=key)

    def loss(self, heads: NpcHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares with the spectrum at all real frames.

        Args:
          heads: bottleneck and map.
          view: the batch.

        Returns:
          See `reconstruct`; and npc_perplexity, codes in use per group.
        """
        settings = self.config.objectives.npc
        chosen = heads.quantizer(view.last, temperature=settings.gumbel, key=view.draw("npc"))
        loss, metrics = reconstruct(
            heads.projection(chosen.quantized),
            spectrum(view, self.config),
            weights=view.frame_weights[..., None],
            name="npc",
        )
        codes = jnp.where(view.valid[..., None], chosen.codes, -1)
        return loss, metrics | {"npc_perplexity": code_usage(codes, num_codes=settings.codes)}


class Cpc(Term):
    """CPC: tell each of the next frames from others of the utterance or the speaker."""

    masking = "none"

    def __init__(self, config: PretrainConfig):
        """Checks that the encoder does not see what it predicts."""
        super().__init__(config)
        self.settings = config.objectives.cpc
        _check_causal(config, "cpc")

    def make_heads(self, encoder: SpeechEncoder, *, key: jax.Array) -> Projection:
        """Makes W_1, ..., W_K as one linear map.

        Args:
          encoder: unused; its width is in the config.
          key: PRNG key.

        Returns:
          The map.
        """
        width = self.config.encoder.width
        return Projection(width, self.settings.steps * width, key=key)

    def loss(self, heads: Projection, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Predicts what the context network will read.

        Args:
          heads: the map.
          view: the batch, with speakers.

        Returns:
          See `predictive_coding`.
        """
        targets = view.hidden_states[0]
        predicted = heads(view.last)
        return predictive_coding(
            predicted.reshape(*targets.shape[:2], self.settings.steps, -1),
            targets,
            valid=view.valid,
            weights=view.frame_weights,
            pool=negative_pool(view.batch["speaker"], negatives=self.settings.negatives),
            num_negatives=self.settings.num_negatives,
            key=view.draw("cpc"),
        )


class Penalty(Term):
    """wav2vec 2.0: keep the features of a waveform frontend small."""

    reads_hidden = False

    def __init__(self, config: PretrainConfig):
        """Checks that the features learn."""
        super().__init__(config)
        if config.frontend.kind != "waveform":
            raise UserError(
                "objectives.penalty keeps the features of frontend.kind 'waveform' small, and "
                f"{config.frontend.kind!r} has none that learn: set objectives.penalty.weight to 0"
            )

    def make_heads(self, encoder: SpeechEncoder, *, key: jax.Array) -> None:
        """Needs no heads.

        Args:
          encoder: unused.
          key: unused.

        Returns:
          None.
        """
        del encoder, key

    def loss(self, heads: None, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Computes the mean square.

        Args:
          heads: None.
          view: the batch.

        Returns:
          See `feature_penalty`.
        """
        # The same convolutions as the student's: the compiler runs them once.
        waveform, real = (view.batch[name][:: view.clones] for name in ("waveform", "valid"))
        features, valid = view.encode.frontend.convolve(waveform, real)
        return feature_penalty(features, valid=valid)


def _check_causal(config: PretrainConfig, name: str) -> None:
    if config.encoder.kind not in CAUSAL:
        raise UserError(
            f"objectives.{name} predicts frames to come, which encoder.kind "
            f"{config.encoder.kind!r} sees: set encoder.kind to {' or '.join(map(repr, CAUSAL))}"
        )
    _check_neighbours(config, name)


def _check_neighbours(config: PretrainConfig, name: str) -> None:
    """Refuses what carries a frame to its neighbours before the encoder's own network does."""
    if config.encoder.positions in ("convolution", "convolution_stack"):
        raise UserError(
            f"objectives.{name} predicts frames that the encoder must not see, and encoder."
            f"positions {config.encoder.positions!r} carries them to their neighbours: set it to "
            "'none' or 'sinusoidal'"
        )
    if config.frontend.kind == "whisper":
        raise UserError(
            f"objectives.{name} predicts frames that the encoder must not see, and the "
            "convolutions of frontend.kind 'whisper' carry them to their neighbours: set it to "
            "'log_mel' or 'waveform'"
        )
