"""Settings of the networks: frontend, encoder, pooling and heads."""

from dataclasses import dataclass, field

from sersl.config.frame_network import NetworkConfig
from sersl.config.setting import Settings, setting


@dataclass(frozen=True, kw_only=True)
class FrontendConfig(Settings):
    """From a waveform to frames at 50 Hz."""

    kind: str = setting(
        "log_mel",
        "log_mel, mfcc, descriptors (log-mel features, pitch, voice quality, spectral shape), "
        "waveform (the conv stack of wav2vec 2.0) or whisper; as a view, functionals (statistics "
        "of pitch, loudness, spectrum and rhythm of the whole utterance).",
    )
    num_mels: int = setting(
        80,
        "Mel filters between 20 and 8000 Hz (HTK scale); Whisper has 80 or 128 of its own.",
        at_least=1,
        at_most=1024,
    )
    num_coefficients: int = setting(
        40, "mfcc: cepstral coefficients, at most num_mels.", at_least=1, at_most=1024
    )
    projection: bool = setting(
        True,
        "log_mel, mfcc, descriptors: a linear map of the features to encoder.width, with "
        "LayerNorm; false: the features themselves, whose number must be encoder.width.",
    )
    normalize: str = setting(
        "fixed",
        "fixed: one constant map of log-mel features, none of a waveform. utterance: zero mean and "
        "unit standard deviation over the utterance, of each mel band or of the waveform.",
        choices=("fixed", "utterance"),
    )
    dropout: float = setting(
        0.0, "Dropout on the projected features, before masking.", at_least=0, below=1
    )
    conv_width: int = setting(
        512, "waveform: channels of each of the seven layers.", at_least=1, at_most=65_536
    )
    conv_norm: str = setting(
        "group",
        "waveform: group normalizes the first layer over time, layer every layer over channels.",
        choices=("group", "layer"),
    )
    conv_bias: bool = setting(False, "waveform: whether the convolutions have biases.")
    feature_norm: bool = setting(True, "waveform: LayerNorm before the projection.")
    gradient_scale: float = setting(
        1.0,
        "waveform: factor on the gradient of the conv stack; 0.1 in wav2vec 2.0 BASE.",
        at_least=0,
    )
    window_seconds: float = setting(
        30.0,
        "whisper: audio is padded or cut to this length, 30 in the original; 0: no window, the "
        "network runs on the frames of the audio alone.",
        at_least=0,
        at_most=3600,
    )


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(Settings):
    """Context network over frames."""

    kind: str = setting(
        "transformer",
        "transformer, gru (causal), masked_conv (NPC), convolution (residual, dilated) or features "
        "(no layers: the pooling reads the frontend).",
    )
    num_layers: int = setting(4, "Number of layers.", at_least=1, at_most=1000)
    side_layers: int = setting(
        0,
        "transformer: layers of a side branch (2206.06522). Their outputs follow those of the "
        "num_layers layers, which they leave unchanged.",
        at_least=0,
        at_most=1000,
    )
    side_from: int = setting(
        0,
        "Layer whose output the side branch reads; 0: the input of the first.",
        at_least=0,
        at_most=1000,
    )
    side_onto: int = setting(
        0,
        "Layer to whose output, standardized over channels, half of the last output of the side "
        "branch is added, so that the last layer has both; 0: none.",
        at_least=0,
        at_most=1000,
    )
    width: int = setting(128, "Channels of a frame.", at_least=1, at_most=65_536)
    num_heads: int = setting(4, "Attention heads.", at_least=1, at_most=4096)
    mlp_width: int = setting(
        512, "Hidden units of the feed-forward block.", at_least=1, at_most=1_048_576
    )
    norm: str = setting(
        "pre",
        "LayerNorm before (pre) or after (post) each residual branch.",
        choices=("pre", "post"),
    )
    final_norm: bool = setting(
        True,
        "With norm=pre, a LayerNorm after the last layer; False after `sersl import --layers`.",
    )
    positions: str = setting(
        "rotary",
        "rotary, convolution (wav2vec 2.0), convolution_stack (data2vec), learned, sinusoidal or "
        "none.",
    )
    position_kernel: int = setting(
        128,
        "Kernel of convolution in frames; 19 in data2vec's convolution_stack.",
        at_least=1,
        at_most=65_536,
    )
    position_groups: int = setting(
        16,
        "Groups of channels of convolution and convolution_stack.",
        at_least=1,
        at_most=65_536,
    )
    position_layers: int = setting(5, "Layers of convolution_stack.", at_least=1, at_most=1000)
    max_frames: int = setting(
        1500, "Longest input of learned positions; 1500 frames = 30 s.", at_least=1, at_most=10**7
    )
    relative_bias: bool = setting(False, "Gated bias by distance on the attention scores (WavLM).")
    relative_buckets: int = setting(
        320, "Buckets of distances of relative_bias.", at_least=4, at_most=65_536
    )
    relative_distance: int = setting(
        800, "Distance in frames from which all share one bucket.", at_least=2, at_most=10**7
    )
    key_bias: bool = setting(True, "Bias of the attention keys; Whisper has none.")
    dropout: float = setting(
        0.1, "Dropout on the input and on the residual branches.", at_least=0, below=1
    )
    attention_dropout: float = setting(0.0, "Dropout on attention weights.", at_least=0, below=1)
    activation_dropout: float = setting(
        0.0, "Dropout on the hidden units of the feed-forward block.", at_least=0, below=1
    )
    layer_drop: float = setting(
        0.0, "Probability of skipping a layer (1909.11556).", at_least=0, below=1
    )
    attention: str = setting(
        "auto",
        "auto: on TPUs the splash kernel, which never stores the scores, unless something needs "
        "them; elsewhere xla. xla: plain matrix products. jax, cudnn: "
        "jax.nn.dot_product_attention.",
        choices=("auto", "xla", "jax", "cudnn"),
    )
    scan_layers: bool = setting(
        False, "Compile one layer and scan it over stacked parameters, which compiles faster."
    )
    remat: str = setting("none", "What the backward pass recomputes: none, dots or full.")
    dtype: str = setting(
        "float32", "Type of the computation, float32 or bfloat16; parameters stay float32."
    )
    kernel_frames: int = setting(
        15,
        "masked_conv: frames that each convolution spans (NPC). convolution: taps of each layer.",
        at_least=1,
        at_most=65_536,
    )
    hidden_frames: int = setting(
        5,
        "masked_conv: frames around each frame that never reach its output (NPC).",
        at_least=1,
        at_most=65_536,
    )
    frame_stride: int = setting(
        1,
        "convolution: frames that are averaged before the layers, to save computation.",
        at_least=1,
        at_most=1000,
    )

    @property
    def last_layer(self) -> int:
        """Index of the last hidden state; 0 is the input of the first layer."""
        return self.num_layers + self.side_layers


@dataclass(frozen=True, kw_only=True)
class PoolingConfig(Settings):
    """From the frames of all layers to one vector per utterance."""

    kind: str = setting(
        "attentive_statistics",
        "mean, max, statistics (mean and standard deviation), attention, attentive_statistics, "
        "multi_head_attention, attentive_correlation (of channels) or tokens (learned queries).",
    )
    layers: str = setting(
        "weighted",
        "weighted: learned weighted sum of all layers. last: the last layer alone. all: the "
        "vectors of all layers one after the other, with kind mean, max or statistics. 4 or 2-6: "
        "those of one or several hidden states, where 0 is the input of the first layer.",
    )
    standardize_layers: bool = setting(
        True, "Standardize each layer before the sum; false as in transformers."
    )
    standardize_outputs: bool = setting(
        False,
        "Standardize each number of what is pooled first by its mean and deviation over the "
        "training utterances: of the vectors of mean, max and statistics, else of the frames. "
        "Needs kept outputs of a frozen encoder.",
    )
    projection: int = setting(
        0,
        "Width of a linear map of each frame before pooling; 0 for none.",
        at_least=0,
        at_most=65_536,
    )
    hidden: int = setting(
        64,
        "Hidden units of attention, attentive_statistics and attentive_correlation.",
        at_least=1,
        at_most=65_536,
    )
    num_heads: int = setting(
        4,
        "Heads of multi_head_attention, attentive_correlation and tokens.",
        at_least=1,
        at_most=1024,
    )
    num_tokens: int = setting(4, "Learned queries of tokens.", at_least=1, at_most=1024)
    network: NetworkConfig = field(default_factory=NetworkConfig)

    @property
    def layers_standardized(self) -> bool:
        """Whether each layer is standardized over channels, before anything else."""
        return self.layers != "last" and self.standardize_layers


@dataclass(frozen=True, kw_only=True)
class HeadsConfig(Settings):
    """From the pooled vector to categories and dimensions."""

    kind: str = setting(
        "gelu",
        "gelu: LayerNorm and one hidden layer. tanh: one hidden layer. linear: the output layer "
        "alone.",
    )
    bounded: bool = setting(
        True, "Dimensions pass a sigmoid, so they are in 0..1; false leaves them unbounded."
    )
    hidden: int = setting(128, "Hidden units of gelu and tanh.", at_least=1, at_most=65_536)
    dropout: float = setting(0.2, "Dropout before each layer.", at_least=0, below=1)
    output_deviation: float = setting(
        0.02, "Standard deviation of the initial weights of the output layer.", at_least=0
    )
    category_loss: str = setting(
        "cross_entropy",
        "cross_entropy, focal, votes (KL to shares of raters' votes), annotators (an output for "
        "each), listeners (units adapted to each), evidential (Dirichlet), prototypes, or ordinal "
        "(labels.categories in order).",
    )
    category_weight: float = setting(1.0, "Weight of the loss of categories.", at_least=0)
    label_smoothing: float = setting(
        0.1,
        "Share of each target spread over all categories; evidential takes none.",
        at_least=0,
        below=1,
    )
    class_weighting: bool = setting(
        True, "Weight categories by their inverse frequency in the fold's training rows."
    )
    focal_gamma: float = setting(2.0, "focal: exponent of 1 - probability.", at_least=0)
    evidence_weight: float = setting(
        1.0, "evidential: final weight of the evidence for wrong categories.", at_least=0
    )
    evidence_steps: int = setting(
        200, "evidential: steps until evidence_weight is reached.", at_least=0
    )
    temperature: float = setting(
        0.1, "prototypes: squared distances (0..4) are divided by it.", above=0
    )
    prototype_width: int = setting(
        64, "prototypes: length of the vectors.", at_least=1, at_most=65_536
    )
    prototype_pull: float = setting(
        0.1, "prototypes: weight of the distance to the own prototype.", at_least=0
    )
    prototype_refinement: float = setting(
        0.0,
        "prototypes: share of each target that is taken from the similarities to the prototypes "
        "(label refinement).",
        at_least=0,
        below=1,
    )
    open_set_threshold: float = setting(
        1.0,
        "prototypes: predictions answer unknown where open_set, a quarter of the squared distance "
        "to the nearest prototype, is above it; 1: never.",
        at_least=0,
        at_most=1,
    )
    annotators: tuple[str, ...] = setting(
        (),
        "annotators, listeners: their names; empty: all who labelled annotator_labels utterances "
        "on the training side of every fold.",
    )
    annotator_labels: int = setting(
        20, "annotators, listeners: fewest labels of an annotator.", at_least=1
    )
    listener_width: int = setting(
        16, "listeners: length of a listener's vector.", at_least=1, at_most=65_536
    )
    contrast_weight: float = setting(
        0.0, "Weight of supervised contrast of the pooled vectors by category.", at_least=0
    )
    contrast_temperature: float = setting(0.1, "Temperature of supervised contrast.", above=0)
    contrast_width: int = setting(
        128, "Length of the projected vectors of supervised contrast.", at_least=1, at_most=65_536
    )
    dimensions_loss: str = setting(
        "ccc", "ccc (1 - concordance), mse, mae or evidential (normal-inverse-gamma)."
    )
    dimensions_weight: float = setting(
        1.0,
        "Weight of the loss of dimensions: ccc over the global batch, averaged over dimensions.",
        at_least=0,
    )
    dimension_evidence_weight: float = setting(
        0.01, "evidential: weight of the evidence for wrong values.", at_least=0
    )
