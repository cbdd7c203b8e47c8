"""Objectives that compare the utterances of a batch: by view, by label, and by distortion."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.audio.augment import is_on
from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError, unknown_name
from sersl.data.batch import DISTORTED, SECOND
from sersl.models.acoustic.functionals import FUNCTIONALS, utterance_functionals
from sersl.models.pretraining_heads import RegressionHead
from sersl.objectives.mean import Mean
from sersl.objectives.multiview import (
    bootstrap,
    close_intensity,
    multiview,
    nt_xent,
    same_category,
    supervised_contrast,
    utterance_intensity,
)
from sersl.objectives.whole_batch import need_whole_batch
from sersl.parallel.random import fold
from sersl.pretraining.masking import repeat_rows
from sersl.pretraining.spectrum_target import num_spectrum_features, spectrum
from sersl.pretraining.terms.term import Term, View

VIEWS = ("speech", "mel", "functionals")


def pool(hidden: jax.Array, valid: jax.Array) -> jax.Array:
    """Averages frames [B, T, D] where valid bool [B, T], in float32; 0 for a row without any."""
    total = jnp.where(valid[..., None], hidden, 0).sum(1, dtype=jnp.float32)
    return total / jnp.maximum(valid.sum(1), 1)[:, None]


def describe_utterances(view: View) -> jax.Array:
    """Computes functionals of the clean audio, standardised over the batch.

    Returns:
      float32 [B, F] of mean 0 and population standard deviation 1, without gradient; a functional
      that does not vary is 0.
    """
    waveform = jnp.where(view.batch["valid"], view.batch["waveform"], 0.0)
    values = utterance_functionals(waveform, view.batch["valid"].sum(1))
    centred = values - values.mean(0)
    deviation = jnp.sqrt(jnp.square(centred).mean(0))
    return jax.lax.stop_gradient(centred / jnp.maximum(deviation, 1e-3))


class MultiviewHeads(nnx.Module):
    """An encoder for each view other than speech, and a projection of each view."""

    def __init__(self, config: PretrainConfig, *, key: jax.Array):
        """Makes the encoders and projections."""
        settings = config.objectives.multiview
        hidden = settings.hidden
        inputs = {"speech": config.encoder.width, "mel": hidden, "functionals": len(FUNCTIONALS)}
        if "mel" in settings.views:
            self.mel_frames = RegressionHead(
                num_spectrum_features(config), hidden, hidden, key=fold(key, "mel frames")
            )
        for name in settings.views:
            head = RegressionHead(inputs[name], hidden, settings.width, key=fold(key, name))
            setattr(self, name, head)


class Multiview(Term[MultiviewHeads]):
    """Pairwise contrast between the speech, mel spectrum and functionals of an utterance."""

    reads_hidden = False

    def __init__(self, config: PretrainConfig):
        """Checks the views."""
        super().__init__(config)
        views = config.objectives.multiview.views
        for name in views:
            if name not in VIEWS:
                raise unknown_name("view of objectives.multiview.views", name, VIEWS)
        if "speech" not in views or len(set(views)) < len(views) or len(views) < 2:
            raise UserError(
                f"objectives.multiview.views={list(views)} must name 'speech', the view that is "
                "kept, and one or more of mel and functionals, each once"
            )

    def make_heads(self, *, key: jax.Array) -> MultiviewHeads:
        """Makes the encoders and projections of the views."""
        return MultiviewHeads(self.config, key=key)

    def loss(self, heads: MultiviewHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Encodes and contrasts the views, see `multiview`.

        Raises:
          UserError: a batch of one row, or gradient accumulation.
        """
        need_whole_batch("objectives.multiview")
        settings = self.config.objectives.multiview
        vectors = {}
        for name in settings.views:
            if name == "speech":
                own = pool(view.last, view.student.present)
            elif name == "mel":
                own = pool(heads.mel_frames(spectrum(view, self.config)), view.valid)
            else:
                own = describe_utterances(view)
            vectors[name] = getattr(heads, name)(own)
        return multiview(
            vectors, identity=view.batch["utterance_index"], temperature=settings.temperature
        )


class Supervised(Term[RegressionHead]):
    """Supervised contrast: pulls utterances of one category or similar intensity together."""

    reads_hidden = False

    def __init__(self, config: PretrainConfig):
        """Checks `pairs`."""
        super().__init__(config)
        pairs = config.objectives.supervised.pairs
        needs = {"category": {"category"}, "intensity": {"annotation"}}
        self.needs = frozenset(needs.get(pairs, {"category", "annotation"}))

    def make_heads(self, *, key: jax.Array) -> RegressionHead:
        """Makes the projection."""
        settings = self.config.objectives.supervised
        return RegressionHead(self.config.encoder.width, settings.hidden, settings.width, key=key)

    def loss(self, heads: RegressionHead, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Finds the positive pairs and contrasts, see `supervised_contrast`.

        Raises:
          UserError: a batch of one row, or gradient accumulation.
        """
        need_whole_batch("objectives.supervised")
        settings = self.config.objectives.supervised
        num_rows = len(view.valid)
        together = jnp.ones((num_rows, num_rows), bool)
        if settings.pairs != "intensity":
            together = same_category(view.batch["category"])
        if settings.pairs != "category":
            intensity = utterance_intensity(view.batch["intensity"], view.valid)
            together = together & close_intensity(intensity, tolerance=settings.tolerance)
        loss, found = supervised_contrast(
            heads(pool(view.last, view.student.present)),
            together,
            identity=view.batch["utterance_index"],
            temperature=settings.temperature,
        )
        return loss, {"supervised": found.pop("supervised_contrast"), **found}


class InstanceHeads(nnx.Module):
    """The projection and, for BYOL, the student's predictor."""

    def __init__(self, config: PretrainConfig, *, key: jax.Array):
        """Makes the projection and, with `loss=bootstrap`, the predictor."""
        settings = config.objectives.instances
        width, hidden = settings.width, settings.hidden
        self.projection = RegressionHead(
            config.encoder.width, hidden, width, key=fold(key, "projection")
        )
        if settings.loss == "bootstrap":
            self.predictor = RegressionHead(width, hidden, width, key=fold(key, "predictor"))


class Instances(Term[InstanceHeads]):
    """SimCLR or BYOL: match two distortions of an utterance."""

    needs = frozenset({DISTORTED, SECOND})

    def __init__(self, config: PretrainConfig):
        """Checks `loss`, and that distortions are on."""
        super().__init__(config)
        loss = config.objectives.instances.loss
        if not is_on(config.distortion):
            raise UserError(
                "objectives.instances compares two distortions of each utterance, and every "
                "probability under distortion is 0: give one or more of them a probability"
            )
        self.needs_teacher = self.teaches_heads = loss == "bootstrap"

    def make_heads(self, *, key: jax.Array) -> InstanceHeads:
        """Makes the projection and the predictor."""
        return InstanceHeads(self.config, key=key)

    def loss(self, heads: InstanceHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Runs the student on the second distortion and compares, see `nt_xent` and `bootstrap`.

        The loss of `bootstrap` is averaged over both directions.

        Raises:
          UserError: nt_xent with a batch of one row, or gradient accumulation.
        """
        settings, identity = self.config.objectives.instances, view.batch["utterance_index"]
        second = view.passes.second(view.encoder, view.student)
        vectors = [heads.projection(pool(hidden, view.valid)) for hidden in (view.last, second[-1])]
        if settings.loss == "nt_xent":
            need_whole_batch("objectives.instances.loss='nt_xent'")
            loss, found = nt_xent(*vectors, identity=identity, temperature=settings.temperature)
            return loss, {"instances": found["contrast"], "instances_accuracy": found["accuracy"]}
        targets = [self._target(view, name) for name in (SECOND, DISTORTED)]
        both = [
            bootstrap(heads.predictor(own), target, identity=identity)
            for own, target in zip(vectors, targets, strict=True)
        ]
        loss = 0.5 * (both[0][0] + both[1][0])
        return loss, {"instances": both[0][1]["bootstrap"] + both[1][1]["bootstrap"]}

    def _target(self, view: View, name: str) -> jax.Array:
        """Projects the teacher's output for one of the two distortions."""
        heads = view.teacher.heads["instances"]
        assert isinstance(heads, InstanceHeads)
        last = view.passes.teacher(view.teacher.encoder, name)[-1]
        return heads.projection(pool(repeat_rows(last, view.clones), view.valid))
