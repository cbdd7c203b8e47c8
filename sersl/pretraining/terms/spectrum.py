"""Objectives on the spectrum and on later frames: MockingJay, TERA, APC, NPC, CPC; a penalty."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError
from sersl.models.encoder import CAUSAL
from sersl.models.pretraining_heads import Projection, SpectrumHead
from sersl.models.quantizer import Quantizer
from sersl.models.waveform import WaveformFrontend
from sersl.objectives.code_prediction import code_usage
from sersl.objectives.contrastive import feature_penalty
from sersl.objectives.cpc import negative_pool, predictive_coding
from sersl.objectives.mean import Mean
from sersl.objectives.reconstruct import predict_ahead, reconstruct
from sersl.pretraining.spectrum_target import num_spectrum_features, spectrum
from sersl.pretraining.terms.term import Term, View


class Reconstruction(Term[SpectrumHead]):
    """MockingJay and TERA: reconstruct features that were masked or altered."""

    masking = "needed"

    def make_heads(self, *, key: jax.Array) -> SpectrumHead:
        """Makes the head."""
        hidden = self.config.objectives.reconstruction.hidden
        width = self.config.encoder.width
        return SpectrumHead(width, hidden, num_spectrum_features(self.config), key=key)

    def loss(self, heads: SpectrumHead, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares with the spectrum, see `reconstruct`."""
        sought = view.student.sought
        if self.config.frontend.kind != "log_mel":
            sought = view.masked[..., None]
        return reconstruct(
            heads(view.last),
            spectrum(view, self.config),
            weights=sought * view.frame_weights[..., None],
            name="reconstruction",
        )


class Apc(Term[Projection]):
    """APC: predict the spectrum a few frames ahead."""

    masking = "none"

    def __init__(self, config: PretrainConfig):
        """Checks that the encoder does not see what it predicts."""
        super().__init__(config)
        _check_causal(config, "apc")

    def least_frames(self) -> dict[str, int]:
        """One frame to predict, and the one that predicts it."""
        return {"objectives.apc.frames": self.config.objectives.apc.frames + 1}

    def make_heads(self, *, key: jax.Array) -> Projection:
        """Makes the linear map to the spectrum."""
        return Projection(self.config.encoder.width, num_spectrum_features(self.config), key=key)

    def loss(self, heads: Projection, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares with the spectrum a few frames later, see `predict_ahead`."""
        return predict_ahead(
            heads(view.last),
            spectrum(view, self.config),
            weights=view.frame_weights,
            frames=self.config.objectives.apc.frames,
        )


class NpcHeads(nnx.Module):
    """The quantized bottleneck, and the map to the spectrum."""

    def __init__(self, config: PretrainConfig, *, key: jax.Array):
        """Makes both."""
        keys, width = jax.random.split(key), config.encoder.width
        # Logits start about as large as the Gumbel noise, as in torch.nn.Linear.
        self.quantizer = Quantizer(width, config.objectives.npc, key=keys[0], logit_std=width**-0.5)
        self.projection = Projection(
            config.objectives.npc.width, num_spectrum_features(config), key=keys[1]
        )


class Npc(Term[NpcHeads]):
    """NPC: predict every frame's spectrum from its surroundings, through a quantized bottleneck."""

    masking = "none"

    def __init__(self, config: PretrainConfig):
        """Checks that the encoder does not see what it predicts."""
        super().__init__(config)
        if config.encoder.kind != "masked_conv":
            raise UserError(
                "objectives.npc predicts frames that the encoder must not see, and encoder.kind "
                f"{config.encoder.kind!r} sees all: set it to 'masked_conv', or use "
                "objectives.reconstruction"
            )
        _check_neighbours(config, "npc")

    def make_heads(self, *, key: jax.Array) -> NpcHeads:
        """Makes the bottleneck and the map."""
        return NpcHeads(self.config, key=key)

    def loss(self, heads: NpcHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares with the spectrum at all real frames, see `reconstruct`.

        The metric npc_perplexity is the number of codes in use per group.
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


class Cpc(Term[Projection]):
    """CPC: identify each of the next frames among others of the utterance or the speaker."""

    masking = "none"

    def __init__(self, config: PretrainConfig):
        """Checks that the encoder does not see what it predicts."""
        super().__init__(config)
        self.settings = config.objectives.cpc
        _check_causal(config, "cpc")

    def least_frames(self) -> dict[str, int]:
        """A frame for each step: a step beyond every utterance would never train."""
        return {"objectives.cpc.steps": self.settings.steps + 1}

    def make_heads(self, *, key: jax.Array) -> Projection:
        """Makes W_1, ..., W_K as one linear map."""
        width = self.config.encoder.width
        return Projection(width, self.settings.steps * width, key=key)

    def loss(self, heads: Projection, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Predicts later inputs of the context network, see `predictive_coding`."""
        targets = view.student.hidden_states[0]
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


class Penalty(Term[None]):
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

    def make_heads(self, *, key: jax.Array) -> None:
        """This objective has no heads."""

    def loss(self, heads: None, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Computes the mean square of the features, see `feature_penalty`."""
        frontend = view.encoder.frontend
        assert isinstance(frontend, WaveformFrontend)
        # The compiler merges these convolutions with those of the student.
        waveform, real = (view.batch[name][:: view.clones] for name in ("waveform", "valid"))
        features, valid = frontend.convolve(waveform, real)
        return feature_penalty(features, valid=valid)


def _check_causal(config: PretrainConfig, name: str) -> None:
    if config.encoder.kind not in CAUSAL:
        raise UserError(
            f"objectives.{name} predicts later frames, which encoder.kind {config.encoder.kind!r} "
            f"sees: set encoder.kind to {' or '.join(map(repr, CAUSAL))}"
        )
    _check_neighbours(config, name)


def _check_neighbours(config: PretrainConfig, name: str) -> None:
    """Refuses positions and frontends that mix neighbouring frames before the context network."""
    if config.encoder.positions in ("convolution", "convolution_stack"):
        raise UserError(
            f"objectives.{name} predicts frames that the encoder must not see, and encoder."
            f"positions {config.encoder.positions!r} mixes neighbouring frames: set it to 'none' "
            "or 'sinusoidal'"
        )
    if config.frontend.kind == "whisper":
        raise UserError(
            f"objectives.{name} predicts frames that the encoder must not see, and the "
            "convolutions of frontend.kind 'whisper' mix neighbouring frames: set it to "
            "'log_mel' or 'waveform'"
        )
