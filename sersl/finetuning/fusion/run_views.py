"""The further views of a run: their settings, weights, and readers of what batches hold of them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.audio.features import WINDOWS_PER_FRAME
from sersl.config.frame_network import NetworkConfig
from sersl.config.fusion import ViewConfig
from sersl.config.schema import EncoderConfig, FinetuneConfig, FrontendConfig, PoolingConfig
from sersl.data.sources import CorpusSource
from sersl.data.store import ViewReader
from sersl.data.view_tables import ViewTable
from sersl.finetuning.from_outputs import why_not
from sersl.finetuning.fusion.view_sources import (
    FEATURES,
    check_fusion,
    is_table,
    view_sources,
)
from sersl.models.encoder import FRONTENDS, SpeechEncoder
from sersl.models.fusion.view_fusion import FUSIONS
from sersl.models.fusion.view_parts import ViewInput
from sersl.models.networks.all_networks import SPECTRAL
from sersl.models.pooling.pooling import KINDS
from sersl.runs.initial_weights import InitialWeights, with_sizes
from sersl.runs.kept_outputs import OutputStore

NO_WEIGHTS: Mapping[str, InitialWeights] = MappingProxyType({})


class RunViews:
    """The views of `fusion.views`, with sizes from their sources.

    Attributes:
      configs: of the views in order, with which the model is made.
      weights: name to weights of each view that has an encoder.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        sources: Sequence[CorpusSource],
        weights: Mapping[str, InitialWeights],
        *,
        say: Callable[[str], None],
    ):
        """Reads the tables, and decides whether the outputs of encoders are kept.

        Args:
          config: of the run.
          sources: corpora in order, copies at other speeds included.
          weights: by name, of the views that are encoders.
          say: called with lines for people.

        Raises:
          UserError: a source is wrong, or a setting does not go with views.
        """
        named = view_sources(config.fusion)
        check_fusion(config, named)
        self.weights = dict(weights)
        self._tables: dict[str, ViewTable] = {}
        self._configs: dict[str, FinetuneConfig] = {}
        found = []
        for name, source in named.items():
            if is_table(source):
                self._tables[name] = ViewTable(source, name=name)
                found.append(_table_view(config, name, source, self._tables[name]))
                continue
            if source in FEATURES:
                self.weights[name] = _features(source, config)
            network = dict(zip(named, config.fusion.networks, strict=False)).get(name, "none")
            own = _with_encoder(config, self.weights[name], network=network)
            self._configs[name] = own
            found.append(
                ViewConfig(
                    name=name,
                    source=source,
                    frontend=own.frontend,
                    encoder=own.encoder,
                    pooling=own.pooling,
                    width=own.encoder.width,
                )
            )
        self.configs = tuple(found)
        self._kept = bool(self._configs)
        if self._configs:
            reason = why_not(config, sources, next(iter(self.weights.values())))
            self._kept = reason is None
            if reason is not None:
                say(f"the encoders of {', '.join(self._configs)} run in every step: {reason}")

    def with_weights(
        self, weights: InitialWeights | None, config: FinetuneConfig
    ) -> InitialWeights | None:
        """Adds the weights of the views' encoders to those that a run starts from."""
        if not self.weights:
            return weights
        own = {name: {"encoder": one.params["encoder"]} for name, one in self.weights.items()}
        if weights is None:
            params = {"fusion": {"views": own}}
            return InitialWeights(params, config.frontend, config.encoder, "the views")
        given = weights.params.get("fusion", {})
        views = {
            name: {**given.get("views", {}).get(name, {}), **encoder}
            for name, encoder in own.items()
        }
        fusion = {**given, "views": {**given.get("views", {}), **views}}
        return dataclasses.replace(weights, params={**weights.params, "fusion": fusion})

    def open(
        self,
        source: CorpusSource,
        say: Callable[[str], None],
        *,
        preempted: Callable[[int], bool],
    ) -> dict[str, ViewReader]:
        """Opens what batches hold of each view; computes kept outputs that are missing.

        All processes must call this, before the source has kept outputs of its own.

        Args:
          source: a corpus.
          say: called with lines for people.
          preempted: see `OutputStore.open`.

        Raises:
          UserError: an utterance is not in a table, there is no room, or a record is damaged.
        """
        found: dict[str, ViewReader] = {}
        for view in self.configs:
            if view.kind == "table":
                mean = view.num_vectors == 1
                found[view.name] = self._tables[view.name].reader(source.index, mean=mean)
            elif self._kept:
                say(f"view {view.name}:")
                store = OutputStore(self._configs[view.name], self.weights[view.name])
                found[view.name] = store.open(source, say, preempted=preempted)
        return found


def view_input(readers: Sequence[tuple[ViewReader, int]], *, rows: int) -> ViewInput:
    """Reads the input of one view, as a batch holds it.

    Args:
      readers: reader and row of each utterance.
      rows: B, of which the last ones may be padding.
    """
    reader = readers[0][0]
    shape = reader.shape.of(0)  # the number of vectors is fixed
    outputs = np.zeros((rows, *shape), reader.dtype)
    valid = np.zeros((rows, shape[1]), bool)
    for number, (own, row) in enumerate(readers):
        kept = own.read(row)
        outputs[number, :, : kept.shape[1]], valid[number, : kept.shape[1]] = kept, True
    return ViewInput(jnp.asarray(outputs), jnp.asarray(valid))


def _with_encoder(
    config: FinetuneConfig, weights: InitialWeights, *, network: str
) -> FinetuneConfig:
    """Gives the config of a run whose main encoder is that of a view, without dropout.

    The network over its frames has the settings of `pooling.network`, but this kind.
    """
    # The side branch of a view is what its weights have, not that of the main encoder.
    plain = dataclasses.replace(config.encoder, side_layers=0, side_from=0, side_onto=0)
    own = with_sizes(dataclasses.replace(config, encoder=plain), weights)
    # Features of log_mel and mfcc have two windows side by side, see `WINDOWS_PER_FRAME`.
    features = own.encoder.kind == "features" and own.frontend.kind in ("log_mel", "mfcc")
    spectral = features and network in SPECTRAL
    windows = WINDOWS_PER_FRAME if spectral else 1
    settings = dataclasses.replace(config.pooling.network, kind=network, windows_per_frame=windows)
    if network == "none":
        settings = NetworkConfig()
    pooling = dataclasses.replace(config.pooling, network=settings)
    if own.encoder.kind == "features":
        pooling = dataclasses.replace(pooling, layers="last")
    if own.frontend.kind == "functionals":  # the same in every frame
        pooling = PoolingConfig(
            kind="mean", layers="last", standardize_outputs=config.pooling.standardize_outputs
        )
    return dataclasses.replace(
        own,
        frontend=dataclasses.replace(own.frontend, dropout=0.0),
        encoder=dataclasses.replace(
            own.encoder,
            dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            layer_drop=0.0,
        ),
        pooling=pooling,
    )


def _features(kind: str, config: FinetuneConfig) -> InitialWeights:
    """Makes the encoder without layers that gives the features of a frontend.

    Its number of features is that of the settings `frontend.num_mels` and `num_coefficients`.
    """
    given = config.frontend
    frontend = FrontendConfig(
        kind=kind,
        projection=False,
        num_mels=given.num_mels,
        num_coefficients=given.num_coefficients,
        normalize=given.normalize,
    )
    width = FRONTENDS[kind].count_features(frontend)
    encoder = EncoderConfig(kind="features", num_layers=1, positions="none", width=width)
    model = nnx.eval_shape(lambda: SpeechEncoder(frontend, encoder, key=jax.random.key(0)))
    # The embedding of masked frames, which no call without masking reads.
    params = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), nnx.to_pure_dict(nnx.split(model)[1])
    )
    return InitialWeights({"encoder": jax.device_get(params)}, frontend, encoder, kind)


def _table_view(config: FinetuneConfig, name: str, source: str, table: ViewTable) -> ViewConfig:
    """Decides how the vectors of a table are pooled: as frames are, or by their mean."""
    pooling = config.pooling
    by_mean = table.most == 1 or KINDS[pooling.kind].weights == "equal"
    reads_frames = FUSIONS[config.fusion.kind].reads_frames
    if by_mean:
        pooling = PoolingConfig(kind="mean", standardize_outputs=pooling.standardize_outputs)
    pooling = dataclasses.replace(pooling, layers="last", network=NetworkConfig(), projection=0)
    return ViewConfig(
        name=name,
        source=source,
        kind="table",
        pooling=pooling,
        width=table.width,
        num_vectors=1 if by_mean and not reads_frames else table.most,
        identity=table.identity,
    )
