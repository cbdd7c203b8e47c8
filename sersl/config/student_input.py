"""Settings of what the student sees in pretraining: masks, altered features, mixed speech."""

from dataclasses import dataclass

from sersl.config.setting import Settings, setting


@dataclass(frozen=True, kw_only=True)
class MaskingConfig(Settings):
    """Which frames are hidden from the student."""

    rule: str = setting(
        "intensity",
        "uniform, intensity (more often where the speech is intense), threshold (EMS), bands "
        "(Vesper) or none.",
    )
    replace: str = setting(
        "embedding",
        "embedding: a learned vector replaces a hidden frame. features: see alteration. remove: "
        "the encoder gets the visible frames only (data2vec 2.0).",
        choices=("embedding", "features", "remove"),
    )
    clones: int = setting(
        1,
        "Number of masked copies per row, which share one teacher pass (data2vec 2.0).",
        at_least=1,
        at_most=1024,
    )
    fraction: float = setting(
        0.5, "Share of real frames hidden; 0.49 in wav2vec 2.0 (sec. 4.2).", above=0, at_most=1
    )
    span: int = setting(
        10, "Frames hidden together; 10 = 200 ms (wav2vec 2.0, sec. 4.2).", at_least=1
    )
    temperature: float = setting(
        0.5,
        "intensity: 0 hides the most intense spans, a large value draws uniformly.",
        at_least=0,
    )
    threshold: float = setting(
        0.65,
        "threshold: spans of at least this mean intensity are hidden first (EMS).",
        at_least=0,
        at_most=1,
    )


@dataclass(frozen=True, kw_only=True)
class ReductionConfig(Settings):
    """A smaller copy of the encoder of init_from, fitted in closed form before the first step."""

    seconds: float = setting(
        0.0,
        "Audio of the corpora to fit it on; encoder.num_layers, width, num_heads and mlp_width are "
        "then those of this config. 0: the encoder has the sizes of init_from.",
        at_least=0,
        at_most=3600,
    )
    crop_seconds: float = setting(
        2.4, "Longest piece of an utterance to fit it on.", at_least=0.5, at_most=30
    )


@dataclass(frozen=True, kw_only=True)
class AlterationConfig(Settings):
    """How hidden features are altered with `masking.replace` features."""

    zero_share: float = setting(
        0.8,
        "Share of rows whose hidden frames become zero, the mean (MockingJay, 1910.12638, "
        "sec. 2.2).",
        at_least=0,
        at_most=1,
    )
    swap_share: float = setting(
        0.1,
        "Share of rows whose hidden frames become other frames of the row; the remaining rows "
        "stay as they are.",
        at_least=0,
        at_most=1,
    )
    band_share: float = setting(
        0.0,
        "Widest band of mel filters set to zero in every frame; 0.2 in TERA.",
        at_least=0,
        below=1,
    )
    noise_share: float = setting(
        0.0,
        "Share of rows with added Gaussian noise (TERA's magnitude).",
        at_least=0,
        at_most=1,
    )
    noise_std: float = setting(0.2, "Standard deviation of that noise.", at_least=0)


@dataclass(frozen=True, kw_only=True)
class MixingConfig(Settings):
    """Another utterance mixed into the student's input and not into its targets (WavLM)."""

    probability: float = setting(
        0.0, "Probability for a row; 0.2 in WavLM (sec. 3.2).", at_least=0, at_most=1
    )
    max_share: float = setting(0.5, "Longest mixed part of a row.", above=0, at_most=1)
    lowest_db: float = setting(
        -5.0, "Lowest energy of the row over that of the other utterance, drawn uniformly."
    )
    highest_db: float = setting(5.0, "Highest energy of the row over that of the other utterance.")


@dataclass(frozen=True, kw_only=True)
class KnowledgeConfig(Settings):
    """Further uses of emotion intensity, besides the masking rule and its regression."""

    input: bool = setting(False, "Add the intensity of visible frames to the input of the encoder.")
    input_dropout: float = setting(
        0.5,
        "Probability of a row without it, which is what fine-tuning and prediction see.",
        at_least=0,
        below=1,
    )
    loss_weight: float = setting(
        0.0,
        "0 weights the losses of all frames alike, 1 in proportion to their intensity, with mean "
        "1 per utterance.",
        at_least=0,
        at_most=1,
    )
