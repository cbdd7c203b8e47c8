"""Settings of what `sersl annotate --fit` learns: the ranker and the strength network."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class SpeakerConfig:
    """How features are measured against what is usual for the speaker."""

    normalize: bool = True  # by mean and deviation of the speaker's utterances; False: of all
    utterances: int = 64  # of each speaker that are heard for it, evenly over the corpus
    prior: float = 4.0  # utterances that the average speaker counts for, where there are few


@dataclass(frozen=True, kw_only=True)
class RankerConfig:
    """Relative attributes over the functionals of utterances."""

    # what is above what: neutral: emotional above neutral; intensity: by the corpus's intensities
    supervision: str = "neutral"
    order_weight: float = 0.03  # C of ordered pairs
    similar_weight: float = 0.0  # C of pairs alike; those of a category hide what we look for
    max_pairs: int = 6000  # ordered, and as many similar, per category
    min_gap: float = 0.1  # of intensity, for a pair to be ordered
    min_utterances: int = 8  # of a category, for a ranker of its own
    by_category: bool = True  # False: one ranker for all that is emotional
    category_weight: float = 0.01  # C of the classifier that weighs the rankers without a label
    speaker: SpeakerConfig = field(default_factory=SpeakerConfig)
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class StrengthConfig:
    """A network that gives each frame an intensity (StrengthNet, Liu et al. 2021)."""

    # what it is trained on: ranker: the scores of the ranker in `ranker`; intensity: the corpus's
    supervision: str = "ranker"
    ranker: str = ""  # folder of a fitted ranker
    num_mels: int = 40
    width: int = 64  # of convolutions
    num_convolutions: int = 3
    kernel: int = 3  # frames = 60 ms
    recurrent: int = 48  # units of the LSTM in each direction
    dropout: float = 0.2
    utterance_weight: float = 1.0  # mean absolute error of the mean over frames
    frame_weight: float = 0.2  # mean absolute error of every frame; 1 in the source
    category_weight: float = 0.5  # cross-entropy of the category; 1 in the source
    num_steps: int = 600
    batch: int = 32  # utterances, or stretches of them
    crop_seconds: float = 3.0
    learning_rate: float = 2e-3  # peak; linear warm-up over a tenth, then cosine to 0
    weight_decay: float = 0.05
    speaker: SpeakerConfig = field(default_factory=SpeakerConfig)
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Everything `sersl annotate --fit` needs besides corpora and folders."""

    ranker: RankerConfig = field(default_factory=RankerConfig)
    strength: StrengthConfig = field(default_factory=StrengthConfig)
