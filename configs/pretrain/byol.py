"""BYOL and SimCLR: two distortions of an utterance have the same representation.

Papers: BYOL (2006.07733) and SimCLR (2002.05709); on emotion in languages with little data
2506.02059.
Differs: distortions of speech (pitch, vocal tract length, reverberation, noise, gain); the decay
of the teacher rises linearly from 0.996 to 1 instead of as a cosine; AdamW with a learning rate of
2e-4 on batches of 128 rows instead of LARS on batches of 4,096; projections without BatchNorm.

Command: sersl pretrain --config configs/pretrain/byol.py:base --workdir runs/byol \
    --config.data.data_dir=data --config.data.corpora=common_voice
Presets: nano and nano_simclr (tests), base and base_simclr (95 M parameters).
Time: nano seconds on a CPU; not measured for the others.
Score: none measured here.
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset

STEPS = {"nano": 20, "nano_simclr": 20, "base": 100_000, "base_simclr": 100_000}


def get_config(preset: str = "base") -> ConfigDict:
    size, _, kind = preset.partition("_")
    config = ConfigDict()
    config.name = f"byol_{preset}"
    config.frontend = frontend_preset(size, frontend="waveform")
    config.encoder = encoder_preset(size, frontend="waveform")
    config.masking = {"rule": "none"}
    config.objectives = {
        "instances": {"weight": 1.0, "loss": "nt_xent" if kind == "simclr" else "bootstrap"},
    }
    config.distortion = {
        "pitch_probability": 0.3,
        "vtlp_probability": 0.5,
        "reverb_probability": 0.3,
        "noise_probability": 0.5,
        "gain_probability": 0.5,
    }
    config.teacher = {"decay_start": 0.996, "decay_end": 1.0, "decay_steps": STEPS[preset]}
    config.optimizer = {"learning_rate": 2e-4}
    config.train = {"num_steps": STEPS[preset]}
    if size == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.encoder.position_groups = 4
        config.objectives.instances.update({"hidden": 32, "width": 16})
        config.optimizer.learning_rate = 3e-3
    else:
        # Widths of the projections: BYOL (2006.07733), sec. 3.2; SimCLR (2002.05709), sec. 2.1.
        widths = {"hidden": 2048, "width": 128} if kind else {"hidden": 4096, "width": 256}
        config.objectives.instances.update(widths)
        config.data = {"seconds_per_batch": 1_280.0, "max_seconds": 10.0, "num_buckets": 4}
        config.encoder.update({"dtype": "bfloat16", "remat": "dots"})
    return config
