"""All settings and all defaults; those of objectives and distortions have files of their own.

A config file (`configs/`) gives a ConfigDict with what differs from these defaults;
`sersl.config.load` turns it into `PretrainConfig` or `FinetuneConfig`. No default lives elsewhere.
"""

from dataclasses import dataclass, field

from sersl.config.distortion import CombineConfig, DistortionConfig
from sersl.config.objectives import ObjectivesConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is read, and how it becomes global batches."""

    data_dir: str = ""  # folder that `sersl prepare` wrote into
    corpora: tuple[str, ...] = ("synthetic",)  # names under data_dir
    weights: tuple[float, ...] = ()  # share of rows per corpus; empty: by number of utterances
    annotator: str = "signal"  # sidecar with intensity and prosody, from `sersl annotate`
    seconds_per_batch: float = 64.0  # real and padded audio per global batch
    row_multiple: int = 8  # rows of every batch are a multiple; must divide by mesh data * fsdp
    num_buckets: int = 0  # batch shapes, each compiled once; 0: as few as give min_real_share
    min_real_share: float = 0.93  # of samples that are not padding, where num_buckets is 0
    max_seconds: float = 8.0  # longer utterances are cropped at random when training
    min_seconds: float = 0.1  # shorter utterances are left out of training, and counted
    threads: int = 2  # reading threads per process
    processes: int = 0  # reading worker processes; 0 reads in threads only
    prefetch: int = 4  # batches read ahead
    cache_gigabytes: float = 50.0  # of records kept on this machine when data_dir is a bucket's URL
    max_corrupted: int = 10  # damaged records per process replaced by others; more stop the run


@dataclass(frozen=True, kw_only=True)
class FrontendConfig:
    """Waveform to frames at 50 Hz."""

    kind: str = "log_mel"  # log_mel, waveform (the conv stack of wav2vec 2.0), whisper
    # filters between 20 and 8000 Hz (HTK mel); whisper: 80 or 128 of its own
    num_mels: int = 80
    # fixed: one map for all audio, of a waveform none; utterance: zero mean and unit deviation, of
    # each band or of the waveform
    normalize: str = "fixed"
    dropout: float = 0.0  # of the projected features, before masking
    conv_width: int = 512  # of waveform: channels of all seven layers
    conv_norm: str = "group"  # of waveform: group (over time, first layer), layer (every layer)
    conv_bias: bool = False  # of waveform
    feature_norm: bool = True  # of waveform: LayerNorm in front of the projection
    gradient_scale: float = 1.0  # of waveform: of the conv stack; 0.1 in wav2vec 2.0 BASE
    window_seconds: float = 30.0  # of whisper: audio is padded or cut to it


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Context network over frames."""

    kind: str = "transformer"  # transformer, gru (causal), masked_conv (NPC)
    num_layers: int = 4
    width: int = 128
    num_heads: int = 4
    mlp_width: int = 512
    norm: str = "pre"  # LayerNorm in front of (pre) or behind (post) each residual branch
    # rotary, convolution (wav2vec 2.0), convolution_stack (data2vec), learned, sinusoidal, none
    positions: str = "rotary"
    position_kernel: int = 128  # of convolution; 19 of data2vec's convolution_stack
    position_groups: int = 16  # of channels, of both
    position_layers: int = 5  # of convolution_stack
    max_frames: int = 1500  # of learned positions: 30 s
    relative_bias: bool = False  # gated bias by distance on attention scores (WavLM)
    relative_buckets: int = 320  # of distances
    relative_distance: int = 800  # frames from which on distances share a bucket
    key_bias: bool = True  # Whisper has none
    dropout: float = 0.1  # residual branches and input
    attention_dropout: float = 0.0  # of attention weights
    activation_dropout: float = 0.0  # inside the MLP
    layer_drop: float = 0.0  # probability to leave a layer out (1909.11556)
    # auto: splash, a kernel that keeps scores on the chip, where the mesh is of TPUs and nothing
    # needs the scores, else xla; xla: our own products; jax, cudnn: jax.nn.dot_product_attention
    attention: str = "auto"
    scan_layers: bool = False  # one compiled layer scanned over stacked parameters
    remat: str = "none"  # recomputed in the backward pass: none, dots, full
    dtype: str = "float32"  # computation: float32, bfloat16; parameters stay float32
    kernel_frames: int = 15  # of masked_conv: frames that each blind convolution spans (NPC)
    hidden_frames: int = 5  # of masked_conv: around each frame, which never reach its output (NPC)


@dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """Which frames the student does not see."""

    rule: str = "intensity"  # uniform, intensity, threshold, bands, none
    # embedding: a learned vector stands for a hidden frame; features: see AlterationConfig; remove:
    # the encoder sees the others only (data2vec 2.0)
    replace: str = "embedding"
    clones: int = 1  # differently masked copies of each row, with one teacher pass (data2vec 2.0)
    fraction: float = 0.5  # of real frames; 49 % in wav2vec 2.0 (sec. 4.2)
    span: int = 10  # frames = 200 ms (wav2vec 2.0, sec. 4.2)
    temperature: float = 0.5  # of sampling by intensity: 0 takes the top, large is uniform
    threshold: float = 0.65  # of threshold: spans of at least this mean intensity first (EMS)


@dataclass(frozen=True, kw_only=True)
class AlterationConfig:
    """What stands in place of hidden features where masking.replace is features."""

    zero_share: float = 0.8  # of rows: zeros, the mean (MockingJay, 1910.12638, sec. 2.2)
    swap_share: float = 0.1  # of rows: other frames of the row; the rest stays as it is
    band_share: float = 0.0  # widest band of mel filters zeroed in every frame; 0.2 in TERA
    noise_share: float = 0.0  # of rows that Gaussian noise is added to (TERA's magnitude)
    noise_std: float = 0.2


@dataclass(frozen=True, kw_only=True)
class MixingConfig:
    """Another utterance over the student's input, none in its targets (WavLM, sec. 3.2)."""

    probability: float = 0.0  # of a row; 0.2 in WavLM
    max_share: float = 0.5  # of the row's length
    lowest_db: float = -5.0  # of the row's energy over the other's, drawn uniformly
    highest_db: float = 5.0


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """Exponential moving average of the student, where an objective needs one."""

    decay_start: float = 0.999  # data2vec (2202.03555), sec. 4
    decay_end: float = 0.9999
    decay_steps: int = 30_000  # linear from start to end


@dataclass(frozen=True, kw_only=True)
class KnowledgeConfig:
    """How emotion intensity enters beside the masking rule and its regression."""

    input: bool = False  # intensity, hidden at masked frames, is added to the encoder's input
    input_dropout: float = 0.5  # rows that go without it, as fine-tuning and prediction do
    # 0: every frame's loss counts alike; 1: in proportion to its intensity, mean 1 per utterance
    loss_weight: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CollapseConfig:
    """When pretraining stops because the representation has collapsed."""

    after_steps: int = 200  # grace period
    min_perplexity: float = 2.0  # codes in use per group, of the batch-averaged distribution
    min_variance: float = 1e-4  # of the encoder output over the batch's real frames
    # of a teacher's averaged layers and of what the student says of them; fairseq's data2vec calls
    # both variance (0.1, 0.01) and compares the deviation
    min_target_deviation: float = 0.1
    min_prediction_deviation: float = 0.01


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with warm-up, clipping by global norm and decoupled weight decay."""

    learning_rate: float = 5e-4  # peak
    schedule: str = "cosine"  # after warm-up: cosine, linear, constant
    warmup_fraction: float = 0.08  # of num_steps
    end_fraction: float = 0.0  # of the peak, at num_steps
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-6
    first_moment: str = "float32"  # how it is kept: float32, bfloat16; the second is float32
    weight_decay: float = 0.01
    # (pattern, decayed?) for every parameter path; first match wins, all must match
    decay: tuple[tuple[str, bool], ...] = (
        (r".*/(bias|scale|mask_embedding)", False),
        (r".*", True),
    )
    clip_norm: float = 1.0


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The loop."""

    num_steps: int = 1000
    accumulate_steps: int = 1  # parts of a batch gone through one after another, in less memory
    seed: int = 0
    log_every_steps: int = 10
    on_nan: str = "stop"  # a loss or gradient that is not finite: stop, or skip that update
    max_skipped: int = 10  # updates skipped in a row, after which the run stops all the same
    host_timeout_seconds: int = 45  # silence of another process after which it counts as lost
    profile_from: int = 0  # step before which a profile begins, in <workdir>/profile
    profile_steps: int = 0  # steps in it; 0: no profile
    wandb: str = "off"  # Weights & Biases: off, offline, online; needs sersl[wandb]


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Devices along each axis; -1 takes what is left."""

    data: int = -1  # copies of the state, each with its own rows
    fsdp: int = 1  # parts of the state, each with its own rows
    tensor: int = 1  # parts of each matrix product


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When the state is saved, and what is kept; the last step is always saved and kept."""

    every_steps: int = 200
    keep_last: int = 2
    keep_best: int = 0  # besides, those with the lowest mean loss since the checkpoint before
    keep_every_hours: float = 0.0  # besides, the first and one every so many hours; 0: none


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Everything `sersl pretrain` needs."""

    name: str = "pretrain"
    data: DataConfig = field(default_factory=DataConfig)
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    alteration: AlterationConfig = field(default_factory=AlterationConfig)
    mixing: MixingConfig = field(default_factory=MixingConfig)
    objectives: ObjectivesConfig = field(default_factory=ObjectivesConfig)
    distortion: DistortionConfig = field(default_factory=DistortionConfig)
    knowledge: KnowledgeConfig = field(default_factory=KnowledgeConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    # workdirs or released folders whose encoders teach and never learn
    frozen_teachers: tuple[str, ...] = ()
    collapse: CollapseConfig = field(default_factory=CollapseConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    init_from: str = ""  # workdir or released folder whose weights to start from
    resume_from: str = ""  # workdir of another run to continue, step and optimizer included


@dataclass(frozen=True, kw_only=True)
class LabelsConfig:
    """What is predicted."""

    # named set of categories; corpus: those that any corpus has; shared: those that all have; none
    view: str = "corpus"
    dimensions: bool = True  # also arousal, dominance, valence, where the corpora have any
    soft: bool = False  # train on the shares of the raters' votes, where an utterance has votes


@dataclass(frozen=True, kw_only=True)
class ProtocolConfig:
    """Who is tested on whom."""

    name: str = "k-fold-by-speaker"  # see sersl/corpora/protocols/protocol.py
    num_folds: int = 4  # of k-fold-by-speaker and few-shot
    file: str = ""  # of file: folds by utterance; of emobox-<corpus>: EmoBox's data/<corpus>
    shots: int = 8  # of few-shot: training utterances per class, and at most so many to validate
    test_corpora: tuple[str, ...] = ()  # of cross-corpus: tested, never trained on; empty: in turn
    validation_fraction: float = 0.15  # of the training side's speakers, at least one
    folds: tuple[str, ...] = ()  # only these; empty: all
    final_model: bool = True  # after the folds, one model for release trained on all speakers
    allow_speaker_overlap: bool = False


@dataclass(frozen=True, kw_only=True)
class PoolingConfig:
    """Frames of all layers to one vector."""

    kind: str = "attentive_statistics"  # mean, attentive_statistics
    layers: str = "weighted"  # weighted: learned sum of all layers; last
    standardize_layers: bool = True  # before their sum; False as transformers sums them
    projection: int = 0  # width of a linear map of every frame before it is pooled; 0: none
    hidden: int = 64  # of the attention


@dataclass(frozen=True, kw_only=True)
class HeadsConfig:
    """Vector to categories and dimensions."""

    kind: str = "gelu"  # gelu: standardised, a hidden layer; tanh: a hidden layer; linear
    bounded: bool = True  # dimensions through a sigmoid, so within 0..1; False: as they come
    hidden: int = 128  # of gelu and tanh
    dropout: float = 0.2
    category_weight: float = 1.0  # cross-entropy
    label_smoothing: float = 0.1
    class_weighting: bool = True  # by inverse frequency in the fold's training side
    dimensions_weight: float = 1.0  # 1 - CCC over the global batch, mean over dimensions


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Changes to the training input of fine-tuning; each is off at 0."""

    time_mask_fraction: float = 0.0  # of real frames, in spans (SpecAugment on frames)
    time_mask_span: int = 10  # frames; of waveform: replaced by the mask embedding
    channel_mask_fraction: float = 0.0  # of the encoder's channels, in spans, zeroed in all frames
    channel_mask_span: int = 64  # channels (wav2vec 2.0, app. B)
    band_mask_width: int = 0  # widest band of mel filters hidden, drawn uniformly from 0
    gain_db: float = 0.0  # uniform in [-gain, gain]


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Everything `sersl finetune` needs."""

    name: str = "finetune"
    data: DataConfig = field(default_factory=DataConfig)
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    frontend: FrontendConfig = field(default_factory=FrontendConfig)  # of a model from scratch
    encoder: EncoderConfig = field(default_factory=EncoderConfig)  # sizes of a model from scratch
    pooling: PoolingConfig = field(default_factory=PoolingConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    distortion: DistortionConfig = field(default_factory=DistortionConfig)
    combine: CombineConfig = field(default_factory=CombineConfig)
    # (pattern, step from which it trains; -1 never) for every parameter path; first match wins
    unfreeze: tuple[tuple[str, int], ...] = ((r".*", 0),)
    encoder_learning_rate_scale: float = 1.0  # of parameters under encoder/
    evaluate_every_steps: int = 100  # on validation speakers; the best state is kept
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    init_from: str = ""  # workdir of `sersl pretrain`, or a released folder; empty: from scratch
