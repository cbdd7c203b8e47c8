"""APC: predict the spectrum 60 ms ahead.

Paper: APC (1904.03240), settings of s3prl.
Differs: frames of 20 ms with two windows instead of 10 ms, so it predicts three frames (60 ms)
ahead instead of five (50 ms); 300,000 updates instead of 100 epochs.

Command: sersl pretrain --config configs/pretrain/apc.py:base --workdir runs/apc \
    --config.data.data_dir=data --config.data.corpora=librispeech
Presets: nano (tests), base (one GPU).
Time: nano seconds on a CPU; base about a day, not measured.
Score: none measured here.
"""

from ml_collections import ConfigDict

STEPS = {"nano": 20, "base": 300_000}


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"apc_{preset}"
    config.frontend = {"normalize": "utterance"}
    config.encoder = {"kind": "gru", "num_layers": 3, "width": 512}
    config.masking = {"rule": "none"}
    config.objectives = {
        "apc": {"weight": 1.0, "frames": 3},
    }
    config.optimizer = {"learning_rate": 1e-4, "schedule": "constant", "weight_decay": 0.0}
    config.optimizer.update({"warmup_fraction": 0.0, "beta2": 0.999, "epsilon": 1e-8})
    config.optimizer.clip_norm = 5.0
    config.train = {"num_steps": STEPS[preset]}
    config.data = {"seconds_per_batch": 480.0, "max_seconds": 15.0, "min_seconds": 3.2}
    if preset == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.encoder.update({"num_layers": 2, "width": 32})
    return config
