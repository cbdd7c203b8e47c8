"""Settings of the objectives of pretraining; each is logged, and a weight of 0 leaves it out."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig:
    """InfoNCE over quantised frames (wav2vec 2.0, sec. 3.2)."""

    weight: float = 1.0
    temperature: float = 0.1  # of the cosine similarity
    num_negatives: int = 100  # from other masked frames of the same utterance
    diversity_weight: float = 0.1
    width: int = 128  # of the space of comparison; 256 in wav2vec 2.0 BASE
    groups: int = 2
    codes: int = 64  # per group; 320 in wav2vec 2.0 BASE
    gumbel_start: float = 2.0
    gumbel_end: float = 0.5
    gumbel_decay: float = 0.999995  # per step


@dataclass(frozen=True, kw_only=True)
class ProsodyConfig:
    """Regression of log-F0, voicing, energy and their deltas at masked frames."""

    weight: float = 1.0
    hidden: int = 128


@dataclass(frozen=True, kw_only=True)
class IntensityConfig:
    """Regression of the intensity of masked frames (EMS)."""

    weight: float = 0.0
    hidden: int = 128


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """Regression of an EMA teacher's averaged layers (data2vec)."""

    weight: float = 0.0
    top_layers: int = 8  # averaged targets; at most the encoder's layers
    # linear: of the last layer (data2vec); convolution: over frames (data2vec 2.0, sec. 3.2)
    decoder: str = "linear"
    decoder_width: int = 384
    decoder_layers: int = 4
    decoder_kernel: int = 7  # frames
    decoder_groups: int = 16


@dataclass(frozen=True, kw_only=True)
class UtteranceConfig:
    """Regression of the teacher's mean over the utterance (emotion2vec)."""

    weight: float = 0.0
    # token: by one learned token in front of the frames; chunk: by the mean of several; global: by
    # the mean of the frames
    kind: str = "chunk"
    tokens: int = 10  # of chunk
    top_layers: int = 8  # averaged targets; at most the encoder's layers


@dataclass(frozen=True, kw_only=True)
class ClustersConfig:
    """Prediction of the codes of hidden frames (HuBERT), which `sersl cluster` wrote."""

    weight: float = 0.0
    books: tuple[str, ...] = ()  # names of code sidecars; several are predicted at once (P-TAPT)
    codes: tuple[int, ...] = ()  # codes in each of them
    similarity: str = "cosine"  # cosine: with learned codewords (HuBERT); linear: logits (P-TAPT)
    width: int = 256  # of the space of comparison, or of the hidden layer
    temperature: float = 0.1  # of the cosine similarity


@dataclass(frozen=True, kw_only=True)
class BestRqConfig:
    """Prediction of the codes of a random projection of hidden frames (BEST-RQ, sec. 3.1)."""

    weight: float = 0.0
    books: int = 1  # independent projections
    codes: int = 8192  # of each
    width: int = 16  # of the projections


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
    """L1 reconstruction of hidden or altered log-mel features (MockingJay, TERA)."""

    weight: float = 0.0
    hidden: int = 768  # units of the head


@dataclass(frozen=True, kw_only=True)
class ApcConfig:
    """L1 prediction of later log-mel features (APC); takes a causal encoder."""

    weight: float = 0.0
    frames: int = 3  # ahead, 60 ms (5 frames of 10 ms in s3prl)


@dataclass(frozen=True, kw_only=True)
class NpcConfig:
    """L1 reconstruction of every frame from its surroundings (NPC); takes masked_conv."""

    weight: float = 0.0
    groups: int = 4  # of the bottleneck's codes
    codes: int = 64  # per group
    width: int = 512  # of the bottleneck
    gumbel: float = 1.0  # temperature


@dataclass(frozen=True, kw_only=True)
class CpcConfig:
    """InfoNCE over the frames to come (CPC); takes a causal encoder."""

    weight: float = 0.0
    steps: int = 12  # frames ahead, each predicted
    num_negatives: int = 128
    negatives: str = "speaker"  # speaker: of all rows of the same speaker; utterance: of the row


@dataclass(frozen=True, kw_only=True)
class PenaltyConfig:
    """Mean square of the waveform frontend's features (wav2vec 2.0; fairseq's features_pen)."""

    weight: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ObjectivesConfig:
    """The terms of the pretraining loss; each is logged, a weight of 0 leaves one out."""

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
