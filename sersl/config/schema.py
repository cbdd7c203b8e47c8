"""All settings of `sersl pretrain` and `sersl finetune`.

A config file (`configs/`) returns a ConfigDict with the values that differ from the defaults;
`sersl.config.load` turns it into `PretrainConfig` or `FinetuneConfig`. Every default, range and
choice is declared with its setting, see `sersl.config.setting`.
"""

from dataclasses import dataclass, field

from sersl.config.adaptation import AdaptationConfig
from sersl.config.auxiliary import DomainConfig, TasksConfig
from sersl.config.baseline import BaselineConfig
from sersl.config.conversation import ConversationConfig
from sersl.config.distortion import AugmentConfig, CombineConfig, DistortionConfig
from sersl.config.fusion import FusionConfig
from sersl.config.network import EncoderConfig, FrontendConfig, HeadsConfig, PoolingConfig
from sersl.config.objectives import ObjectivesConfig
from sersl.config.optimization import (
    CheckpointConfig,
    CollapseConfig,
    FinetuneTrainConfig,
    MeshConfig,
    OptimizerConfig,
    TeacherConfig,
    TrainConfig,
)
from sersl.config.setting import Settings, setting
from sersl.config.solver import FinetuneViewsConfig, SolverConfig, ViewsConfig
from sersl.config.student_input import (
    AlterationConfig,
    KnowledgeConfig,
    MaskingConfig,
    MixingConfig,
    ReductionConfig,
)
from sersl.config.training_ideas import CoTeachingConfig, DistillConfig, EnrolmentConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig(Settings):
    """Which utterances are read, and how they become global batches."""

    data_dir: str = setting("", "Folder that `sersl prepare` wrote to.")
    corpora: tuple[str, ...] = setting(("synthetic",), "Names of prepared corpora in data_dir.")
    weights: tuple[float, ...] = setting(
        (),
        "Share of rows of each corpus; with solver.kind ridge, of the weight of its rows. Empty: "
        "in proportion to its utterances.",
        above=0,
    )
    annotator: str = setting(
        "signal", "Annotator whose intensity and prosody are used, see `sersl annotate`."
    )
    seconds_per_batch: float = setting(64.0, "Audio of a global batch, padding included.", above=0)
    row_multiple: int = setting(
        8,
        "The rows of every batch are a multiple of this, itself a multiple of mesh.data * "
        "mesh.fsdp.",
        at_least=1,
    )
    num_buckets: int = setting(
        0,
        "Number of batch shapes, each compiled once; 0: as few as reach min_real_share.",
        at_least=0,
        at_most=1000,
    )
    min_real_share: float = setting(
        0.93,
        "Share of samples that are not padding, with num_buckets 0.",
        at_least=0,
        at_most=1,
    )
    max_seconds: float = setting(
        8.0, "Longer utterances are cropped at random in training.", above=0, at_most=86_400
    )
    min_seconds: float = setting(
        0.1, "Shorter utterances are left out of training and counted.", at_least=0
    )
    threads: int = setting(2, "Reading threads per process.", at_least=1, at_most=1024)
    processes: int = setting(
        0, "Reading processes; 0 reads in threads only.", at_least=0, at_most=1024
    )
    prefetch: int = setting(4, "Batches read ahead.", at_least=1, at_most=10_000)
    cache_gigabytes: float = setting(
        50.0, "Records cached on this machine when data_dir is the URL of a bucket.", above=0
    )
    max_corrupted: int = setting(
        10, "Damaged records per process that are replaced; one more stops the run.", at_least=0
    )


@dataclass(frozen=True, kw_only=True)
class LabelsConfig(Settings):
    """Which labels are predicted."""

    view: str = setting(
        "corpus",
        "A named set of categories, corpus (the categories that any corpus has), raw (the same, "
        "of the words as the corpora spell them), shared (those that all corpora have) or none.",
    )
    mapping: tuple[str, ...] = setting(
        (),
        "Pairs CATEGORY=CLASS that rename, merge or, without a class, leave out categories before "
        "labels.view is applied; * names all others. Or one JSON file with such an object.",
    )
    categories: tuple[str, ...] = setting(
        (), "Classes to predict, in this order; empty: all of labels.view."
    )
    kind: str = setting(
        "auto",
        "single: one category of each utterance. multi: several may apply, with a probability of "
        "each. auto: multi where a corpus lists several categories of an utterance.",
        choices=("auto", "single", "multi"),
    )
    votes_at_least: float = setting(
        0.5,
        "multi: raters' votes from which a category applies; below 1 as a share of the "
        "utterance's votes.",
        above=0,
    )
    secondary: bool = setting(
        False,
        "Count the secondary emotions of raters as votes: several categories may apply, and "
        "labels.votes_at_least below 1 is a share of the raters.",
    )
    dimensions: bool = setting(
        True, "Also predict the dimensions that the corpora have, such as arousal."
    )
    without_dimensions: tuple[str, ...] = setting((), "Names of dimensions that are not predicted.")
    anchored: bool = setting(
        False,
        "Also predict arousal_from_category and valence_from_category, the positions of the "
        "categories on the plane (docs/heads.md), learned from categories alone.",
    )
    soft: bool = setting(
        False, "Train on the distribution of the raters' votes where an utterance has votes."
    )


@dataclass(frozen=True, kw_only=True)
class ProtocolConfig(Settings):
    """Which speakers are trained on and which are tested."""

    name: str = setting("k-fold-by-speaker", "The evaluation protocol, see docs/protocols.md.")
    num_folds: int = setting(4, "k-fold-by-speaker and few-shot: number of folds.", at_least=2)
    file: str = setting(
        "",
        "file: JSON with the fold of each utterance. emobox-<corpus>: EmoBox's folder "
        "data/<corpus>.",
    )
    shots: int = setting(
        8,
        "few-shot: training utterances per class, and at most as many to validate.",
        at_least=1,
    )
    train_share: float = setting(
        1.0,
        "Share of each fold's training and validation utterances to use, the same of each class "
        "and speaker; at least one per class.",
        above=0,
        at_most=1,
    )
    test_corpora: tuple[str, ...] = setting(
        (), "cross-corpus: corpora that are tested and never trained on; empty: each in turn."
    )
    validation_fraction: float = setting(
        0.15,
        "Share of the training speakers held out for validation, at least one speaker.",
        at_least=0,
        below=1,
    )
    folds: tuple[str, ...] = setting((), "Names of the folds to run; empty: all.")
    final_model: bool = setting(
        True, "After the folds, train one model for release on all speakers."
    )
    allow_speaker_overlap: bool = setting(
        False, "Accept speakers that are both trained on and tested."
    )


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(Settings):
    """Everything `sersl pretrain` needs."""

    name: str = setting("pretrain", "Name of the run.")
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
    frozen_teachers: tuple[str, ...] = setting(
        (), "Workdirs or model folders whose encoders are frozen teachers."
    )
    kept_teachers: tuple[str, ...] = setting(
        (),
        "Workdirs or model folders of teachers whose statistics of whole utterances are computed "
        "once and kept beside each corpus, for objectives.statistics.",
    )
    views: ViewsConfig = field(default_factory=ViewsConfig)
    collapse: CollapseConfig = field(default_factory=CollapseConfig)
    unfreeze: tuple[tuple[str, int], ...] = setting(
        ((r".*", 0),),
        "(pattern, step from which it trains, -1 for never) for every parameter path; the first "
        "match wins.",
        at_least=-1,
    )
    rate_scales: tuple[tuple[str, float], ...] = setting(
        ((r".*", 1.0),),
        "(pattern, factor on the learning rate) for every parameter path; the first match wins.",
        at_least=0,
    )
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    init_from: str = setting("", "Workdir or model folder that gives the initial weights.")
    reduction: ReductionConfig = field(default_factory=ReductionConfig)
    resume_from: str = setting(
        "", "Workdir of another run to continue, with its step and optimizer state."
    )


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(Settings):
    """Everything `sersl finetune` needs."""

    name: str = setting("finetune", "Name of the run.")
    data: DataConfig = field(default_factory=DataConfig)
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    # Their sizes come from init_from where that is given.
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    pooling: PoolingConfig = field(default_factory=PoolingConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    conversation: ConversationConfig = field(default_factory=ConversationConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)
    views: FinetuneViewsConfig = field(default_factory=FinetuneViewsConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    tasks: TasksConfig = field(default_factory=TasksConfig)
    domain: DomainConfig = field(default_factory=DomainConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    distortion: DistortionConfig = field(default_factory=DistortionConfig)
    combine: CombineConfig = field(default_factory=CombineConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    co_teaching: CoTeachingConfig = field(default_factory=CoTeachingConfig)
    enrolment: EnrolmentConfig = field(default_factory=EnrolmentConfig)
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    unfreeze: tuple[tuple[str, int], ...] = setting(
        ((r".*", 0),),
        "(pattern, step from which it trains, -1 for never) for every parameter path; the first "
        "match wins.",
        at_least=-1,
    )
    store: str = setting(
        "auto",
        "auto: where the encoder, or its frontend and lower layers, never train and their input "
        "never changes, compute their outputs once, keep them beside the corpus and train from "
        "them. off: run all of it in every step.",
        choices=("auto", "off"),
    )
    encoder_learning_rate_scale: float = setting(
        1.0, "Factor on the learning rate of the encoder.", at_least=0
    )
    evaluate_every_steps: int = setting(
        100, "Steps between two evaluations on the validation speakers.", at_least=1
    )
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: FinetuneTrainConfig = field(default_factory=FinetuneTrainConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    init_from: str = setting(
        "",
        "Workdir of `sersl pretrain` or model folder that gives the initial weights; empty: train "
        "from scratch.",
    )
