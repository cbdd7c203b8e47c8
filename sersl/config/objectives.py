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
class WorkersConfig:
    """Regression of what is known of the clean signal, by many small workers (PASE, PASE+)."""

    weight: float = 0.0
    # waveform, power, power_long, mel, mel_long, gammatone, gammatone_long, mfcc, mfcc_long,
    # prosody (of the annotation), functionals (mean and deviation of mfcc over chunks)
    names: tuple[str, ...] = ("waveform", "power", "mel", "gammatone", "mfcc", "functionals")
    shares: tuple[float, ...] = ()  # weight of each; empty: 1
    balance: str = "fixed"  # fixed: by shares; uncertainty: learned as well (1705.07115)
    frames: str = "real"  # real: every real frame is predicted; hidden: masked ones only
    context: int = 3  # frames on each side predicted too; 7 of 10 ms in PASE+
    deltas: bool = True  # slopes beside spectra, filterbanks and cepstra
    hidden: int = 256  # units of a worker (PASE+)
    chunk: int = 50  # frames of functionals


@dataclass(frozen=True, kw_only=True)
class InformationConfig:
    """Telling what is of the same utterance from what is not (PASE's LIM and GIM)."""

    weight: float = 0.0
    local_share: float = 1.0  # of frames with frames
    global_share: float = 1.0  # of chunks with chunks
    chunk: int = 50  # frames
    hidden: int = 256  # units of the discriminators


@dataclass(frozen=True, kw_only=True)
class MultiviewConfig:
    """Contrast between views of an utterance, over the whole batch (2406.07900)."""

    weight: float = 0.0
    views: tuple[str, ...] = ("speech", "mel", "functionals")
    hidden: int = 256  # units of the encoders of mel and functionals, and of the projections
    width: int = 128  # of the space of comparison
    temperature: float = 0.1  # of the cosine similarity


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig:
    """Contrast of utterances that belong together with the others (2004.11362)."""

    weight: float = 0.0
    # category: of one (pseudo-)label; intensity: about equally intense; both: the two at once
    pairs: str = "category"
    tolerance: float = 0.1  # largest difference of mean intensity, in 0..1
    hidden: int = 256
    width: int = 128
    temperature: float = 0.1


@dataclass(frozen=True, kw_only=True)
class InstancesConfig:
    """An utterance and its distortions are one (SimCLR, BYOL); takes distortions."""

    weight: float = 0.0
    loss: str = "nt_xent"  # nt_xent: against the batch; bootstrap: of an EMA teacher's view (BYOL)
    hidden: int = 512  # units of projection and predictor
    width: int = 128
    temperature: float = 0.1  # of nt_xent


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """Contrast with embeddings of texts that describe the utterance (GEmo-CLAP, 2306.07848)."""

    weight: float = 0.0
    file: str = ""  # .npz with names [K] and embeddings [K, E]
    # category: names are categories; acoustics: they are "pitch=high" and the like; both: each row
    # is described by the mean of the two
    describe: str = "category"
    category_share: float = 0.8  # of both: of the targets, the rest goes by acoustics
    hidden: int = 256
    width: int = 128
    scale: float = 2.66  # log of the cosines' first factor (CLIP: 1 / 0.07)


@dataclass(frozen=True, kw_only=True)
class LayersConfig:
    """Regression of layers of the frozen teachers (DistilHuBERT, 2110.01900)."""

    weight: float = 0.0
    layers: tuple[int, ...] = (4, 8, 12)  # of each teacher
    cosine_weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class VesperConfig:
    """Hierarchical and cross-layer regression of one frozen teacher (Vesper, 2307.10757)."""

    weight: float = 0.0
    middle: int = 12  # layer of the teacher, for the student's middle layer
    last: int = 24  # layer of the teacher, for the student's last layer
    low_share: float = 1.0  # of frames hidden from the input, at the middle layer
    high_share: float = 0.1  # of frames hidden from the upper half, at the last layer
    cross_share: float = 1.0  # of every frame, last layer with the teacher's middle one
    span: int = 40  # frames hidden together from the upper half
    fraction: float = 0.5  # of real frames, hidden from the upper half


@dataclass(frozen=True, kw_only=True)
class DenoiseConfig:
    """What the student says of distorted speech is what a teacher says of clean speech."""

    weight: float = 0.0
    teacher: str = "average"  # average: of the student (EMA); frozen: the first frozen teacher
    frame_share: float = 1.0  # of the distance between frames
    contrast_share: float = 1.0  # of the contrast between utterances of the batch
    width: int = 128
    temperature: float = 0.1


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
    workers: WorkersConfig = field(default_factory=WorkersConfig)
    information: InformationConfig = field(default_factory=InformationConfig)
    multiview: MultiviewConfig = field(default_factory=MultiviewConfig)
    supervised: SupervisedConfig = field(default_factory=SupervisedConfig)
    instances: InstancesConfig = field(default_factory=InstancesConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    layers: LayersConfig = field(default_factory=LayersConfig)
    vesper: VesperConfig = field(default_factory=VesperConfig)
    denoise: DenoiseConfig = field(default_factory=DenoiseConfig)
