"""What is needed to build a released network, and the flat names of its tensors."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from flax import nnx

from sersl.config.schema import EncoderConfig, FrontendConfig, HeadsConfig, PoolingConfig
from sersl.core.errors import UserError
from sersl.models.emotion_model import EmotionModel
from sersl.models.encoder import SpeechEncoder


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What must be known to build the network; no heads: an encoder alone."""

    frontend: FrontendConfig
    encoder: EncoderConfig
    pooling: PoolingConfig | None = None
    heads: HeadsConfig | None = None
    categories: tuple[str, ...] = ()
    dimensions: tuple[str, ...] = ()

    def build(self) -> nnx.Module:
        """Makes the network's shapes, without numbers: an `EmotionModel` or a `SpeechEncoder`."""
        if self.heads is None:
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
            )
        return nnx.eval_shape(lambda: make(key=jax.random.key(0)))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Lists every tensor of the released file by its flat name."""
        params = nnx.to_pure_dict(nnx.split(self.build())[1])
        prefix = "encoder." if self.heads is None else ""
        return {prefix + name: tuple(leaf.shape) for name, leaf in flatten(params).items()}


def check_tensors(flat: Mapping, shapes: Mapping, *, where: str) -> None:
    """Compares named tensors with what a network needs.

    Args:
      flat: {name: array}, or anything with shape and dtype.
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


def flatten(params: Mapping, prefix: str = "") -> dict:
    """Gives nested parameters flat names.

    Args:
      params: nested dict, list positions as ints.
      prefix: before every name.

    Returns:
      {"a.0.b": array}.
    """
    flat = {}
    for name, value in params.items():
        path = f"{prefix}{name}"
        flat.update(flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value})
    return flat


def unflatten(flat: Mapping) -> dict:
    """Undoes `flatten`.

    Args:
      flat: {"a.0.b": array}.

    Returns:
      Nested dict; list positions become ints.
    """
    nested: dict = {}
    for name, value in flat.items():
        *parents, last = [int(part) if part.isdigit() else part for part in name.split(".")]
        level = nested
        for parent in parents:
            level = level.setdefault(parent, {})
        level[last] = value
    return nested
