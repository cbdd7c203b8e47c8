"""Settings of the objectives on whole utterances; see `sersl.config.objectives`."""

from dataclasses import dataclass

from sersl.config.objective import Objective
from sersl.config.setting import setting


@dataclass(frozen=True, kw_only=True)
class UtteranceConfig(Objective):
    """Regression of the teacher's mean over the utterance (emotion2vec)."""

    kind: str = setting(
        "chunk",
        "token: predict it from one learned token before the frames. chunk: from the mean of "
        "several tokens. global: from the mean of the frames.",
        choices=("token", "chunk", "global"),
    )
    tokens: int = setting(10, "chunk: number of tokens.", at_least=1, at_most=10_000)
    top_layers: int = setting(
        8, "Averaged layers of the teacher, at most the encoder's.", at_least=1, at_most=1000
    )


@dataclass(frozen=True, kw_only=True)
class InformationConfig(Objective):
    """Discrimination of the same from another utterance (PASE's LIM and GIM)."""

    local_share: float = setting(1.0, "Weight of frames against frames.", at_least=0)
    global_share: float = setting(1.0, "Weight of chunks against chunks.", at_least=0)
    chunk: int = setting(50, "Frames per chunk.", at_least=1)
    hidden: int = setting(256, "Hidden units of the discriminators.", at_least=1, at_most=65_536)


@dataclass(frozen=True, kw_only=True)
class MultiviewConfig(Objective):
    """Contrast between views of an utterance over the whole batch (2406.07900)."""

    views: tuple[str, ...] = setting(
        ("speech", "mel", "functionals"), "speech, and one or more of mel and functionals."
    )
    hidden: int = setting(
        256,
        "Hidden units of the encoders of mel and functionals and of the projections.",
        at_least=1,
        at_most=65_536,
    )
    width: int = setting(128, "Width of the compared vectors.", at_least=1, at_most=65_536)
    temperature: float = setting(0.1, "Temperature of the cosine similarity.", above=0)


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig(Objective):
    """Supervised contrast between utterances (2004.11362)."""

    pairs: str = setting(
        "category",
        "Positives have the same (pseudo-)category, a similar mean intensity, or both.",
        choices=("category", "intensity", "both"),
    )
    tolerance: float = setting(
        0.1, "Largest difference of the mean intensity of positives.", at_least=0, at_most=1
    )
    hidden: int = setting(256, "Hidden units of the projection.", at_least=1, at_most=65_536)
    width: int = setting(128, "Width of the compared vectors.", at_least=1, at_most=65_536)
    temperature: float = setting(0.1, "Temperature of the cosine similarity.", above=0)


@dataclass(frozen=True, kw_only=True)
class InstancesConfig(Objective):
    """Two distortions of an utterance are a pair (SimCLR, BYOL); needs distortions."""

    loss: str = setting(
        "nt_xent",
        "nt_xent: contrast with the batch (SimCLR). bootstrap: an EMA teacher's view (BYOL).",
        choices=("nt_xent", "bootstrap"),
    )
    hidden: int = setting(
        512, "Hidden units of projection and predictor.", at_least=1, at_most=65_536
    )
    width: int = setting(128, "Width of the compared vectors.", at_least=1, at_most=65_536)
    temperature: float = setting(0.1, "nt_xent: temperature of the cosine similarity.", above=0)


@dataclass(frozen=True, kw_only=True)
class LanguageConfig(Objective):
    """Contrast with embeddings of texts that describe the utterance (GEmo-CLAP, 2306.07848)."""

    file: str = setting("", "An .npz with names [K] and embeddings [K, E] of the texts.")
    describe: str = setting(
        "category",
        "category: the names are categories. acoustics: they are such as pitch=high. both: each "
        "row has the mean of the two.",
        choices=("category", "acoustics", "both"),
    )
    category_share: float = setting(
        0.8, "both: share of the category in the targets.", at_least=0, at_most=1
    )
    hidden: int = setting(256, "Hidden units of the projection.", at_least=1, at_most=65_536)
    width: int = setting(128, "Width of the compared vectors.", at_least=1, at_most=65_536)
    scale: float = setting(
        2.66, "Initial log of the factor on the cosines (CLIP: 1 / 0.07).", at_least=0, at_most=80
    )


@dataclass(frozen=True, kw_only=True)
class DenoiseConfig(Objective):
    """Agreement of distorted speech with a teacher's output for clean speech."""

    teacher: str = setting(
        "average",
        "average: the EMA of the student. frozen: the first frozen teacher.",
        choices=("average", "frozen"),
    )
    frame_share: float = setting(1.0, "Weight of the distance between frames.", at_least=0)
    contrast_share: float = setting(
        1.0, "Weight of the contrast between utterances of the batch.", at_least=0
    )
    width: int = setting(128, "Width of the compared vectors.", at_least=1, at_most=65_536)
    temperature: float = setting(0.1, "Temperature of the cosine similarity.", above=0)


@dataclass(frozen=True, kw_only=True)
class FunctionalsConfig(Objective):
    """Regression of the functionals of the utterance: pitch, loudness, spectrum, rhythm."""

    hidden: int = setting(256, "Hidden units of the head.", at_least=1, at_most=65_536)


@dataclass(frozen=True, kw_only=True)
class StatisticsConfig(Objective):
    """Regression of the teachers' statistics over the utterance, from kept_teachers."""

    layers: tuple[int, ...] = setting(
        (2, 3, 4, 5),
        "Hidden states of each teacher whose mean and standard deviation over the utterance are "
        "predicted; 0 is the input of its first layer.",
        at_least=0,
    )


@dataclass(frozen=True, kw_only=True)
class AnchorConfig(Objective):
    """Distance to the start (DELTA, 1901.09229).

    That of every layer to the first of frozen_teachers or, with encoder.side_layers, that of the
    side branch to the layer that it reads, without a teacher.
    """
