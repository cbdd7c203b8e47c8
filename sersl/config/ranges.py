"""Which numbers a setting may take: every number of every dataclass of this room is listed here.

A number out of range would otherwise show late and far away: as a division by zero after an hour,
or as a loss that means nothing.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

from sersl.config import annotation, objectives, schema
from sersl.core.errors import UserError


class Range(NamedTuple):
    """What a number may be, in words and as a test."""

    words: str
    fits: Callable[[float], bool]


AT_LEAST_0 = Range("0 or more", lambda x: x >= 0)
AT_LEAST_1 = Range("1 or more", lambda x: x >= 1)
AT_LEAST_2 = Range("2 or more", lambda x: x >= 2)
ABOVE_0 = Range("a number above 0", lambda x: x > 0)
SHARE = Range("a number from 0 to 1", lambda x: 0 <= x <= 1)
SHARE_ABOVE_0 = Range("a number above 0, at most 1", lambda x: 0 < x <= 1)
SHARE_BELOW_1 = Range("a number from 0 to below 1", lambda x: 0 <= x < 1)
ANY = Range("a finite number", lambda x: True)
DEVICES = Range("1 or more, or -1 for what is left", lambda x: x >= 1 or x == -1)
NUMBER = Range("a number", lambda x: True)
BAND = Range("a number above 0, at most 8000", lambda x: 0 < x <= 8000)
SEED = Range("a whole number from 0 to 4294967295", lambda x: 0 <= x < 2**32)

RANGES: dict[type, dict[str, Range]] = {
    schema.DataConfig: {
        "seconds_per_batch": ABOVE_0,
        "row_multiple": AT_LEAST_1,
        "num_buckets": AT_LEAST_0,
        "min_real_share": SHARE,
        "max_seconds": ABOVE_0,
        "min_seconds": AT_LEAST_0,
        "threads": AT_LEAST_1,
        "processes": AT_LEAST_0,
        "prefetch": AT_LEAST_1,
        "cache_gigabytes": ABOVE_0,
        "max_corrupted": AT_LEAST_0,
    },
    schema.FrontendConfig: {
        "num_mels": AT_LEAST_1,
        "dropout": SHARE_BELOW_1,
        "conv_width": AT_LEAST_1,
        "gradient_scale": AT_LEAST_0,
        "window_seconds": ABOVE_0,
    },
    schema.EncoderConfig: {
        "num_layers": AT_LEAST_1,
        "width": AT_LEAST_1,
        "num_heads": AT_LEAST_1,
        "mlp_width": AT_LEAST_1,
        "position_kernel": AT_LEAST_1,
        "position_groups": AT_LEAST_1,
        "position_layers": AT_LEAST_1,
        "max_frames": AT_LEAST_1,
        "relative_buckets": Range("4 or more", lambda x: x >= 4),
        "relative_distance": AT_LEAST_2,
        "attention_dropout": SHARE_BELOW_1,
        "activation_dropout": SHARE_BELOW_1,
        "layer_drop": SHARE_BELOW_1,
        "kernel_frames": AT_LEAST_1,
        "hidden_frames": AT_LEAST_1,
        "dropout": SHARE_BELOW_1,
    },
    schema.MaskingConfig: {
        "fraction": SHARE_ABOVE_0,
        "span": AT_LEAST_1,
        "temperature": AT_LEAST_0,
        "threshold": SHARE,
        "clones": AT_LEAST_1,
    },
    schema.AlterationConfig: {
        "zero_share": SHARE,
        "swap_share": SHARE,
        "band_share": SHARE_BELOW_1,
        "noise_share": SHARE,
        "noise_std": AT_LEAST_0,
    },
    schema.MixingConfig: {
        "probability": SHARE,
        "max_share": SHARE_ABOVE_0,
        "lowest_db": ANY,
        "highest_db": ANY,
    },
    objectives.ContrastiveConfig: {
        "weight": AT_LEAST_0,
        "temperature": ABOVE_0,
        "num_negatives": AT_LEAST_1,
        "diversity_weight": AT_LEAST_0,
        "width": AT_LEAST_1,
        "groups": AT_LEAST_1,
        "codes": AT_LEAST_2,
        "gumbel_start": ABOVE_0,
        "gumbel_end": ABOVE_0,
        "gumbel_decay": SHARE_ABOVE_0,
    },
    objectives.ProsodyConfig: {"weight": AT_LEAST_0, "hidden": AT_LEAST_1},
    objectives.DistillConfig: {
        "weight": AT_LEAST_0,
        "top_layers": AT_LEAST_1,
        "decoder_width": AT_LEAST_1,
        "decoder_layers": AT_LEAST_1,
        "decoder_kernel": AT_LEAST_1,
        "decoder_groups": AT_LEAST_1,
    },
    objectives.UtteranceConfig: {
        "weight": AT_LEAST_0,
        "tokens": AT_LEAST_1,
        "top_layers": AT_LEAST_1,
    },
    objectives.ClustersConfig: {"weight": AT_LEAST_0, "width": AT_LEAST_1, "temperature": ABOVE_0},
    objectives.BestRqConfig: {
        "weight": AT_LEAST_0,
        "books": AT_LEAST_1,
        "codes": AT_LEAST_2,
        "width": AT_LEAST_1,
    },
    objectives.ReconstructionConfig: {"weight": AT_LEAST_0, "hidden": AT_LEAST_1},
    objectives.ApcConfig: {"weight": AT_LEAST_0, "frames": AT_LEAST_1},
    objectives.NpcConfig: {
        "weight": AT_LEAST_0,
        "groups": AT_LEAST_1,
        "codes": AT_LEAST_2,
        "width": AT_LEAST_1,
        "gumbel": ABOVE_0,
    },
    objectives.CpcConfig: {"weight": AT_LEAST_0, "steps": AT_LEAST_1, "num_negatives": AT_LEAST_1},
    objectives.PenaltyConfig: {"weight": AT_LEAST_0},
    objectives.WorkersConfig: {
        "weight": AT_LEAST_0,
        "context": AT_LEAST_0,
        "hidden": AT_LEAST_1,
        "chunk": AT_LEAST_2,
    },
    objectives.InformationConfig: {
        "weight": AT_LEAST_0,
        "local_share": AT_LEAST_0,
        "global_share": AT_LEAST_0,
        "chunk": AT_LEAST_1,
        "hidden": AT_LEAST_1,
    },
    objectives.MultiviewConfig: {
        "weight": AT_LEAST_0,
        "hidden": AT_LEAST_1,
        "width": AT_LEAST_1,
        "temperature": ABOVE_0,
    },
    objectives.SupervisedConfig: {
        "weight": AT_LEAST_0,
        "tolerance": SHARE,
        "hidden": AT_LEAST_1,
        "width": AT_LEAST_1,
        "temperature": ABOVE_0,
    },
    objectives.InstancesConfig: {
        "weight": AT_LEAST_0,
        "hidden": AT_LEAST_1,
        "width": AT_LEAST_1,
        "temperature": ABOVE_0,
    },
    objectives.LanguageConfig: {
        "weight": AT_LEAST_0,
        "category_share": SHARE,
        "hidden": AT_LEAST_1,
        "width": AT_LEAST_1,
        "scale": AT_LEAST_0,
    },
    objectives.LayersConfig: {"weight": AT_LEAST_0, "cosine_weight": AT_LEAST_0},
    objectives.VesperConfig: {
        "weight": AT_LEAST_0,
        "middle": AT_LEAST_1,
        "last": AT_LEAST_1,
        "low_share": AT_LEAST_0,
        "high_share": AT_LEAST_0,
        "cross_share": AT_LEAST_0,
        "span": AT_LEAST_1,
        "fraction": SHARE_ABOVE_0,
    },
    objectives.DenoiseConfig: {
        "weight": AT_LEAST_0,
        "frame_share": AT_LEAST_0,
        "contrast_share": AT_LEAST_0,
        "width": AT_LEAST_1,
        "temperature": ABOVE_0,
    },
    objectives.IntensityConfig: {"weight": AT_LEAST_0, "hidden": AT_LEAST_1},
    schema.KnowledgeConfig: {"input_dropout": SHARE_BELOW_1, "loss_weight": SHARE},
    schema.TeacherConfig: {
        "decay_start": SHARE,
        "decay_end": SHARE,
        "decay_steps": AT_LEAST_0,
    },
    schema.CombineConfig: {
        "mixup_probability": SHARE,
        "mixup_alpha": ABOVE_0,
        "copy_paste_probability": SHARE,
    },
    schema.DistortionConfig: {
        "speed_probability": SHARE,
        "speed_range": SHARE_BELOW_1,
        "pitch_probability": SHARE,
        "pitch_semitones": AT_LEAST_0,
        "vtlp_probability": SHARE,
        "vtlp_range": SHARE_BELOW_1,
        "shuffle_probability": SHARE,
        "shuffle_pieces": AT_LEAST_2,
        "reverb_probability": SHARE,
        "reverb_min_seconds": ABOVE_0,
        "reverb_max_seconds": ABOVE_0,
        "reverb_direct_db": NUMBER,
        "noise_probability": SHARE,
        "noise_min_snr_db": NUMBER,
        "noise_max_snr_db": NUMBER,
        "band_drop_probability": SHARE,
        "band_drop_hz": BAND,
        "downsample_probability": SHARE,
        "downsample_hz": ABOVE_0,
        "clip_probability": SHARE,
        "clip_min": SHARE_ABOVE_0,
        "clip_max": SHARE_ABOVE_0,
        "chop_probability": SHARE,
        "chop_pieces": AT_LEAST_1,
        "chop_seconds": ABOVE_0,
        "gain_probability": SHARE,
        "gain_db": AT_LEAST_0,
    },
    schema.CollapseConfig: {
        "after_steps": AT_LEAST_0,
        "min_perplexity": AT_LEAST_0,
        "min_variance": AT_LEAST_0,
        "min_target_deviation": AT_LEAST_0,
        "min_prediction_deviation": AT_LEAST_0,
    },
    schema.OptimizerConfig: {
        "learning_rate": ABOVE_0,
        "warmup_fraction": SHARE,
        "end_fraction": SHARE,
        "beta1": SHARE_BELOW_1,
        "beta2": SHARE_BELOW_1,
        "epsilon": ABOVE_0,
        "weight_decay": AT_LEAST_0,
        "clip_norm": ABOVE_0,
    },
    schema.TrainConfig: {
        "num_steps": AT_LEAST_1,
        "accumulate_steps": AT_LEAST_1,
        "seed": SEED,
        "log_every_steps": AT_LEAST_1,
        "max_skipped": AT_LEAST_1,
        "host_timeout_seconds": AT_LEAST_1,
        "profile_from": AT_LEAST_0,
        "profile_steps": AT_LEAST_0,
    },
    schema.MeshConfig: {"data": DEVICES, "fsdp": DEVICES, "tensor": DEVICES},
    schema.CheckpointConfig: {
        "every_steps": AT_LEAST_1,
        "keep_last": AT_LEAST_1,
        "keep_best": AT_LEAST_0,
        "keep_every_hours": AT_LEAST_0,
    },
    schema.ProtocolConfig: {
        "num_folds": AT_LEAST_2,
        "shots": AT_LEAST_1,
        "validation_fraction": SHARE_BELOW_1,
    },
    schema.PoolingConfig: {"projection": AT_LEAST_0, "hidden": AT_LEAST_1},
    schema.HeadsConfig: {
        "hidden": AT_LEAST_1,
        "dropout": SHARE_BELOW_1,
        "category_weight": AT_LEAST_0,
        "label_smoothing": SHARE_BELOW_1,
        "dimensions_weight": AT_LEAST_0,
    },
    schema.AugmentConfig: {
        "time_mask_fraction": SHARE_BELOW_1,
        "time_mask_span": AT_LEAST_1,
        "channel_mask_fraction": SHARE_BELOW_1,
        "channel_mask_span": AT_LEAST_1,
        "band_mask_width": AT_LEAST_0,
        "gain_db": AT_LEAST_0,
    },
    schema.FinetuneConfig: {
        "encoder_learning_rate_scale": AT_LEAST_0,
        "evaluate_every_steps": AT_LEAST_1,
    },
    annotation.SpeakerConfig: {"utterances": AT_LEAST_1, "prior": AT_LEAST_0},
    annotation.RankerConfig: {
        "order_weight": ABOVE_0,
        "similar_weight": AT_LEAST_0,
        "max_pairs": AT_LEAST_1,
        "min_gap": ABOVE_0,
        "min_utterances": AT_LEAST_1,
        "category_weight": ABOVE_0,
        "seed": SEED,
    },
    annotation.StrengthConfig: {
        "num_mels": AT_LEAST_1,
        "width": AT_LEAST_1,
        "num_convolutions": AT_LEAST_0,
        "kernel": AT_LEAST_1,
        "recurrent": AT_LEAST_1,
        "dropout": SHARE_BELOW_1,
        "utterance_weight": AT_LEAST_0,
        "frame_weight": AT_LEAST_0,
        "category_weight": AT_LEAST_0,
        "num_steps": AT_LEAST_1,
        "batch": AT_LEAST_1,
        "crop_seconds": Range("0.1 or more", lambda x: x >= 0.1),
        "learning_rate": ABOVE_0,
        "weight_decay": AT_LEAST_0,
        "seed": SEED,
    },
}


def check_ranges(config, prefix: str = "") -> None:
    """Checks the numbers of one config dataclass; its groups are checked on their own.

    Args:
      config: an instance of a dataclass in `schema`.
      prefix: dotted path of `config`, for messages.

    Raises:
      UserError: naming the first number out of range, and the range.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        allowed = RANGES[type(config)][field.name]
        if not (math.isfinite(value) and allowed.fits(value)):
            raise UserError(
                f"configuration key {prefix + field.name!r} takes {allowed.words}, not {value}"
            )
