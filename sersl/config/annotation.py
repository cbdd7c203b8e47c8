"""Settings of the annotators that `sersl annotate --fit` fits: ranker and strength network."""

from dataclasses import dataclass, field

from sersl.config.setting import Settings, setting


@dataclass(frozen=True, kw_only=True)
class SpeakerConfig(Settings):
    """Normalization of features by speaker."""

    normalize: bool = setting(
        True,
        "Standardize features with the mean and standard deviation of the speaker's utterances; "
        "false: of all utterances.",
    )
    utterances: int = setting(
        64, "Utterances of each speaker used for it, spread evenly over the corpus.", at_least=1
    )
    prior: float = setting(
        4.0,
        "Utterances that the average speaker counts for, which matters where there are few.",
        at_least=0,
    )


@dataclass(frozen=True, kw_only=True)
class RankerConfig(Settings):
    """Relative attributes over the functionals of utterances."""

    supervision: str = setting(
        "neutral",
        "neutral: every emotional utterance ranks above neutral ones. intensity: utterances rank "
        "by the intensities of the corpus.",
        choices=("neutral", "intensity"),
    )
    order_weight: float = setting(0.03, "C of ordered pairs.", above=0)
    similar_weight: float = setting(
        0.0,
        "C of similar pairs; those of one category hide differences within it.",
        at_least=0,
    )
    max_pairs: int = setting(
        6000, "Ordered pairs, and as many similar ones, per category.", at_least=1
    )
    min_gap: float = setting(
        0.1, "Smallest difference of intensity for a pair to be ordered.", above=0
    )
    min_utterances: int = setting(
        8, "Utterances that a category needs for a ranker of its own.", at_least=1
    )
    by_category: bool = setting(True, "False: one ranker for all emotional utterances.")
    category_weight: float = setting(
        0.01, "C of the classifier that weights the rankers of an unlabelled utterance.", above=0
    )
    speaker: SpeakerConfig = field(default_factory=SpeakerConfig)
    seed: int = setting(0, "Seed of the drawn pairs.", at_least=0, at_most=2**32 - 1)


@dataclass(frozen=True, kw_only=True)
class StrengthConfig(Settings):
    """A network that gives each frame an intensity (StrengthNet, Liu et al. 2021)."""

    supervision: str = setting(
        "ranker",
        "ranker: train on the scores of the ranker in strength.ranker. intensity: on the "
        "intensities of the corpus.",
        choices=("ranker", "intensity"),
    )
    ranker: str = setting("", "Folder of a fitted ranker.")
    num_mels: int = setting(40, "Mel filters.", at_least=1, at_most=1024)
    width: int = setting(64, "Channels of the convolutions.", at_least=1, at_most=65_536)
    num_convolutions: int = setting(3, "Number of convolutions.", at_least=0, at_most=1000)
    kernel: int = setting(
        3, "Kernel of the convolutions; 3 frames = 60 ms.", at_least=1, at_most=65_536
    )
    recurrent: int = setting(48, "Units of the LSTM in each direction.", at_least=1, at_most=65_536)
    dropout: float = setting(0.2, "Dropout.", at_least=0, below=1)
    utterance_weight: float = setting(
        1.0, "Weight of the absolute error of the mean over frames.", at_least=0
    )
    frame_weight: float = setting(
        0.2, "Weight of the mean absolute error of each frame; 1 in the source.", at_least=0
    )
    category_weight: float = setting(
        0.5, "Weight of the cross-entropy of the category; 1 in the source.", at_least=0
    )
    num_steps: int = setting(600, "Number of updates.", at_least=1)
    batch: int = setting(32, "Rows of a batch.", at_least=1)
    crop_seconds: float = setting(3.0, "Length of a row.", at_least=0.1, at_most=3600)
    learning_rate: float = setting(
        2e-3,
        "Peak learning rate, after linear warm-up over a tenth of the steps and before a cosine "
        "to 0.",
        above=0,
    )
    weight_decay: float = setting(0.05, "Decoupled weight decay.", at_least=0)
    speaker: SpeakerConfig = field(default_factory=SpeakerConfig)
    seed: int = setting(0, "Seed of weights and batches.", at_least=0, at_most=2**32 - 1)


@dataclass(frozen=True, kw_only=True)
class FitConfig(Settings):
    """Everything `sersl annotate --fit` needs besides corpora and folders."""

    ranker: RankerConfig = field(default_factory=RankerConfig)
    strength: StrengthConfig = field(default_factory=StrengthConfig)
