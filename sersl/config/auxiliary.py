"""Settings of what fine-tuning learns beside emotion, and of adaptation to another domain."""

from dataclasses import dataclass

from sersl.config.setting import Settings, setting


@dataclass(frozen=True, kw_only=True)
class TasksConfig(Settings):
    """Other labels that are learned beside emotion; their heads are not released."""

    gender_weight: float = setting(0.0, "Weight of recognizing the gender.", at_least=0)
    speaker_weight: float = setting(0.0, "Weight of recognizing the speaker.", at_least=0)
    language_weight: float = setting(0.0, "Weight of recognizing the language.", at_least=0)
    sentiment_weight: float = setting(
        0.0, "Weight of recognizing the sentiment, a column of the corpus's own.", at_least=0
    )
    transcript_weight: float = setting(
        0.0, "Weight of transcribing the text by characters (CTC).", at_least=0
    )
    adversary: str = setting(
        "none",
        "speaker or corpus: unlearn what identifies it, by gradient reversal (DANN).",
        choices=("none", "speaker", "corpus"),
    )
    adversary_weight: float = setting(1.0, "Weight of the adversary.", at_least=0)
    weighting: str = setting(
        "fixed",
        "fixed: weights of all losses as set. uncertainty: also learned, one per loss (Kendall).",
        choices=("fixed", "uncertainty"),
    )


@dataclass(frozen=True, kw_only=True)
class DomainConfig(Settings):
    """Adaptation to the test side's audio, without its labels."""

    kind: str = setting(
        "none",
        "Unlabelled utterances of the test side are trained on beside the labelled ones: dann "
        "(adversary), mdd (adversary that disagrees on categories), mmd, coral or ot (distances), "
        "or pseudo_labels (source-free).",
        choices=("none", "dann", "mdd", "mmd", "coral", "ot", "pseudo_labels"),
    )
    weight: float = setting(1.0, "Weight of the loss between the two sides.", at_least=0)
    source_share: float = setting(
        0.5,
        "pseudo_labels: share of the steps that train on labels, before those on the test side's "
        "audio alone.",
        above=0,
        below=1,
    )
    confidence: float = setting(
        0.9, "pseudo_labels: least probability of a pseudo-label.", at_least=0, at_most=1
    )
    margin: float = setting(4.0, "mdd: weight of agreement on the labelled side (gamma).", above=0)
    ot_entropy: float = setting(
        0.05, "ot: weight of the entropy of the plan, with a mean cost of 1.", above=0
    )
    ot_iterations: int = setting(
        50, "ot: iterations of Sinkhorn's algorithm.", at_least=1, at_most=10_000
    )
    normalize: str = setting(
        "none",
        "speaker or corpus: standardize kept outputs by those of the same speaker or corpus, also "
        "of the test side.",
        choices=("none", "speaker", "corpus"),
    )
