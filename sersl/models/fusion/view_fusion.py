"""All further views of a model, and the network that combines them with the main encoder."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.fusion import FusionConfig, ViewConfig
from sersl.config.schema import HeadsConfig
from sersl.core.errors import UserError, unknown_name
from sersl.models.fusion.co_attention import CoAttention
from sersl.models.fusion.concatenation import Concatenation
from sersl.models.fusion.cross_modal import CrossModal
from sersl.models.fusion.cross_transformer import CrossTransformer
from sersl.models.fusion.decisions import Decisions
from sersl.models.fusion.dual_attention import DualAttention
from sersl.models.fusion.gated import Gated
from sersl.models.fusion.joint_layers import JointLayers
from sersl.models.fusion.view_graph import ViewGraph
from sersl.models.fusion.view_network import ViewNetwork
from sersl.models.fusion.view_parts import FusionNetwork, Part, ViewInput, Widths
from sersl.models.pooling.pooling import Pooling

MAIN = "main"  # name of the main encoder among the views
JOINT = "joint"


class Kind(NamedTuple):
    """How a fusion works.

    Attributes:
      network: that makes one vector of all views; None: the main encoder's vector alone.
      decides: whether every view has heads of its own, whose decisions are averaged.
      reads_frames: whether the network reads frames, not pooled vectors.
    """

    network: Callable[..., FusionNetwork] | None
    decides: bool = False
    reads_frames: bool = False


FUSIONS = {
    "early": Kind(Concatenation),
    "late": Kind(None, decides=True),
    "deep": Kind(JointLayers),
    "hybrid": Kind(JointLayers, decides=True),
    "gated": Kind(Gated),
    "graph": Kind(ViewGraph),
    "cross_attention": Kind(CrossModal, reads_frames=True),
    "dual_attention": Kind(DualAttention, reads_frames=True),
    "cross_transformer": Kind(CrossTransformer, reads_frames=True),
    "co_attention": Kind(CoAttention, reads_frames=True),
}


class Views(nnx.Module):
    """The networks of the views, each under its name."""

    def __init__(self, views: Sequence[ViewConfig], *, key: jax.Array):
        """Makes them in order."""
        self.names = tuple(view.name for view in views)
        for number, view in enumerate(views):
            made = ViewNetwork(view, key=jax.random.fold_in(key, number))
            setattr(self, view.name, made)

    def __getitem__(self, name: str) -> ViewNetwork:
        """Gives the network of one view."""
        found: ViewNetwork = getattr(self, name)
        return found


class Fused(NamedTuple):
    """The views of a batch, combined.

    Attributes:
      vector: [B, E], input of the model's own heads.
      others: [B, E'] of each further decision.
      present: bool [B, V] of all decisions, that of the model's own heads first.
      views: [B, E'] of the main encoder and of each view.
      views_present: bool [B, V'] of these.
    """

    vector: jax.Array
    others: tuple[jax.Array, ...]
    present: jax.Array
    views: tuple[jax.Array, ...] = ()
    views_present: jax.Array | None = None

    @property
    def embedding(self) -> jax.Array:
        """All vectors that a decision reads, one after the other, [B, sum of E]."""
        return jnp.concatenate([self.vector, *self.others], axis=-1)


class ViewFusion(nnx.Module):
    """Combines the views of an utterance with the main encoder.

    Parameters are under `views/<name>/`, `network/` and `decisions/`.
    """

    def __init__(
        self,
        config: FusionConfig,
        views: Sequence[ViewConfig],
        main: Pooling,
        width: int,
        heads: HeadsConfig,
        *,
        num_categories: int,
        num_dimensions: int,
        key: jax.Array,
    ):
        """Makes the networks of the views and the fusion.

        Args:
          config: of the fusion.
          views: in order.
          main: pooling of the main encoder.
          width: of a frame of the main encoder.
          heads: of the model.
          num_categories: C; 0 for none.
          num_dimensions: D; 0 for none.
          key: PRNG key of the initial weights.

        Raises:
          UserError: an unknown name, or settings that do not go together.
        """
        if config.kind not in FUSIONS:
            raise unknown_name("fusion.kind", config.kind, ("none", *FUSIONS))
        self.config, kind = config, FUSIONS[config.kind]
        keys = jax.random.split(key, 3)
        self.views = Views(views, key=keys[0])
        self._reads_frames = kind.reads_frames
        if kind.reads_frames and main.count_vectors:
            raise UserError(
                f"fusion.kind={config.kind!r} reads frames, and pooling.kind={main.config.kind!r} "
                "keeps none: set pooling.kind to attention or attentive_statistics, and "
                "pooling.layers to last or weighted"
            )
        widths = [Widths(main.num_outputs, width)]
        widths += [self.views[name].widths for name in self.views.names]
        self.num_outputs = main.num_outputs
        self.vector_widths = tuple(own.vector for own in widths)
        self.has_network = kind.network is not None
        if kind.network is not None:
            self.network: FusionNetwork = kind.network(widths, config, key=keys[1])
            self.num_outputs = self.network.num_outputs
        # Decisions beside that of the vector: of the main encoder, unless the vector is its own.
        self.others: tuple[int, ...] = ()
        if kind.decides:
            self.others = tuple(range(0 if self.has_network else 1, len(widths)))
            names = (MAIN, *self.views.names)
            self.decisions = Decisions(
                [JOINT if self.has_network else MAIN, *(names[i] for i in self.others)],
                [widths[i].vector for i in self.others],
                config,
                heads,
                num_categories=num_categories,
                num_dimensions=num_dimensions,
                key=keys[2],
            )

    @property
    def decides(self) -> bool:
        """Whether decisions are averaged."""
        return bool(self.others)

    def inputs(
        self,
        given: Mapping[str, ViewInput],
        waveform: jax.Array | None,
        valid: jax.Array,
    ) -> dict[str, ViewInput]:
        """Completes the inputs of all views.

        Args:
          given: by name, what is kept or comes from tables.
          waveform: [B, N]; None where the outputs of all encoders are given.
          valid: bool [B, N], real samples.

        Returns:
          Name to input: encoders that are not given run on the waveform, tables that are not given
          are missing.
        """
        found = dict(given)
        for name in self.views.names:
            view = self.views[name]
            if name in found:
                continue
            if view.config.kind == "table":
                found[name] = view.missing(len(valid))
            elif waveform is None:
                raise ValueError(f"the outputs of view {name} are not kept")
            else:
                found[name] = view.input(waveform, valid)
        return found

    def __call__(
        self,
        vector: jax.Array,
        frames: jax.Array | None,
        valid: jax.Array,
        inputs: Mapping[str, ViewInput],
        *,
        key: jax.Array | None = None,
    ) -> Fused:
        """Combines a batch.

        Args:
          vector: [B, E], pooled by the main encoder.
          frames: [B, T, D] of the main encoder; None where pooled vectors are kept.
          valid: bool [B, T], real frames.
          inputs: of all views, see `inputs`.
          key: PRNG key of dropout and of left-out views; None: neither.
        """
        main = Part(vector, frames, valid, jnp.ones(len(vector), bool))
        parts = [main]
        for number, name in enumerate(self.views.names):
            own = None if key is None else jax.random.fold_in(key, number)
            parts.append(self.views[name].part(inputs[name], frames=self._reads_frames, key=own))
        network_key = None
        if key is not None:
            drawn, network_key = jax.random.split(key)
            parts = _left_out(parts, self.config.view_dropout, key=drawn)
        joint = parts[0].vector
        if self.has_network:
            joint = self.network(parts, key=network_key)
        present = [part.present for part in parts]
        first = jnp.ones(len(vector), bool) if self.has_network else present[0]
        decided = [first, *(present[i] for i in self.others)]
        others = tuple(parts[i].vector for i in self.others)
        every = tuple(part.vector for part in parts)
        return Fused(joint, others, jnp.stack(decided, axis=1), every, jnp.stack(present, axis=1))


def _left_out(parts: list[Part], rate: float, *, key: jax.Array) -> list[Part]:
    """Leaves views of random rows out, such that every row keeps one that it has."""
    if rate == 0.0:
        return parts
    present = jnp.stack([part.present for part in parts], axis=1)
    kept = present & (jax.random.uniform(key, present.shape) >= rate)
    kept = jnp.where(kept.any(1, keepdims=True), kept, present)
    return [part.only(kept[:, number]) for number, part in enumerate(parts)]
