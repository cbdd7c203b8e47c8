"""DistilHuBERT: a small student predicts layers of one or several large teachers.

Paper: DistilHuBERT (2110.01900): two layers predict layers 4, 8 and 12 with L1 and cosine losses.
Several teachers each have these losses.
Differs: the student starts from scratch or from --config.init_from instead of the first layers of
the teacher.

Command: sersl import --source facebook/hubert-base-ls960 --output models/hubert
    sersl pretrain --config configs/pretrain/distilhubert.py:base --workdir runs/distilhubert \
    --config.data.data_dir=data --config.data.corpora=librispeech
With several teachers: --config.frozen_teachers=models/hubert,models/wavlm
Presets: nano (tests), base (24 M parameters).
Time: nano seconds on a CPU; not measured for base.
Score: none measured here.
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset

STEPS = {"nano": 20, "base": 200_000}


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"distilhubert_{preset}"
    config.frontend = frontend_preset(preset, frontend="waveform")
    config.encoder = encoder_preset(preset, frontend="waveform")
    config.encoder.num_layers = 2
    config.masking = {"rule": "none"}
    config.frozen_teachers = ("models/hubert",)
    config.objectives = {
        "layers": {"weight": 1.0, "layers": (4, 8, 12), "cosine_weight": 1.0},
    }
    config.optimizer = {"learning_rate": 2e-4, "schedule": "linear", "warmup_fraction": 0.07}
    config.optimizer.update({"weight_decay": 1e-6, "clip_norm": 5.0, "epsilon": 1e-8})
    config.train = {"num_steps": STEPS[preset]}
    if preset == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.encoder.position_groups = 4
        config.objectives.layers = {"weight": 1.0, "layers": (1, 2)}
        config.optimizer.learning_rate = 3e-3
    else:
        config.data = {"seconds_per_batch": 360.0, "max_seconds": 15.0, "num_buckets": 6}
        config.encoder.update({"dtype": "bfloat16", "remat": "dots"})
    return config
