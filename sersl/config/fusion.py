"""Settings of views: further inputs beside the main encoder, and how they are combined with it."""

from dataclasses import dataclass, field

from sersl.config.network import EncoderConfig, FrontendConfig, PoolingConfig
from sersl.config.setting import Settings, setting


@dataclass(frozen=True, kw_only=True)
class FusionConfig(Settings):
    """Further views of an utterance, and how the model combines them with the main encoder."""

    kind: str = setting(
        "none",
        "none; early: pooled vectors one after the other; late: weighted mean of the decisions of "
        "each view; deep: layers over the pooled vectors; hybrid: the decisions of deep and of "
        "each view; gated: gates over the views; graph: graph attention over the views; "
        "cross_attention, dual_attention (and to itself), cross_transformer: the frames of each "
        "view attend to those of the others; co_attention: the views weigh the frames of the main "
        "encoder.",
    )
    views: tuple[str, ...] = setting(
        (),
        "NAME=SOURCE of each view. SOURCE is a model folder of `sersl import` or `sersl export` or "
        "the workdir of `sersl pretrain`, whose encoder never trains; mfcc, log_mel, "
        "descriptors or functionals; or a table of vectors by utterance_id, FILE.parquet or "
        "FILE.npz.",
    )
    weights: tuple[float, ...] = setting(
        (),
        "late, hybrid: weight of each decision, the main encoder first (hybrid: the joint layers "
        "first, then the main encoder), then the views in order; empty: learned, and equal with "
        "solver.kind=ridge.",
        at_least=0,
    )
    networks: tuple[str, ...] = setting(
        (),
        "Kind of the network over the frames of each view, as pooling.network.kind, or none; "
        "empty: none of them has one.",
    )
    width: int = setting(
        128, "Units of a fusion that trains layers, for each view.", at_least=1, at_most=65_536
    )
    layers: int = setting(
        2, "graph, cross_transformer: number of layers.", at_least=1, at_most=1000
    )
    num_heads: int = setting(
        4,
        "cross_attention, dual_attention, cross_transformer: attention heads.",
        at_least=1,
        at_most=4096,
    )
    dropout: float = setting(0.1, "Dropout in the fusion.", at_least=0, below=1)
    view_dropout: float = setting(
        0.0,
        "Probability of leaving out each view of a row, the main encoder included, in training; "
        "one always remains.",
        at_least=0,
        below=1,
    )
    contrast_weight: float = setting(
        0.0,
        "Weight of supervised contrast across views: vectors of all views of utterances of one "
        "category are close; heads.contrast_width and heads.contrast_temperature hold for it.",
        at_least=0,
    )


@dataclass(frozen=True, kw_only=True)
class ViewConfig(Settings):
    """One view of a run or of a released model, with the sizes that were found in its source."""

    name: str = setting("", "Name of the view.")
    source: str = setting("", "Where it comes from, as in fusion.views.")
    kind: str = setting(
        "encoder",
        "encoder: the hidden states of an encoder, or the features of its frontend. table: vectors "
        "by utterance_id.",
        choices=("encoder", "table"),
    )
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    pooling: PoolingConfig = field(default_factory=PoolingConfig)
    width: int = setting(1, "Channels of a frame or of a vector.", at_least=1, at_most=65_536)
    num_vectors: int = setting(
        1, "table: the largest number of vectors of an utterance.", at_least=1, at_most=65_536
    )
    identity: str = setting("", "table: digest of its content.")
