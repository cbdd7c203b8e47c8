"""Settings of the distortions of waveforms; each is off at probability 0."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DistortionConfig:
    """Changes to the waveform that the model hears; each is off at probability 0.

    In pretraining the targets and the teachers keep to the undistorted waveform.
    """

    speed_probability: float = 0.0  # faster or slower; pitch and length change; fine-tuning only
    speed_range: float = 0.1  # factor uniform in 1 - range .. 1 + range
    pitch_probability: float = 0.0  # higher or lower; the length stays
    pitch_semitones: float = 2.0  # uniform in -semitones .. semitones
    vtlp_probability: float = 0.0  # formants up or down (vocal tract length perturbation)
    vtlp_range: float = 0.1  # factor uniform in 1 - range .. 1 + range (Etienne et al. 2018)
    shuffle_probability: float = 0.0  # pieces in another order; fine-tuning only
    shuffle_pieces: int = 4
    reverb_probability: float = 0.0  # echoes of a room
    # Prepared corpora of recorded impulse responses; none: rooms are made up as the next three say.
    reverb_corpora: tuple[str, ...] = ()
    reverb_min_seconds: float = 0.1  # reverberation time T60
    reverb_max_seconds: float = 0.6
    reverb_direct_db: float = 3.0  # power of the direct sound over that of the echoes
    noise_probability: float = 0.0
    # Prepared corpora of recorded noise, music or babble; none: noise of a colour is made up.
    noise_corpora: tuple[str, ...] = ()
    noise_colour: str = "any"  # white, pink, brown, any
    noise_min_snr_db: float = 0.0  # PASE+: 0, 5 or 10
    noise_max_snr_db: float = 10.0
    band_drop_probability: float = 0.0
    band_drop_hz: float = 2000.0  # widest band, drawn uniformly from 0
    downsample_probability: float = 0.0  # nothing is left above half of this rate
    downsample_hz: float = 8000.0
    clip_probability: float = 0.0
    clip_min: float = 0.1  # share of the peak at which is clipped (PASE+: 0.1, 0.3 or 0.5)
    clip_max: float = 0.5
    chop_probability: float = 0.0  # short pieces silenced
    chop_pieces: int = 4
    chop_seconds: float = 0.05  # mean length, deviation half of it (PASE+)
    gain_probability: float = 0.0
    gain_db: float = 6.0  # uniform in -gain .. gain


@dataclass(frozen=True, kw_only=True)
class CombineConfig:
    """Training rows of fine-tuning that are made of two rows of the batch."""

    mixup_probability: float = 0.0  # of a row
    mixup_alpha: float = 0.4  # the row's share is drawn from Beta(alpha, alpha)
    mixup_by_length: bool = True  # labels weigh by share times length (label-adaptive)
    copy_paste_probability: float = 0.0  # of a row that another one of its category follows
