"""MockingJay and EMS: reconstruct hidden frames, in EMS the most intense ones.

Papers: MockingJay (1910.12638); EMS, Emotion-aware speech self-supervised learning with intensity
knowledge (2406.06646), which hides the most intense frames, adds the intensity to the input and
predicts it too. Settings of s3prl and of EMS's published code.
Differs: frames of 20 ms with two windows instead of 10 ms with slopes; spans of 4 frames (80 ms)
instead of 70 ms, which do not overlap, so that EMS hides 15 % of the frames instead of 3 to 5 %;
the intensity passes the Transformer together with the features instead of in a second pass.

Command: sersl pretrain --config configs/pretrain/mockingjay.py:ems --workdir runs/ems \
    --config.data.data_dir=data --config.data.corpora=esd
Presets: nano and nano_ems (tests), base (MockingJay) and ems (one GPU).
Time: nano seconds on a CPU; base and ems days, not measured.
Score: none measured here.
"""

from ml_collections import ConfigDict

STEPS = {"nano": 20, "nano_ems": 20, "base": 1_000_000, "ems": 1_000_000}


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"mockingjay_{preset}"
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
    if preset.endswith("ems"):
        config.masking.update({"rule": "intensity", "temperature": 0.0})
        config.knowledge = {"input": True, "input_dropout": 0.0}
        config.objectives.intensity = {"weight": 1.0, "hidden": 768}
        config.data.seconds_per_batch = 240.0
    if preset.startswith("nano"):
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.encoder.update({"num_layers": 2, "width": 32, "num_heads": 2, "mlp_width": 64})
        config.objectives.reconstruction.hidden = 32
    return config
