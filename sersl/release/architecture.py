"""The settings that a released network is built from, and the flat names of its tensors."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np
from flax import nnx

from sersl.config.adaptation import AdaptationConfig
from sersl.config.conversation import ConversationConfig
from sersl.config.fusion import FusionConfig, ViewConfig
from sersl.config.load import to_dict
from sersl.config.schema import EncoderConfig, FrontendConfig, HeadsConfig, PoolingConfig
from sersl.core.errors import UserError
from sersl.models.emotion_model import EmotionModel
from sersl.models.encoder import SpeechEncoder
from sersl.models.pooling.pooling import gives_frames
from sersl.release.average_speeds import AVERAGE_SPEEDS

OTHER_FIELDS = (
    "conversation",
    "fusion",
    "views",
    AVERAGE_SPEEDS,
)  # of sersl.json, where a model has them


class HasShape(Protocol):
    """An array in memory or in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the dimensions."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The settings of a network; without heads and pooling, an encoder alone."""

    frontend: FrontendConfig
    encoder: EncoderConfig
    pooling: PoolingConfig | None = None
    heads: HeadsConfig | None = None
    categories: tuple[str, ...] = ()
    dimensions: tuple[str, ...] = ()
    multi: bool = False  # whether several categories may apply, each with a probability of its own
    adaptation: AdaptationConfig | None = None  # where it adds parameters to the encoder
    pools_window: bool = False  # whether silence up to the end of the window is pooled too
    fusion: FusionConfig | None = None  # where there are further views
    views: tuple[ViewConfig, ...] = ()
    conversation: ConversationConfig | None = None  # where the heads read the context of dialogues

    def build(self) -> EmotionModel | SpeechEncoder:
        """Makes the network with shapes instead of arrays."""
        make: Callable[..., EmotionModel | SpeechEncoder]
        if self.heads is None or self.pooling is None:
            make = functools.partial(SpeechEncoder, self.frontend, self.encoder)
        else:
            make = functools.partial(
                EmotionModel,
                self.frontend,
                self.encoder,
                self.pooling,
                self.heads,
                num_categories=len(self.categories),
                num_dimensions=len(self.dimensions),
                adaptation=self.adaptation,
                pools_window=self.pools_window,
                fusion=self.fusion,
                views=self.views,
                conversation=self.conversation,
            )
        return nnx.eval_shape(lambda: make(key=jax.random.key(0)))

    @property
    def gives_frames(self) -> bool:
        """Whether the model scores every frame: views and dialogues have no vector per frame."""
        pooling = self.pooling
        alone = self.fusion is None and self.conversation is None
        return pooling is not None and gives_frames(pooling) and alone

    @property
    def has_dropout(self) -> bool:
        """Whether any part of the network was trained with dropout."""
        parts = (self.frontend, self.encoder, self.heads)
        found = [
            getattr(part, name)
            for part in parts
            if part is not None
            for name in (field.name for field in dataclasses.fields(part))
            if "drop" in name
        ]
        return any(found)

    def other_fields(self) -> dict[str, Any]:
        """Describes views and context, JSON-able; a model without them has no such fields."""
        found: dict[str, Any] = {}
        if self.conversation is not None:
            found["conversation"] = to_dict(self.conversation)
        if self.fusion is not None:
            found["fusion"] = to_dict(self.fusion)
            found["views"] = [to_dict(view) for view in self.views]
        return found

    def for_this_machine(self) -> "Architecture":
        """Replaces the attention of cuDNN, which a model may have been trained with, if need be."""
        if self.encoder.attention != "cudnn" or jax.default_backend() == "gpu":
            return self
        # The encoders of views are computed as the main one is.
        views = [
            dataclasses.replace(view, encoder=dataclasses.replace(view.encoder, attention="auto"))
            for view in self.views
        ]
        encoder = dataclasses.replace(self.encoder, attention="auto")
        return dataclasses.replace(self, encoder=encoder, views=tuple(views))

    def shapes_of(self, num_tensors: int, *, where: str) -> dict[str, tuple[int, ...]]:
        """Lists shapes as `shapes`, for settings that come from outside.

        Args:
          num_tensors: in the files of the weights.
          where: the settings come from, for the message.

        Returns:
          {name: shape}.

        Raises:
          UserError: there are more layers than tensors, found before the network is built, or the
            settings do not fit each other.
        """
        layers = self.encoder.last_layer
        if self.encoder.positions == "convolution_stack":
            layers += self.encoder.position_layers
        layers += sum(view.encoder.last_layer for view in self.views if view.kind == "encoder")
        if layers > num_tensors:
            raise UserError(
                f"{where} describes {layers} layers, but there are only {num_tensors} tensors: "
                "copy all files of the same model again"
            )
        try:
            return self.shapes()
        except UserError as error:
            raise UserError(f"{where}: {error}") from error

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Lists every tensor of the released file by its flat name."""
        params = nnx.to_pure_dict(nnx.split(self.build())[1])
        prefix = "encoder." if self.heads is None else ""
        return {prefix + name: tuple(leaf.shape) for name, leaf in flatten(params).items()}


def check_tensors(
    flat: Mapping[str, HasShape], shapes: Mapping[str, tuple[int, ...]], *, where: str
) -> None:
    """Compares named tensors with what a network needs.

    Args:
      flat: {name: array}.
      shapes: {name: shape}.
      where: the file, for the message.

    Raises:
      UserError: naming the first tensor that is missing, left over, of another shape, or not
        float32.
    """
    for name in sorted(shapes.keys() - flat.keys()):
        raise UserError(f"{where} lacks tensor {name!r}: export the model again")
    for name in sorted(flat.keys() - shapes.keys()):
        raise UserError(
            f"{where} has tensor {name!r}, which the model in sersl.json does not: export again"
        )
    for name, shape in shapes.items():
        if tuple(flat[name].shape) != shape:
            raise UserError(
                f"{where}: tensor {name!r} has shape {list(flat[name].shape)}, the model in "
                f"sersl.json needs {list(shape)}: export the model again"
            )
        if flat[name].dtype != np.float32:
            raise UserError(f"{where}: tensor {name!r} is {flat[name].dtype}, not float32")


def flatten(params: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Turns {"a": {0: {"b": array}}} into {"a.0.b": array}, each name after a prefix."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        path = f"{prefix}{name}"
        flat.update(flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value})
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[Any, Any]:
    """Undoes `flatten`."""
    nested: dict[Any, Any] = {}
    for name, value in flat.items():
        parts: list[str | int] = [int(p) if p.isdigit() else p for p in name.split(".")]
        *parents, last = parts
        level = nested
        for parent in parents:
            level = level.setdefault(parent, {})
        level[last] = value
    return nested
