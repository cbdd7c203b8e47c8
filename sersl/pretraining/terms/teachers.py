"""Objectives with frozen encoders, or with an EMA of the student on clean speech, as teachers."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.audio.augment import is_on
from sersl.config.schema import EncoderConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.models.layers import truncated_normal
from sersl.models.pretraining_heads import Projection, RegressionHead
from sersl.objectives.mean import Mean, any_counted
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
            "workdirs or model folders (`sersl import` makes one from a Hugging Face folder)"
        )
    for number, teacher in enumerate(teachers):
        for layer in layers:
            if not 1 <= layer <= teacher.last_layer:
                raise UserError(
                    f"objectives.{name} uses layer {layer} of frozen teacher {number}, which "
                    f"has layers 1 to {teacher.last_layer}: choose another layer"
                )


def check_layers(name: str, layers: Sequence[int], *, what: str) -> None:
    """Refuses `objectives.<name>.layers` without layers, or with one given twice."""
    if not layers or len(set(layers)) < len(layers):
        raise UserError(
            f"objectives.{name}.layers={list(layers)} must name one or more {what} of the "
            "teachers, each once"
        )


def _frozen(view: View, number: int, config: PretrainConfig) -> jax.Array:
    """Returns the hidden states of a frozen teacher after checking its frame rate."""
    hidden = view.frozen[number]
    name = config.frozen_teachers[number]
    check_frames(view.valid.shape[1], hidden.shape[2], name=name)
    return hidden


class LayerHeads(nnx.Module):
    """One linear map per teacher and layer."""

    def __init__(
        self, width: int, teachers: Sequence[int], layers: Sequence[int], *, key: jax.Array
    ):
        """Makes maps from the student's width to the widths of `teachers`, for each layer."""
        for number, teacher in enumerate(teachers):
            for layer in layers:
                name = f"teacher{number}_layer{layer}"
                setattr(self, name, Projection(width, teacher, key=fold(key, name)))


class Layers(Term[LayerHeads]):
    """DistilHuBERT: predict layers of one or several frozen teachers from the last layer."""

    def __init__(self, config: PretrainConfig):
        """Checks `layers`."""
        super().__init__(config)
        check_layers("layers", config.objectives.layers.layers, what="layers")

    def set_teachers(self, teachers: Sequence[EncoderConfig]) -> None:
        """Checks the layers and stores the widths."""
        _need_teachers("layers", teachers, self.config.objectives.layers.layers)
        self.widths = [teacher.width for teacher in teachers]

    def make_heads(self, *, key: jax.Array) -> LayerHeads:
        """Makes the maps."""
        layers = self.config.objectives.layers.layers
        return LayerHeads(self.config.encoder.width, self.widths, layers, key=key)

    def loss(self, heads: LayerHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Averages `layer_regression` over all real frames, teachers and layers.

        Raises:
          UserError: a teacher has another frame rate.
        """
        settings, losses, found = self.config.objectives.layers, [], dict[str, Mean]()
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
        total = functools.reduce(jnp.add, losses) / len(losses)
        return total, {"layers": Mean.of(total, any_counted(found.values())), **found}


class VesperHeads(nnx.Module):
    """Maps to the teacher's layers, and the embedding of frames masked from the upper half."""

    def __init__(self, width: int, teacher: int, *, key: jax.Array):
        """Makes the heads for a student and a teacher of these widths."""

        def head(name: str) -> RegressionHead:
            return RegressionHead(width, max(width // 2, 1), teacher, key=fold(key, name))

        self.low, self.high, self.cross = head("low"), head("high"), head("cross")
        self.mask_embedding = nnx.Param(
            truncated_normal(fold(key, "mask"), (width,), std=1.0), axes=("embed",)
        )


class Vesper(Term[VesperHeads]):
    """Vesper: the lower half predicts short masked spans, the upper half long ones."""

    masking = "needed"

    def __init__(self, config: PretrainConfig):
        """Checks that the student is a Transformer with two halves."""
        super().__init__(config)
        if config.encoder.kind != "transformer" or config.encoder.num_layers < 2:
            raise UserError(
                "objectives.vesper masks frames of the upper half of a Transformer: set "
                "encoder.kind to 'transformer' and encoder.num_layers to 2 or more"
            )
        if config.encoder.side_layers:
            raise UserError(
                "objectives.vesper masks frames of the upper half of a Transformer, which an "
                "encoder with a side branch does not have: set encoder.side_layers to 0"
            )
        if config.frontend.kind == "whisper" and config.frontend.window_seconds:
            raise UserError(
                "objectives.vesper runs the upper half on the frames of the batch, and "
                "frontend.kind 'whisper' has a window of its own: set frontend.window_seconds to 0"
            )

    def set_teachers(self, teachers: Sequence[EncoderConfig]) -> None:
        """Checks that there is one teacher with these layers, and stores its width."""
        settings = self.config.objectives.vesper
        _need_teachers("vesper", teachers, (settings.middle, settings.last))
        if len(teachers) > 1:
            raise UserError(
                f"objectives.vesper takes one teacher and frozen_teachers names "
                f"{len(teachers)}: name one, or use objectives.layers"
            )
        self.width = teachers[0].width

    def least_frames(self) -> dict[str, int]:
        """A short span for the lower half, and a long one for the upper half."""
        return {
            **super().least_frames(),
            "objectives.vesper.span": self.config.objectives.vesper.span,
        }

    def make_heads(self, *, key: jax.Array) -> VesperHeads:
        """Makes the maps."""
        return VesperHeads(self.config.encoder.width, self.width, key=key)

    def loss(self, heads: VesperHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Runs the upper half again with long spans masked and compares, see `hierarchical`.

        The student pass of the batch had the short spans masked.

        Raises:
          UserError: the teacher has another frame rate.
        """
        settings, config = self.config.objectives.vesper, self.config
        middle = config.encoder.num_layers // 2
        long = dataclasses.replace(config.masking, span=settings.span, fraction=settings.fraction)
        masked = choose_masked(
            view.valid, view.batch.get("intensity"), view.draw("long spans"), long
        )
        half = view.student.hidden_states[middle]
        hidden = jnp.where(masked[..., None], heads.mask_embedding[...].astype(half.dtype), half)
        last = view.passes.upper(
            view.encoder, hidden, view.student, start=middle, key=view.draw("upper half")
        )
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
        return total, {"vesper": Mean.of(total, any_counted(found.values())), **found}


class DenoiseHeads(nnx.Module):
    """A map of frames to the teacher's width, and projections of both utterance vectors."""

    def __init__(self, width: int, teacher: int, num_outputs: int, *, key: jax.Array):
        """Makes the maps for a student and a teacher of these widths."""
        self.frames = Projection(width, teacher, key=fold(key, "frames"))
        self.student = Projection(width, num_outputs, key=fold(key, "student"))
        self.teacher = Projection(teacher, num_outputs, key=fold(key, "teacher"))


class Denoise(Term[DenoiseHeads]):
    """Contrastive teacher and student: match distorted speech with clean speech."""

    def __init__(self, config: PretrainConfig):
        """Checks `teacher` and the shares, and that distortions or mixing are on."""
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

    def set_teachers(self, teachers: Sequence[EncoderConfig]) -> None:
        """Stores the width of the first frozen teacher, if `teacher` is "frozen"."""
        if not self.needs_teacher:
            _need_teachers("denoise", teachers, ())
            self.width = teachers[0].width

    def make_heads(self, *, key: jax.Array) -> DenoiseHeads:
        """Makes the maps."""
        settings = self.config.objectives.denoise
        return DenoiseHeads(self.config.encoder.width, self.width, settings.width, key=key)

    def loss(self, heads: DenoiseHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares the student's frames and utterances with the teacher's on clean speech.

        Returns:
          (sum of both parts with their shares; metrics: denoise_l1, denoise_cosine,
          denoise_contrast, denoise_accuracy).

        Raises:
          UserError: another frame rate; with a contrast also a batch of one row, or gradient
            accumulation.
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
        return total, {"denoise": Mean.of(total, any_counted(found.values())), **found}
