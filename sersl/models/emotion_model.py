"""The whole predictor: encoder, pooling, and heads for categories and dimensions."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import jax
import jax.numpy as jnp

from sersl.config.adaptation import AdaptationConfig
from sersl.config.conversation import ConversationConfig
from sersl.config.fusion import FusionConfig, ViewConfig
from sersl.config.schema import (
    AugmentConfig,
    EncoderConfig,
    FrontendConfig,
    HeadsConfig,
    PoolingConfig,
)
from sersl.core import lengths
from sersl.models.adapters import add_adapters
from sersl.models.conversation.context import ConversationContext
from sersl.models.encoder import SpeechEncoder
from sersl.models.frontend import valid_frames
from sersl.models.fusion.view_fusion import Fused, ViewFusion
from sersl.models.fusion.view_parts import ViewInput
from sersl.models.heads.category_heads import (
    AnnotatorsHead,
    make_category_head,
    mean_probability,
)
from sersl.models.heads.dimension_head import DimensionHead
from sersl.models.heads.emotion_output import EmotionOutput
from sersl.models.heads.training_heads import TrainingHeads
from sersl.models.heads.unsure_heads import DoubtfulModel
from sersl.models.pooling.pooling import Pooling
from sersl.models.present import draw_frames
from sersl.models.transformer import Transformer

NO_VIEWS: Mapping[str, ViewInput] = MappingProxyType({})


class EmotionModel(DoubtfulModel):
    """Waveform to categories, dimensions and an embedding; padding never changes an output.

    Parameters are under `encoder/`, `pooling/`, `category/` and `dimensions/`, the last two only
    where there is something to predict, `fusion/` where there are further views, and
    `training_heads/` where fine-tuning adds some.
    """

    training_heads: TrainingHeads
    fusion: ViewFusion

    def __init__(
        self,
        frontend: FrontendConfig,
        encoder: EncoderConfig,
        pooling: PoolingConfig,
        heads: HeadsConfig,
        *,
        num_categories: int,
        num_dimensions: int,
        key: jax.Array,
        augment: AugmentConfig | None = None,
        adaptation: AdaptationConfig | None = None,
        pools_window: bool = False,
        fusion: FusionConfig | None = None,
        views: Sequence[ViewConfig] = (),
        conversation: ConversationConfig | None = None,
    ):
        """Makes the model.

        Args:
          frontend: waveform to frames.
          encoder: sizes of the Transformer.
          pooling: frames to a vector.
          heads: kind, hidden width and dropout.
          num_categories: C; 0 for none.
          num_dimensions: D; 0 for none.
          key: PRNG key of the initial weights.
          augment: changes to the input of calls with a key; None: none.
          adaptation: what is added to the layers of the encoder; None: nothing.
          pools_window: pool the silence after the audio too, up to the end of the window of the
            frontend, as `WhisperForAudioClassification` of transformers does.
          fusion: how further views are combined with the encoder; None: there are none.
          views: in order.
          conversation: network over the utterances of a dialogue; None: none.

        Raises:
          UserError: an unknown name or sizes that do not divide.
        """
        keys = jax.random.split(key, 4)
        self.pools_window = pools_window
        self.num_categories = num_categories
        self.num_dimensions = num_dimensions
        self.encoder = SpeechEncoder(frontend, encoder, key=keys[0], augment=augment)
        if adaptation is not None:
            own = jax.random.fold_in(keys[0], 1)
            add_adapters(self.encoder, encoder, adaptation, key=own)
        self.pooling = Pooling(encoder.last_layer, encoder.width, pooling, key=keys[1])
        self.num_inputs = self.pooling.num_outputs  # of the heads
        self.has_fusion = fusion is not None and fusion.kind != "none"
        if fusion is not None and self.has_fusion:
            self.fusion = ViewFusion(
                fusion,
                views,
                self.pooling,
                encoder.width,
                heads,
                num_categories=num_categories,
                num_dimensions=num_dimensions,
                key=jax.random.fold_in(key, 4),
            )
            self.num_inputs = self.fusion.num_outputs
        self.has_context = conversation is not None and conversation.kind != "none"
        if conversation is not None and self.has_context:
            own = jax.random.fold_in(keys[1], 1)
            self.context = ConversationContext(self.num_inputs, conversation, key=own)
            self.num_inputs = self.context.num_outputs
        if num_categories:
            self.category = make_category_head(self.num_inputs, num_categories, heads, key=keys[2])
        if num_dimensions:
            self.dimensions = DimensionHead(self.num_inputs, num_dimensions, heads, key=keys[3])

    def __call__(
        self,
        waveform: jax.Array,
        valid: jax.Array,
        *,
        views: Mapping[str, ViewInput] = NO_VIEWS,
        key: jax.Array | None = None,
    ) -> EmotionOutput:
        """Predicts for a batch.

        Args:
          waveform: [B, N] in [-1, 1], 16 kHz.
          valid: bool [B, N], True = real; padding is at the end.
          views: inputs of views by name, see `ViewFusion.inputs` for those that are not given.
          key: PRNG key of dropout and augmentation; None: neither.

        Returns:
          Outputs; for a row without real frames they are finite and meaningless.
        """
        encoder_key = None if key is None else jax.random.split(key, 3)[0]
        num_frames = lengths.num_frames(waveform.shape[1])
        if self.pools_window:
            waveform, valid = self._whole_window(waveform, valid)
        encoded = self.encoder(waveform, valid, key=encoder_key)
        pooled = jnp.ones_like(encoded.valid) if self.pools_window else encoded.valid
        embedding, local = self.pooling(encoded.hidden_states, pooled, key=_network_key(key))
        states = self.pooling.mix(encoded.hidden_states)
        if self.has_fusion:
            inputs = self.fusion.inputs(views, waveform, valid)
            output = self._fused(embedding, states, encoded.valid, inputs, key)
            return output._replace(states=states[:, :num_frames])
        output = self._predict(embedding, key)
        if self.num_categories and local is not None and not self.has_context:
            frames = jnp.where(encoded.valid[..., None], self.category(local), 0.0)
            output = output._replace(frames=frames[:, :num_frames])
        return output._replace(
            states=states[:, :num_frames],
            inner=self._inner(encoded.hidden_states, encoded.valid),
        )

    def outputs(self, waveform: jax.Array, valid: jax.Array) -> jax.Array:
        """Computes what the heads need of the encoder, [B, L, F, D], see `Pooling.outputs`.

        Args:
          waveform: [B, N] in [-1, 1], 16 kHz.
          valid: bool [B, N], True = real, first.
        """
        encoded = self.encoder(waveform, valid)
        return self.pooling.outputs(encoded.hidden_states, encoded.valid)

    def from_outputs(
        self,
        outputs: jax.Array,
        valid: jax.Array,
        *,
        views: Mapping[str, ViewInput] = NO_VIEWS,
        relations: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> EmotionOutput:
        """Predicts from kept outputs of the encoder, which does not run.

        Args:
          outputs: [B, L, F, D], as `outputs` gave them.
          valid: bool [B, N], True = real sample, first.
          views: inputs of all views by name.
          relations: int8 [B, U] between the turns of dialogues, see `ConversationContext`; None:
            every row is a dialogue of one turn.
          key: PRNG key, as in a call.

        Returns:
          EmotionOutput without frames, [B, 0, C].
        """
        real = valid_frames(valid)
        embedding = self.pooling.of_outputs(outputs, real, key=_network_key(key))
        states = None
        if not self.pooling.count_vectors:
            states = self.pooling.mix(jnp.moveaxis(outputs, 1, 0))
        if self.has_fusion:
            inputs = self.fusion.inputs(views, None, valid)
            return self._fused(embedding, states, real, inputs, key)._replace(states=states)
        return self._predict(embedding, key, relations)._replace(states=states)

    def vectors_of(self, outputs: jax.Array, views: Mapping[str, ViewInput]) -> Fused:
        """Pools kept vectors [B, L, F, D] and the inputs of all views, without dropout."""
        real = jnp.ones((len(outputs), 1), bool)
        vector = self.pooling.of_outputs(outputs, real)
        if self.has_fusion:
            return self.fusion(vector, None, real, views)
        return Fused(vector, (), real)

    def from_states(
        self,
        states: jax.Array,
        valid: jax.Array,
        *,
        first: int,
        frame_share: float = 1.0,
        views: Mapping[str, ViewInput] = NO_VIEWS,
        key: jax.Array | None = None,
    ) -> EmotionOutput:
        """Predicts from kept hidden states; the frontend and the layers before `first` do not run.

        Args:
          states: [B, L', T, D]: hidden states 0 to `first` of all frames, or the last of them
            alone, for a pooling that reads the last layer.
          valid: bool [B, N], True = real sample, first.
          first: index of the first layer to run.
          frame_share: share of the frames of each row to draw, where there is a key.
          views: inputs of all views by name.
          key: PRNG key, as in a call.

        Returns:
          EmotionOutput without frames, [B, 0, C].
        """
        hidden_states, frame_valid = self.states_of(
            states, valid, first=first, frame_share=frame_share, key=key
        )
        embedding, _ = self.pooling(hidden_states, frame_valid, key=_network_key(key))
        mixed = self.pooling.mix(hidden_states)
        if self.has_fusion:
            inputs = self.fusion.inputs(views, None, valid)
            output = self._fused(embedding, mixed, frame_valid, inputs, key)
        else:
            output = self._predict(embedding, key)
        return output._replace(states=mixed, inner=self._inner(hidden_states, frame_valid))

    def _inner(self, hidden_states: jax.Array, valid: jax.Array) -> jax.Array | None:
        if not hasattr(self, "training_heads"):
            return None
        last = self.encoder.config.last_layer
        return self.training_heads.inner(hidden_states, valid, last_layer=last)

    def states_of(
        self,
        states: jax.Array,
        valid: jax.Array,
        *,
        first: int,
        frame_share: float = 1.0,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Runs the upper layers on kept hidden states; see `from_states` for the arguments.

        Returns:
          (hidden states [L + 1, B, T, D], without those before `first` if they were not kept; bool
          [B, T], real frames). With `frame_share` there are fewer frames.
        """
        kept, frame_valid = jnp.moveaxis(states, 1, 0), valid_frames(valid)
        context = self.encoder.context
        if not isinstance(context, Transformer):
            raise ValueError("only a Transformer has layers that can run without those below")
        layers_key = None
        if key is not None:
            draw_key, layers_key = jax.random.split(jax.random.split(key, 3)[0])
            if frame_share < 1.0:
                kept, frame_valid = draw_frames(kept, frame_valid, share=frame_share, key=draw_key)
        upper = context(kept[-1], frame_valid, first=first, key=layers_key)
        return jnp.concatenate([kept[:-1].astype(upper.dtype), upper]), frame_valid

    def _whole_window(self, waveform: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Pads waveform and valid, [B, N] each, to at least the frontend's window."""
        window = self.encoder.frontend.config.window_seconds * lengths.SAMPLE_RATE
        missing = max(0, lengths.num_samples(int(window) // lengths.HOP) - waveform.shape[1])
        padding = ((0, 0), (0, missing))
        return jnp.pad(waveform, padding), jnp.pad(valid, padding)

    def _fused(
        self,
        vector: jax.Array,
        frames: jax.Array | None,
        valid: jax.Array,
        inputs: Mapping[str, ViewInput],
        key: jax.Array | None,
    ) -> EmotionOutput:
        """Combines the main encoder's vector [B, E] and frames with the views, and predicts."""
        own = None if key is None else jax.random.fold_in(key, 4)
        fused = self.fusion(vector, frames, valid, inputs, key=own)
        output = self._predict(fused.vector, key)
        output = output._replace(by_view=fused.views, views_present=fused.views_present)
        if not self.fusion.decides:
            return output
        keys = (None, None) if own is None else tuple(jax.random.split(own))
        decisions, others, present = self.fusion.decisions, fused.others, fused.present
        category, dimensions = output.category, output.dimensions
        if self.num_categories:
            category = decisions.category(category, others, present, key=keys[0])
        if self.num_dimensions:
            dimensions = decisions.dimensions(dimensions, others, present, key=keys[1])
        return output._replace(category=category, dimensions=dimensions, embedding=fused.embedding)

    def in_dialogue(self, vectors: jax.Array, relations: jax.Array) -> EmotionOutput:
        """Predicts from pooled vectors [B, E] of dialogues, int8 [B, U], without frames."""
        return self._predict(vectors, None, relations)

    def _predict(
        self, embedding: jax.Array, key: jax.Array | None, relations: jax.Array | None = None
    ) -> EmotionOutput:
        """Maps [B, E] to everything but frames."""
        keys = (None,) * 3 if key is None else jax.random.split(key, 3)
        vector = embedding
        if self.has_context:
            own = None if key is None else jax.random.fold_in(key, 5)
            embedding = self.context(embedding, relations, key=own)
        category = dimensions = jnp.zeros((len(embedding), 0))
        by_annotator = evidence = None
        shared = embedding
        if self.num_dimensions:
            shared = self.dimensions.units(embedding, key=keys[2])
            dimensions, evidence = self.dimensions.both(embedding, key=keys[2])
        if self.num_categories:
            shared = self.category.units(embedding, key=keys[1])
            if isinstance(self.category, AnnotatorsHead):
                by_annotator = self.category.each(embedding, key=keys[1])
                category = mean_probability(by_annotator)
            else:
                category = self.category(embedding, key=keys[1])
        frames = jnp.zeros((len(embedding), 0, self.num_categories))
        return EmotionOutput(category, dimensions, vector, frames, by_annotator, evidence, shared)


def _network_key(key: jax.Array | None) -> jax.Array | None:
    """Derives the key of `pooling.network` from that of a call."""
    return None if key is None else jax.random.fold_in(key, 3)
