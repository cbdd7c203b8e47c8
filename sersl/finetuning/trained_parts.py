"""Which parameters a method of adaptation trains, from when, and how fast."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from sersl.config.adaptation import AdaptationConfig
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.finetuning.targets import Targets
from sersl.models.adapters import (
    ADAPTER,
    EXTENSION,
    PREFIX,
    WITH_PARTS,
    check_encoder,
    first_adapted,
)
from sersl.models.transformer import LAYERS
from sersl.parallel.sharding import path_name
from sersl.runs.initial_weights import InitialWeights, flat_shapes, flat_weights
from sersl.training.optimizer import (
    NEVER,
    Optimizer,
    by_pattern,
    decay_roles,
    make_optimizer,
)
from sersl.training.step import param_shapes
from sersl.training.task import Task

_ADDED = (ADAPTER, PREFIX, EXTENSION)
_TOP = ("norm", "side", "side_norm")  # of the context network: they train as its top layer does

# Ends of paths of what each fold sets from its training side, also of further views.
FROM_DATA = ("pooling/center", "pooling/scale")


class Place(NamedTuple):
    """Where a parameter belongs.

    Attributes:
      part: encoder, pooling or a head.
      layer: index of its layer of the encoder; None outside the layers.
      added: whether adaptation has added it to the encoder.
      names: of its path.
    """

    part: str
    layer: int | None
    added: bool
    names: tuple[Any, ...]

    @classmethod
    def of(cls, path: tuple[Any, ...]) -> "Place":
        """Reads the place off a path of `jax.tree_util`."""
        names = tuple(entry.key for entry in path)
        in_layers = names[:3] == ("encoder", "context", LAYERS) and isinstance(names[3], int)
        layer = names[3] if in_layers else None
        return cls(names[0], layer, any(name in _ADDED for name in names), names)


def starts_of(config: FinetuneConfig, shapes: Mapping[str, Any]) -> dict[str, Any]:
    """Decides from which step each parameter trains.

    Args:
      config: of the run; `unfreeze` holds for every parameter, `adaptation` can only make fewer
        parameters of the encoder train, or let them begin later.
      shapes: nested dict of arrays or shapes, all parameters.

    Returns:
      int per parameter, `NEVER` for those that do not train.

    Raises:
      UserError: a pattern of `unfreeze` does not fit, or a setting of adaptation does not fit the
        encoder.
    """
    adaptation, num_layers = config.adaptation, config.encoder.num_layers
    check_encoder(config.encoder, adaptation)
    first = first_adapted(adaptation, num_layers)

    def start(path, step: int) -> int:
        place = Place.of(path)
        if is_of_view_encoder(place.names) or path_name(path).endswith(FROM_DATA):
            return NEVER
        if place.part != "encoder" or step == NEVER:
            return step
        if not _trains(place, adaptation, first=first):
            return NEVER
        if not adaptation.gradual_steps:
            return step
        return max(step, adaptation.gradual_steps * (1 + depth(place, num_layers)))

    by_setting = by_pattern(config.unfreeze, shapes, setting="unfreeze")
    return jax.tree_util.tree_map_with_path(start, by_setting)


def is_of_view_encoder(names: Sequence[Any]) -> bool:
    """Tells whether a path is of the encoder of a further view."""
    return tuple(names[:2]) == ("fusion", "views") and names[3] == "encoder"


def scales_of(config: FinetuneConfig, shapes: Mapping[str, Any]) -> dict[str, Any]:
    """Gives the factor on the learning rate of each parameter, shaped like `shapes`.

    It is `encoder_learning_rate_scale` in the encoder, times `adaptation.layer_decay` to the power
    of the number of layers above (Howard and Ruder, 1801.06146, sec. 3.2).
    """
    decay, num_layers = config.adaptation.layer_decay, config.encoder.num_layers

    def scale(path, _) -> float:
        place = Place.of(path)
        if place.part != "encoder":
            return 1.0
        return config.encoder_learning_rate_scale * decay ** depth(place, num_layers)

    return jax.tree_util.tree_map_with_path(scale, shapes)


def optimizer_of(config: FinetuneConfig, task: Task, starts: dict[str, Any]) -> Optimizer:
    """Makes the optimizer of a run, whose parameters train from these steps on."""
    shapes = param_shapes(task)
    return make_optimizer(
        config.optimizer,
        shapes,
        num_steps=config.train.num_steps,
        roles=decay_roles(task.abstract),
        starts=starts,
        scales=scales_of(config, shapes),
    )


def depth(place: Place, num_layers: int) -> int:
    """Counts the layers above a parameter; final norm and side branch count as the top layer.

    Args:
      place: of the parameter.
      num_layers: of the encoder.
    """
    if place.layer is not None:
        return num_layers - 1 - place.layer
    return 0 if _is_top(place) else num_layers


def _is_top(place: Place) -> bool:
    return place.names[1] == "context" and place.names[2] in _TOP


def num_frozen(starts: Mapping[str, Any], num_layers: int) -> int | None:
    """Counts the lowest layers that never train, with everything below them.

    Args:
      starts: int per parameter, as `starts_of` gives them.
      num_layers: of the encoder.

    Returns:
      0 where the first layer trains and the frontend does not; `num_layers` where nothing of the
      encoder trains; None where something trains that the lowest layers depend on.
    """
    trained = [
        Place.of(path)
        for path, start in jax.tree_util.tree_flatten_with_path({"encoder": starts["encoder"]})[0]
        if start != NEVER
    ]
    if not trained:
        return num_layers
    layers = [num_layers - 1 - depth(place, num_layers) for place in trained]
    return min(layers) if min(layers) >= 0 else None


class Counts(NamedTuple):
    """Numbers of parameters of a model."""

    trained: int
    total: int

    @classmethod
    def of(cls, shapes: Mapping[str, Any], starts: Mapping[str, Any]) -> "Counts":
        """Counts the parameters that train at some step, and all."""
        sizes = jax.tree.leaves(jax.tree.map(lambda leaf: int(leaf.size), shapes))
        trained = [start != NEVER for start in jax.tree.leaves(starts)]
        return cls(sum(n for n, own in zip(sizes, trained, strict=True) if own), sum(sizes))

    def __str__(self) -> str:
        """Writes both with the share, for people."""
        share = 100 * self.trained / self.total
        return f"{self.trained:,} of {self.total:,} parameters train ({share:.3g} %)"


def with_copies(weights: InitialWeights, config: FinetuneConfig) -> InitialWeights:
    """Gives the copies of layers that extend an encoder the weights of the layers they copy.

    Args:
      weights: to start from.
      config: of the run.

    Returns:
      The weights, unchanged unless the method is "extension" and they have no extension yet.
    """
    adaptation = config.adaptation
    if adaptation.method != "extension":
        return weights
    encoder = weights.params["encoder"]
    layers = dict(encoder["context"][LAYERS])
    for i in range(first_adapted(adaptation, config.encoder.num_layers), len(layers)):
        if EXTENSION not in layers[i]:
            layers[i] = {**layers[i], EXTENSION: {"layer": layers[i]}}
    context = {**encoder["context"], LAYERS: layers}
    params = {**weights.params, "encoder": {**encoder, "context": context}}
    return dataclasses.replace(weights, params=params)


def check_weights(config: AdaptationConfig, weights: InitialWeights | None) -> None:
    """Refuses to adapt random weights.

    Raises:
      UserError: the method adapts a pretrained encoder and there is none.
    """
    if weights is None and config.method in WITH_PARTS:
        raise UserError(
            f"adaptation.method={config.method} changes a pretrained encoder: give one with "
            "--config.init_from=DIR"
        )


def fitting(
    weights: InitialWeights | None,
    shapes: dict[str, Any],
    targets: Targets,
    *,
    say: Callable[[str], None],
) -> InitialWeights | None:
    """Leaves out the parts of a released model that are not those of this run.

    These are heads that predict other names, and parts beside the encoder whose arrays have other
    shapes. They start from initial values.

    Args:
      weights: to start from, or None.
      shapes: of the parameters of the run.
      targets: what is learnt.
      say: called with a line for each.
    """
    if weights is None:
        return None
    other = {}
    names = {"category": targets.view.names, "dimensions": targets.dimensions}
    for part, own in weights.predicts.items():
        if part in weights.params and part in shapes and own != tuple(names[part]):
            other[part] = f"predicts {', '.join(own)}"
    wanted = flat_shapes(shapes)
    for name, array in flat_weights(weights, like=shapes).items():
        part = name.split("/")[0]
        if part != "encoder" and name in wanted and wanted[name] != array.shape:
            other.setdefault(part, "has other sizes")
    for part, why in other.items():
        say(f"{weights.source}: its {part} {why}, so that of this run starts anew")
    kept = {part: value for part, value in weights.params.items() if part not in other}
    return dataclasses.replace(weights, params=kept)


def _trains(place: Place, config: AdaptationConfig, *, first: int) -> bool:
    """Decides whether a parameter of the encoder trains, given the first layer to adapt."""
    if config.method == "frozen":
        return False
    if config.method in WITH_PARTS:
        return place.added
    if config.trained_layers:
        in_reach = place.layer is not None and place.layer >= first
        if not in_reach and not _is_top(place):
            return False
    return config.method == "full" or place.names[-1] == "bias"
