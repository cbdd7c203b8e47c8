"""Objectives taught by frozen encoders, or by an average of the student that hears clean speech."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.audio.augment import is_on
from sersl.config.schema import EncoderConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.models.encoder import SpeechEncoder
from sersl.models.layers import truncated_normal
from sersl.models.pretraining_heads import Projection, RegressionHead
from sersl.objectives.mean import Mean
from sersl.objectives.multiview import contrast
from sersl.objectives.teachers import check_frames, hierarchical, layer_regression
from sersl.objectives.whole_batch import need_whole_batch
from sersl.parallel.random import fold
from sersl.pretraining.masking import choose_masked
from sersl.pretraining.terms.contrast import pool
from sersl.pretraining.terms.term import Term, View


def _need_teachers(name: str, teachers: Sequence[EncoderConfig], layers: Sequence[int]) -> None:
    """Refuses a run without frozen teachers, or whose teachers lack a layer."""
    if not teachers:
        raise UserError(
            f"objectives.{name} needs a frozen teacher: set frozen_teachers to one or more "
            "workdirs or released folders (`sersl import` makes them of others' weights)"
        )
    for number, teacher in enumerate(teachers):
        for layer in layers:
            if not 1 <= layer <= teacher.num_layers:
                raise UserError(
                    f"objectives.{name} asks for layer {layer} of frozen teacher {number}, which "
                    f"has layers 1 to {teacher.num_layers}: choose another layer"
                )


def _frozen(view: View, number: int, config: PretrainConfig) -> jax.Array:
    """Hidden states of a frozen teacher, whose frames are those of the student."""
    hidden = view.frozen[number]
    name = config.frozen_teachers[number]
    check_frames(view.valid.shape[1], hidden.shape[2], name=name)
    return hidden


class LayerHeads(nnx.Module):
    """One linear map per teacher and layer."""

    def __init__(
        self, width: int, teachers: Sequence[int], layers: Sequence[int], *, key: jax.Array
    ):
        """Makes maps from the student's width to the teachers' widths."""
        for number, teacher in enumerate(teachers):
            for layer in layers:
                name = f"teacher{number}_layer{layer}"
                setattr(self, name, Projection(width, teacher, key=fold(key, name)))


class Layers(Term):
    """DistilHuBERT: predict layers of one or several frozen teachers from the last layer."""

    def __init__(self, config: PretrainConfig):
        """Checks that layers are named."""
        super().__init__(config)
        layers = config.objectives.layers.layers
        if not layers or len(set(layers)) < len(layers):
            raise UserError(
                f"objectives.layers.layers={list(layers)} must name one or more layers of the "
                "teachers, each once"
            )

    def meet(self, teachers: Sequence[EncoderConfig]) -> None:
        """Checks the layers and keeps the widths.

        Args:
          teachers: of the run.

        Raises:
          UserError: no teacher, or one without such a layer.
        """
        _need_teachers("layers", teachers, self.config.objectives.layers.layers)
        self.widths = [teacher.width for teacher in teachers]

    def make_heads(self, encoder: SpeechEncoder, *, key: jax.Array) -> LayerHeads:
        """Makes the maps.

        Args:
          encoder: unused; its width is in the config.
          key: PRNG key.

        Returns:
          The heads.
        """
        layers = self.config.objectives.layers.layers
        return LayerHeads(self.config.encoder.width, self.widths, layers, key=key)

    def loss(self, heads: LayerHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares every real frame with the teachers' layers.

        Args:
          heads: the maps.
          view: the batch.

        Returns:
          (mean over teachers and layers, metrics of `layer_regression` for each).

        Raises:
          UserError: a teacher has another frame rate.
        """
        settings, losses, found = self.config.objectives.layers, [], {}
        for number in range(len(self.widths)):
            hidden = _frozen(view, number, self.config)
            for layer in settings.layers:
                name = f"teacher{number}_layer{layer}"
                loss, own = layer_regression(
                    getattr(heads, name)(view.last),
                    hidden[layer],
                    weights=view.frame_weights,
                    cosine_weight=settings.cosine_weight,
                    name=name,
                )
                losses.append(loss)
                found |= own
        total = sum(losses) / len(losses)
        return total, {"layers": Mean.of(total), **found}


class VesperHeads(nnx.Module):
    """Maps to the teacher's layers, and what stands for frames hidden from the upper half."""

    def __init__(self, width: int, teacher: int, *, key: jax.Array):
        """Makes them."""
        for name in ("low", "high", "cross"):
            head = RegressionHead(width, max(width // 2, 1), teacher, key=fold(key, name))
            setattr(self, name, head)
        self.mask_embedding = nnx.Param(
            truncated_normal(fold(key, "mask"), (width,), std=1.0), axes=("embed",)
        )


class Vesper(Term):
    """Vesper: the lower half finds short spans again, the upper half long ones."""

    masking = "needed"

    def __init__(self, config: PretrainConfig):
        """Checks that the student has two halves."""
        super().__init__(config)
        if config.encoder.kind != "transformer" or config.encoder.num_layers < 2:
            raise UserError(
                "objectives.vesper hides frames from the upper half of a Transformer: set "
                "encoder.kind to 'transformer' and encoder.num_layers to 2 or more"
            )

    def meet(self, teachers: Sequence[EncoderConfig]) -> None:
        """Checks the layers and keeps the width of the first teacher.

        Args:
          teachers: of the run.

        Raises:
          UserError: not one teacher, or one without such layers.
        """
        settings = self.config.objectives.vesper
        _need_teachers("vesper", teachers, (settings.middle, settings.last))
        if len(teachers) > 1:
            raise UserError(
                f"objectives.vesper learns from one teacher and frozen_teachers names "
                f"{len(teachers)}: name one, or use objectives.layers"
            )
        self.width = teachers[0].width

    def make_heads(self, encoder: SpeechEncoder, *, key: jax.Array) -> VesperHeads:
        """Makes the maps.

        Args:
          encoder: unused; its width is in the config.
          key: PRNG key.

        Returns:
          The heads.
        """
        return VesperHeads(self.config.encoder.width, self.width, key=key)

    def loss(self, heads: VesperHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Hides long spans from the upper half, runs it, and compares both halves.

        Args:
          heads: the maps.
          view: the batch; its student ran with the short spans hidden.

        Returns:
          See `hierarchical`.

        Raises:
          UserError: the teacher has another frame rate.
        """
        settings, config = self.config.objectives.vesper, self.config
        middle = config.encoder.num_layers // 2
        long = dataclasses.replace(config.masking, span=settings.span, fraction=settings.fraction)
        masked = choose_masked(
            view.valid, view.batch.get("intensity"), view.draw("long spans"), long
        )
        half = view.hidden_states[middle]
        hidden = jnp.where(masked[..., None], heads.mask_embedding[...].astype(half.dtype), half)
        last = view.encode.context(hidden, view.valid, key=view.draw("upper half"), first=middle)[
            -1
        ]
        taught = _frozen(view, 0, self.config)
        total, found = hierarchical(
            heads.low(half),
            heads.high(last),
            heads.cross(last),
            middle=taught[settings.middle],
            last=taught[settings.last],
            masked_low=view.masked,
            masked_high=masked,
            valid=view.valid,
            shares=(settings.low_share, settings.high_share, settings.cross_share),
        )
        return total, {"vesper": Mean.of(total), **found}


class DenoiseHeads(nnx.Module):
    """Maps of frames to the teacher's, and of both utterance vectors to the space of comparison."""

    def __init__(self, width: int, teacher: int, num_outputs: int, *, key: jax.Array):
        """Makes them."""
        self.frames = Projection(width, teacher, key=fold(key, "frames"))
        self.student = Projection(width, num_outputs, key=fold(key, "student"))
        self.teacher = Projection(teacher, num_outputs, key=fold(key, "teacher"))


class Denoise(Term):
    """Contrastive teacher and student: distorted speech is told like clean speech."""

    def __init__(self, config: PretrainConfig):
        """Checks the teacher's name, and that there are distortions."""
        super().__init__(config)
        settings = config.objectives.denoise
        if not is_on(config.distortion) and not config.mixing.probability:
            raise UserError(
                "objectives.denoise compares distorted with clean speech, and every probability "
                "under distortion and mixing is 0: give one or more of them a probability"
            )
        if not (settings.frame_share or settings.contrast_share):
            raise UserError(
                "objectives.denoise has frame_share=0 and contrast_share=0: give one of them a "
                "share, or set its weight to 0"
            )
        self.needs_teacher = settings.teacher == "average"
        self.width = config.encoder.width

    def meet(self, teachers: Sequence[EncoderConfig]) -> None:
        """Keeps the width of the first frozen teacher, where it is the one.

        Args:
          teachers: of the run.

        Raises:
          UserError: there is none.
        """
        if not self.needs_teacher:
            _need_teachers("denoise", teachers, ())
            self.width = teachers[0].width

    def make_heads(self, encoder: SpeechEncoder, *, key: jax.Array) -> DenoiseHeads:
        """Makes the maps.

        Args:
          encoder: unused; its width is in the config.
          key: PRNG key.

        Returns:
          The heads.
        """
        settings = self.config.objectives.denoise
        return DenoiseHeads(self.config.encoder.width, self.width, settings.width, key=key)

    def loss(self, heads: DenoiseHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares frames and utterances of both.

        Args:
          heads: the maps.
          view: the batch; its student heard distorted speech, its teachers clean speech.

        Returns:
          (sum of both parts with their shares; metrics: denoise_l1, denoise_cosine,
          denoise_contrast, denoise_accuracy).

        Raises:
          UserError: another frame rate, and with a contrast a batch of one row or in parts.
        """
        settings = self.config.objectives.denoise
        taught = view.teacher_hidden_states if self.needs_teacher else _frozen(view, 0, self.config)
        total, found = layer_regression(
            heads.frames(view.last),
            taught[-1],
            weights=view.frame_weights,
            cosine_weight=0.0,
            name="denoise",
        )
        total = settings.frame_share * total
        if settings.contrast_share:
            need_whole_batch("objectives.denoise.contrast_share")
            loss, own = contrast(
                heads.student(pool(view.last, view.valid)),
                heads.teacher(pool(taught[-1], view.valid)),
                identity=view.batch["utterance_index"],
                temperature=settings.temperature,
            )
            total = total + settings.contrast_share * loss
            found |= {f"denoise_{name}": mean for name, mean in own.items()}
        return total, {"denoise": Mean.of(total), **found}
