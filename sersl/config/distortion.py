"""Settings of changes to the audio: distortion, augmentation, and rows made of two rows."""

from dataclasses import dataclass

from sersl.config.setting import Settings, setting


@dataclass(frozen=True, kw_only=True)
class DistortionConfig(Settings):
    """Distortions of the input waveform; each is off at probability 0.

    In pretraining the targets and the teachers use the undistorted waveform.
    """

    speed_probability: float = setting(
        0.0,
        "Play a row faster or slower, which changes pitch and length; fine-tuning only.",
        at_least=0,
        at_most=1,
    )
    speed_range: float = setting(
        0.1, "Factor drawn uniformly from 1 - range to 1 + range.", at_least=0, below=1
    )
    pitch_probability: float = setting(
        0.0, "Shift the pitch and keep the length.", at_least=0, at_most=1
    )
    pitch_semitones: float = setting(
        2.0, "Shift drawn uniformly from -semitones to semitones.", at_least=0, at_most=120
    )
    vtlp_probability: float = setting(
        0.0, "Shift the formants (vocal tract length perturbation).", at_least=0, at_most=1
    )
    vtlp_range: float = setting(
        0.1,
        "Factor drawn uniformly from 1 - range to 1 + range (Etienne et al. 2018).",
        at_least=0,
        below=1,
    )
    shuffle_probability: float = setting(
        0.0, "Reorder pieces of a row; fine-tuning only.", at_least=0, at_most=1
    )
    shuffle_pieces: int = setting(4, "Number of pieces.", at_least=2, at_most=10_000)
    reverb_probability: float = setting(0.0, "Add reverberation.", at_least=0, at_most=1)
    reverb_corpora: tuple[str, ...] = setting(
        (),
        "Prepared corpora of recorded impulse responses; empty simulates rooms with the next "
        "three settings.",
    )
    reverb_min_seconds: float = setting(0.1, "Shortest reverberation time T60.", above=0)
    reverb_max_seconds: float = setting(0.6, "Longest reverberation time T60.", above=0, at_most=60)
    reverb_direct_db: float = setting(3.0, "Power of the direct sound over that of the echoes.")
    noise_probability: float = setting(0.0, "Add noise.", at_least=0, at_most=1)
    noise_corpora: tuple[str, ...] = setting(
        (), "Prepared corpora of recorded noise, music or babble; empty generates coloured noise."
    )
    noise_colour: str = setting("any", "Colour of generated noise: white, pink, brown or any.")
    noise_min_snr_db: float = setting(0.0, "Lowest signal-to-noise ratio; 0, 5 or 10 in PASE+.")
    noise_max_snr_db: float = setting(10.0, "Highest signal-to-noise ratio.")
    band_drop_probability: float = setting(
        0.0, "Remove a band of frequencies.", at_least=0, at_most=1
    )
    band_drop_hz: float = setting(
        2000.0, "Widest band; the width is drawn uniformly from 0.", above=0, at_most=8000
    )
    downsample_probability: float = setting(
        0.0, "Remove everything above half of downsample_hz.", at_least=0, at_most=1
    )
    downsample_hz: float = setting(8000.0, "Sampling rate that is imitated.", above=0)
    clip_probability: float = setting(0.0, "Clip the amplitude.", at_least=0, at_most=1)
    clip_min: float = setting(
        0.1,
        "Lowest clipping level as a share of the peak; 0.1, 0.3 or 0.5 in PASE+.",
        above=0,
        at_most=1,
    )
    clip_max: float = setting(0.5, "Highest clipping level.", above=0, at_most=1)
    chop_probability: float = setting(0.0, "Silence short pieces.", at_least=0, at_most=1)
    chop_pieces: int = setting(4, "Number of silenced pieces.", at_least=1, at_most=10_000)
    chop_seconds: float = setting(
        0.05, "Mean length of a piece; the standard deviation is half of it (PASE+).", above=0
    )
    gain_probability: float = setting(0.0, "Change the level.", at_least=0, at_most=1)
    gain_db: float = setting(
        6.0, "Gain drawn uniformly from -gain_db to gain_db.", at_least=0, at_most=200
    )


@dataclass(frozen=True, kw_only=True)
class CombineConfig(Settings):
    """Training rows of fine-tuning that combine two rows of the batch."""

    mixup_probability: float = setting(
        0.0, "Probability that a row is mixed with another.", at_least=0, at_most=1
    )
    mixup_alpha: float = setting(
        0.4, "The share of the row is drawn from Beta(alpha, alpha).", above=0
    )
    mixup_by_length: bool = setting(
        True, "Weight labels by share times length (label-adaptive mixup)."
    )
    mixup_pairs: str = setting(
        "any",
        "any: all rows. same: rows of the same category. emix: of the same category, or one "
        "category with neutral, which keeps the label of the other.",
        choices=("any", "same", "emix"),
    )
    copy_paste_probability: float = setting(
        0.0,
        "Probability that another row of the same category is appended to a row.",
        at_least=0,
        at_most=1,
    )


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Settings):
    """Augmentation of the training input of fine-tuning; each is off at 0."""

    time_mask_fraction: float = setting(
        0.0, "Share of real frames masked in spans (SpecAugment).", at_least=0, below=1
    )
    time_mask_span: int = setting(
        10,
        "Frames of a span; with frontend waveform the mask embedding replaces them.",
        at_least=1,
    )
    channel_mask_fraction: float = setting(
        0.0,
        "Share of the encoder's channels set to zero in all frames, in spans.",
        at_least=0,
        below=1,
    )
    channel_mask_span: int = setting(64, "Channels of a span (wav2vec 2.0, app. B).", at_least=1)
    band_mask_width: int = setting(
        0, "Widest masked band of mel filters; the width is drawn uniformly from 0.", at_least=0
    )
    gain_db: float = setting(
        0.0, "Gain drawn uniformly from -gain_db to gain_db.", at_least=0, at_most=200
    )
