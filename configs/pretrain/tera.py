"""TERA: reconstruct frames, bands and magnitudes that were altered.

Paper: TERA (2007.06028), base, with alteration in time and frequency as published in s3prl; for its
noise on the magnitude add --config.alteration.noise_share=0.15.
Differs: frames of 20 ms with two windows instead of 10 ms; spans of 4 frames (80 ms) instead of
70 ms, which do not overlap.

Command: sersl pretrain --config configs/pretrain/tera.py:base --workdir runs/tera \
    --config.data.data_dir=data --config.data.corpora=librispeech
Presets: nano (tests), base (one GPU).
Time: nano seconds on a CPU; base days, not measured.
Score: none measured here.
"""

from ml_collections import ConfigDict

STEPS = {"nano": 20, "base": 1_000_000}


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"tera_{preset}"
    config.frontend = {"normalize": "utterance"}
    config.encoder = {
        "num_layers": 3,
        "width": 768,
        "num_heads": 12,
        "mlp_width": 3072,
        "norm": "post",
        "positions": "sinusoidal",
    }
    config.masking = {"rule": "uniform", "fraction": 0.15, "span": 4, "replace": "features"}
    config.alteration = {"band_share": 0.2}
    config.objectives = {
        "reconstruction": {"weight": 1.0, "hidden": 768},
    }
    config.optimizer = {
        "learning_rate": 2e-4,
        "schedule": "linear",
        "warmup_fraction": 0.07,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "clip_norm": 5.0,
    }
    config.train = {"num_steps": STEPS[preset]}
    config.data = {"seconds_per_batch": 480.0, "max_seconds": 15.0, "min_seconds": 2.0}
    if preset == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.encoder.update({"num_layers": 2, "width": 32, "num_heads": 2, "mlp_width": 64})
        config.alteration.noise_share = 0.15
        config.objectives.reconstruction.hidden = 32
    return config
