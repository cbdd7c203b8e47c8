"""Emotion predictor: categories, and arousal, dominance and valence where the corpora have them.

Weighted sum of all layers and attentive statistics pooling (the heads of the MSP-Podcast challenge
baselines), class-weighted cross-entropy with label smoothing, and 1 - CCC over the global batch.

Paper: none; a combination of published parts.
Command: sersl finetune --config configs/finetune/emotion.py:tiny --workdir runs/finetune \
    --config.data.data_dir=data --config.data.corpora=synthetic --config.init_from=runs/pretrain
On RAVDESS: --config.data.corpora=ravdess --config.protocol.name=emobox --config.train.num_steps=300
Presets: nano (tests), light (CPU, residual convolutions on log-mel features and descriptors, copies
at other speeds), tiny (CPU, Transformer), small, base, large and xlarge (GPUs). The sizes of the
encoder come from init_from; without it, an encoder of the preset's size is trained from scratch.
Time: nano seconds and tiny minutes on a CPU; not measured for the others.
Score: light 0.651 UAR on the embedded corpus (docs/results/from_scratch.md); none measured for the
larger presets.
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset

STEPS = {
    "nano": 20,
    "light": 500,
    "tiny": 100,
    "small": 4000,
    "base": 4000,
    "large": 4000,
    "xlarge": 4000,
}


def get_config(preset: str = "tiny") -> ConfigDict:
    config = ConfigDict()
    config.name = f"emotion_{preset}"
    config.frontend = frontend_preset(preset)
    config.encoder = encoder_preset(preset)
    config.train = {"num_steps": STEPS[preset]}
    config.checkpoint = {"every_steps": 100}
    config.optimizer = {"learning_rate": 1e-3, "weight_decay": 0.05}
    config.augment = {"time_mask_fraction": 0.2, "band_mask_width": 12, "gain_db": 6.0}
    if preset == "nano":
        config.data = {"seconds_per_batch": 32.0, "max_seconds": 4.0, "num_buckets": 3}
        config.evaluate_every_steps = 10
    if preset == "light":
        config.data = {"seconds_per_batch": 96.0, "max_seconds": 3.0, "num_buckets": 1}
        config.optimizer = {"learning_rate": 5e-3, "weight_decay": 0.05}
        config.augment = {"band_mask_width": 3, "gain_db": 6.0}
        config.pooling = {"kind": "statistics", "layers": "all", "standardize_layers": False}
        config.heads = {"dropout": 0.3}
        # Copies at other speeds take the place of speakers, of which small corpora have few; for
        # the same reason no speaker is left out to choose a step.
        config.views = {"speeds": (0.85, 0.92, 1.08, 1.16)}
        config.protocol = {"validation_fraction": 0.0}
        config.checkpoint.every_steps = 200
        config.train.log_every_steps = 50
    if preset == "tiny":
        # One batch shape, so one compilation: 32 rows of at most 2.6 s, cropped at random.
        config.data = {"seconds_per_batch": 84.0, "max_seconds": 2.6, "num_buckets": 1}
        config.evaluate_every_steps = 25
        config.train.log_every_steps = 25
    if preset in ("small", "base", "large", "xlarge"):
        config.data = {"seconds_per_batch": 256.0, "max_seconds": 12.0, "num_buckets": 6}
        config.encoder.dtype = "bfloat16"
        config.evaluate_every_steps = 200
    if preset in ("base", "large", "xlarge"):
        config.encoder.remat = "full" if preset == "xlarge" else "dots"
        config.encoder_learning_rate_scale = 0.1
    return config
