"""Settings of adaptation: which part of a pretrained encoder fine-tuning changes, and how."""

from dataclasses import dataclass

from sersl.config.setting import Settings, setting

METHODS = ("full", "frozen", "lora", "bottleneck", "prefix", "bias", "extension")


@dataclass(frozen=True, kw_only=True)
class AdaptationConfig(Settings):
    """How fine-tuning changes the encoder; `unfreeze` decides about pooling and heads."""

    method: str = setting(
        "full",
        "full: every parameter. frozen: none. lora: low-rank updates of linear maps (2106.09685). "
        "bottleneck: adapters behind linear maps (1902.00751). prefix: learned keys and values "
        "(2101.00190). bias: biases only (2106.10199). extension: zero-initialized copies of "
        "layers (ExHuBERT, 2406.10275).",
        choices=METHODS,
    )
    trained_layers: int = setting(
        0,
        "Upper layers that train or get adapters; 0: all layers, and with full and bias the "
        "frontend. The layers below are frozen, and their output is kept, see `store`.",
        at_least=0,
        at_most=1000,
    )
    layer_decay: float = setting(
        1.0,
        "Factor on the learning rate of each layer relative to the layer above it; the frontend "
        "counts as the layer below the first.",
        above=0,
        at_most=1,
    )
    gradual_steps: int = setting(
        0,
        "Steps after which the next lower layer begins to train, the top layer first "
        "(1801.06146); 0: all train from the start.",
        at_least=0,
    )
    rank: int = setting(8, "lora: rank of an update.", at_least=1, at_most=65_536)
    alpha: float = setting(16.0, "lora: an update is multiplied by alpha / rank.", above=0)
    targets: str = setting(
        "",
        "lora, bottleneck: regular expression for the linear maps of a layer, attention/query, "
        "attention/key, attention/value, attention/output, mlp_in and mlp_out; empty: query and "
        "value for lora, attention/output and mlp_out for bottleneck.",
    )
    width: int = setting(64, "bottleneck: hidden units.", at_least=1, at_most=65_536)
    vectors: int = setting(
        16, "prefix: keys and values in front of those of the frames.", at_least=1, at_most=65_536
    )
    head_steps: int = setting(
        0,
        "Updates of pooling and heads alone, on pooled outputs that are computed once, before step "
        "0 (2202.10054); needs kept output of frozen lower layers.",
        at_least=0,
    )
    frame_share: float = setting(
        1.0,
        "Share of the frames of each utterance, drawn anew in every step, that the trained layers "
        "and the pooling process in training; needs kept outputs and positions that are added to "
        "the input.",
        above=0,
        at_most=1,
    )
