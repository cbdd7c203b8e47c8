"""Emotion-aware pretraining: masked contrast where the speech is intense, and prosody workers.

Paper: wav2vec 2.0 (2006.11477) for the contrast, EMS (2406.06646) for masking by intensity, PASE
(1904.03416) for regression of prosody. Differs: log-mel input, pre-norm Transformer with rotary
positions, spans drawn by intensity without overlap.

Command: sersl pretrain --config configs/pretrain/emotion_aware.py:tiny --workdir runs/pretrain \
    --config.data.data_dir=data --config.data.corpora=synthetic
Presets: nano (tests, seconds), tiny (CPU, minutes), small (one GPU, hours).
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset

STEPS = {"nano": 20, "tiny": 200, "small": 100_000}


def get_config(preset: str = "tiny") -> ConfigDict:
    config = ConfigDict()
    config.name = f"emotion_aware_{preset}"
    config.encoder = encoder_preset(preset)
    config.train = {"num_steps": STEPS[preset]}
    if preset == "nano":
        config.data = {"seconds_per_batch": 32.0, "max_seconds": 4.0, "num_buckets": 3}
        config.objectives = {
            "contrastive": {"width": 32, "codes": 16, "num_negatives": 20},
            "prosody": {"hidden": 32},
        }
    if preset == "tiny":
        config.data = {"seconds_per_batch": 64.0, "max_seconds": 3.2, "num_buckets": 2}
        config.train.log_every_steps = 20
        config.optimizer = {"learning_rate": 1e-3}
    if preset == "small":
        config.data = {"seconds_per_batch": 1600.0, "max_seconds": 15.6, "num_buckets": 6}
        config.encoder.dtype = "bfloat16"
        config.objectives = {"contrastive": {"width": 256, "codes": 320}}
    return config
