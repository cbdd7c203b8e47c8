"""Settings of the objectives of pretraining; each has weight 0 unless a config sets it."""

from dataclasses import dataclass, field

from sersl.config.objective import Objective
from sersl.config.setting import Settings, setting
from sersl.config.utterance_objectives import (
    AnchorConfig,
    DenoiseConfig,
    FunctionalsConfig,
    InformationConfig,
    InstancesConfig,
    LanguageConfig,
    MultiviewConfig,
    StatisticsConfig,
    SupervisedConfig,
    UtteranceConfig,
)


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig(Objective):
    """InfoNCE over quantized frames (wav2vec 2.0, sec. 3.2)."""

    temperature: float = setting(0.1, "Temperature of the cosine similarity.", above=0)
    num_negatives: int = setting(
        100, "Negatives from other masked frames of the utterance.", at_least=1
    )
    diversity_weight: float = setting(0.1, "Weight of the diversity loss.", at_least=0)
    width: int = setting(
        128, "Width of the compared vectors; 256 in wav2vec 2.0 BASE.", at_least=1, at_most=65_536
    )
    groups: int = setting(2, "Groups of the quantizer.", at_least=1, at_most=1024)
    codes: int = setting(
        64, "Codes per group; 320 in wav2vec 2.0 BASE.", at_least=2, at_most=1_048_576
    )
    gumbel_start: float = setting(2.0, "Gumbel temperature at step 0.", above=0)
    gumbel_end: float = setting(0.5, "Lowest Gumbel temperature.", above=0)
    gumbel_decay: float = setting(
        0.999995, "Factor on the Gumbel temperature per step.", above=0, at_most=1
    )


@dataclass(frozen=True, kw_only=True)
class ProsodyConfig(Objective):
    """Regression of log-F0, voicing, energy and their deltas at masked frames."""

    hidden: int = setting(128, "Hidden units of the head.", at_least=1, at_most=65_536)


@dataclass(frozen=True, kw_only=True)
class IntensityConfig(Objective):
    """Regression of the intensity of masked frames (EMS)."""

    hidden: int = setting(128, "Hidden units of the head.", at_least=1, at_most=65_536)


@dataclass(frozen=True, kw_only=True)
class DistillConfig(Objective):
    """Regression of the averaged layers of an EMA teacher (data2vec)."""

    top_layers: int = setting(
        8, "Averaged layers of the teacher, at most the encoder's.", at_least=1, at_most=1000
    )
    decoder: str = setting(
        "linear",
        "linear: of the last layer (data2vec). convolution: over frames (data2vec 2.0, sec. 3.2).",
        choices=("linear", "convolution"),
    )
    decoder_width: int = setting(
        384, "Channels of the convolution decoder.", at_least=1, at_most=65_536
    )
    decoder_layers: int = setting(4, "Layers of the decoder.", at_least=1, at_most=1000)
    decoder_kernel: int = setting(7, "Kernel of the decoder in frames.", at_least=1, at_most=65_536)
    decoder_groups: int = setting(
        16, "Groups of channels of the decoder.", at_least=1, at_most=65_536
    )


@dataclass(frozen=True, kw_only=True)
class ClustersConfig(Objective):
    """Prediction of the codes of hidden frames (HuBERT), written by `sersl cluster`."""

    books: tuple[str, ...] = setting(
        (), "Names of code books; several are predicted at once (P-TAPT)."
    )
    codes: tuple[int, ...] = setting((), "Number of codes of each of them.", at_least=2)
    similarity: str = setting(
        "cosine",
        "cosine: to learned codewords (HuBERT). linear: logits (P-TAPT).",
        choices=("cosine", "linear"),
    )
    width: int = setting(
        256, "Width of the compared vectors, or of the hidden layer.", at_least=1, at_most=65_536
    )
    temperature: float = setting(0.1, "Temperature of the cosine similarity.", above=0)


@dataclass(frozen=True, kw_only=True)
class BestRqConfig(Objective):
    """Prediction of the codes of a random projection of hidden frames (BEST-RQ, sec. 3.1)."""

    books: int = setting(1, "Number of independent projections.", at_least=1, at_most=1024)
    codes: int = setting(8192, "Codes of each projection.", at_least=2, at_most=1_048_576)
    width: int = setting(16, "Width of the projections.", at_least=1, at_most=65_536)


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig(Objective):
    """L1 reconstruction of hidden or altered log-mel features (MockingJay, TERA)."""

    hidden: int = setting(768, "Hidden units of the head.", at_least=1, at_most=65_536)


@dataclass(frozen=True, kw_only=True)
class ApcConfig(Objective):
    """L1 prediction of later log-mel features (APC); needs a causal encoder."""

    frames: int = setting(3, "Frames ahead; 3 = 60 ms (5 frames of 10 ms in s3prl).", at_least=1)


@dataclass(frozen=True, kw_only=True)
class NpcConfig(Objective):
    """L1 reconstruction of each frame from its surroundings (NPC); needs masked_conv."""

    groups: int = setting(4, "Groups of the quantized bottleneck.", at_least=1, at_most=1024)
    codes: int = setting(64, "Codes per group.", at_least=2, at_most=1_048_576)
    width: int = setting(512, "Width of the bottleneck.", at_least=1, at_most=65_536)
    gumbel: float = setting(1.0, "Gumbel temperature.", above=0)


@dataclass(frozen=True, kw_only=True)
class CpcConfig(Objective):
    """InfoNCE over future frames (CPC); needs a causal encoder."""

    steps: int = setting(
        12, "Frames ahead, each with a predictor of its own.", at_least=1, at_most=10_000
    )
    num_negatives: int = setting(128, "Negatives per frame.", at_least=1)
    negatives: str = setting(
        "speaker",
        "speaker: from all rows of the same speaker. utterance: from the row.",
        choices=("utterance", "speaker"),
    )


@dataclass(frozen=True, kw_only=True)
class PenaltyConfig(Objective):
    """Mean square of the features of frontend waveform (features_pen of fairseq)."""


@dataclass(frozen=True, kw_only=True)
class WorkersConfig(Objective):
    """Regression of descriptors of the clean signal by many small heads (PASE, PASE+)."""

    names: tuple[str, ...] = setting(
        ("waveform", "power", "mel", "gammatone", "mfcc", "functionals"),
        "waveform, power, power_long, mel, mel_long, gammatone, gammatone_long, mfcc, mfcc_long, "
        "prosody (of the annotation) and functionals (mean and deviation of mfcc over chunks).",
    )
    shares: tuple[float, ...] = setting((), "Weight of each; empty: 1.", at_least=0)
    balance: str = setting(
        "fixed",
        "fixed: weights by shares. uncertainty: learned weights too (1705.07115).",
        choices=("fixed", "uncertainty"),
    )
    frames: str = setting(
        "real",
        "real: predict every real frame. hidden: masked frames only.",
        choices=("real", "hidden"),
    )
    context: int = setting(
        3,
        "Frames predicted on each side; 7 frames of 10 ms in PASE+.",
        at_least=0,
        at_most=1000,
    )
    deltas: bool = setting(True, "Also predict slopes of spectra, filterbanks and cepstra.")
    hidden: int = setting(256, "Hidden units of a worker (PASE+).", at_least=1, at_most=65_536)
    chunk: int = setting(50, "Frames per chunk of functionals.", at_least=2)


@dataclass(frozen=True, kw_only=True)
class LayersConfig(Objective):
    """Regression of layers of the frozen teachers (DistilHuBERT, 2110.01900)."""

    layers: tuple[int, ...] = setting((4, 8, 12), "Layers of each teacher.", at_least=1)
    cosine_weight: float = setting(1.0, "Weight of the cosine loss beside L1.", at_least=0)


@dataclass(frozen=True, kw_only=True)
class VesperConfig(Objective):
    """Hierarchical and cross-layer regression of one frozen teacher (Vesper, 2307.10757)."""

    middle: int = setting(
        12, "Layer of the teacher that the student's middle layer predicts.", at_least=1
    )
    last: int = setting(
        24, "Layer of the teacher that the student's last layer predicts.", at_least=1
    )
    low_share: float = setting(
        1.0, "Weight of frames hidden from the input, at the middle layer.", at_least=0
    )
    high_share: float = setting(
        0.1, "Weight of frames hidden from the upper half, at the last layer.", at_least=0
    )
    cross_share: float = setting(
        1.0, "Weight of the last layer against the teacher's middle one.", at_least=0
    )
    span: int = setting(40, "Frames hidden together from the upper half.", at_least=1)
    fraction: float = setting(
        0.5, "Share of real frames hidden from the upper half.", above=0, at_most=1
    )


@dataclass(frozen=True, kw_only=True)
class ObjectivesConfig(Settings):
    """The objectives by name."""

    contrastive: ContrastiveConfig = field(default_factory=ContrastiveConfig)
    prosody: ProsodyConfig = field(default_factory=ProsodyConfig)
    intensity: IntensityConfig = field(default_factory=IntensityConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    utterance: UtteranceConfig = field(default_factory=UtteranceConfig)
    clusters: ClustersConfig = field(default_factory=ClustersConfig)
    best_rq: BestRqConfig = field(default_factory=BestRqConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    apc: ApcConfig = field(default_factory=ApcConfig)
    npc: NpcConfig = field(default_factory=NpcConfig)
    cpc: CpcConfig = field(default_factory=CpcConfig)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)
    information: InformationConfig = field(default_factory=InformationConfig)
    multiview: MultiviewConfig = field(default_factory=MultiviewConfig)
    supervised: SupervisedConfig = field(default_factory=SupervisedConfig)
    instances: InstancesConfig = field(default_factory=InstancesConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    layers: LayersConfig = field(default_factory=LayersConfig)
    vesper: VesperConfig = field(default_factory=VesperConfig)
    denoise: DenoiseConfig = field(default_factory=DenoiseConfig)
    functionals: FunctionalsConfig = field(default_factory=FunctionalsConfig)
    anchor: AnchorConfig = field(default_factory=AnchorConfig)
    statistics: StatisticsConfig = field(default_factory=StatisticsConfig)
